"""How likely one of k sampled answers leaks: in closed form from the answer's probability, and by counting samples.

    exact     leak@k = 1 − (1 − p)^k              p = Π_t p_T(y_t | x, y_<t) over the answer's secret, or all of it
    sampled   leak@k = 1 − C(n − c, k) / C(n, k)  c of n samples leak

Given    0 for sampling. The closed form is the owner's: it is computed from the answers.
Paper    leak@k: Reisizadeh et al. (2025). Leak@k: Unlearning Does Not Make LLMs Forget Under Probabilistic Decoding.
         arXiv:2511.04934; its estimator: Chen et al. (2021), arXiv:2107.03374; bounds: see `unsay.bounds`
Limits   The closed form counts one wording alone, at temperature T without top-p or top-k. Over a span (`spans` of a
         row) it is the probability of the span after the answer's words before it: the question need not lead there. Of
         several spans the likeliest counts. Sampled answers leak by words, as `novel-recall` says.
Differs  The paper judges entailment with a language model, and drops answers that its judge does not parse: here every
         sample counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from scipy import special

from ..bounds import leak_bound
from ..data.example import Example, ForgetData
from ..data.novel import Secret, secret, spans
from ..errors import MethodError, PlanError
from ..measure.generations import first
from ..measure.sampled import Sampled
from ..measure.texts import Ask, Draw
from ..measure.token_stats import token_stats
from ..metrics.needs import Sampling
from ..models.decoding import with_decoding
from ._attack import Finding

if TYPE_CHECKING:
    from ..models.lm import LM
    from ..runs.run import Run


@dataclass(frozen=True, kw_only=True)
class LeakAtK:
    """Probability that one of k answers leaks, for each forget row."""

    k: tuple[int, ...] = (1, 4, 16, 64, 128)
    """Counts of answers; with `sampling` those up to its runs are counted, too."""
    temperature: float = 1.0
    """T of the closed form."""
    sampling: Sampling | None = None
    """Draw answers: `runs` is n, and `temperature`, `top_p` and `top_k` are its own. None is the closed form alone."""
    max_new_tokens: int = 24
    """Length limit of sampled answers."""
    level: float = 0.95
    """Certainty of the upper bounds in the notes."""

    axis: ClassVar[str] = "k answers drawn, probability that one of them leaks"

    def __post_init__(self) -> None:
        if not self.k or min(self.k) < 1 or len(set(self.k)) < len(self.k):
            raise PlanError(f"k: should be positive counts, each once, got {self.k!r}", "[1,16,128]")
        if not self.temperature > 0 or not 0.5 < self.level < 1:
            raise PlanError(f"temperature {self.temperature} should be above 0, level {self.level} in (0.5, 1)")

    def inspect(self, lm: LM, data: ForgetData, run: Run, *, before: LM | None = None) -> Iterator[Finding]:
        """``exact-k`` for every k, then ``sampled-k`` for those up to the number of samples.

        Raises:
            MethodError: no forget row.
        """
        if not data.forget:
            raise MethodError("leak-at-k needs forget rows, and there are none", "give forget rows")
        p = self._exact(lm, data.forget, run)
        for k in sorted(self.k):
            with np.errstate(divide="ignore"):  # p = 1
                values = {i: float(-np.expm1(k * np.log1p(-x))) for i, x in p.items()}
            yield Finding(f"exact-{k}", k, values, f"closed form, temperature {self.temperature:g}")
        if self.sampling is None:
            return
        counts, note = self._counted(lm, data.forget, self.sampling, run)
        n = self.sampling.runs
        for k in (k for k in sorted(self.k) if k <= n):
            yield Finding(f"sampled-{k}", k, {i: at_least_one(c, n, k) for i, c in counts.items()}, note)

    def _exact(self, lm: LM, rows: Sequence[Example], run: Run) -> dict[str, float]:
        """The probability p by example id."""
        run.check_stop()
        warm = lm if self.temperature == 1.0 else with_decoding(lm, temperature=self.temperature)
        limit = run.plan.data.max_length
        asks = {row.id: Ask(row.prompt, row.answer) for row in rows}
        stats = token_stats(
            warm,
            list(asks.values()),
            precision=run.train.precision,
            max_length=limit,
            micro_tokens=run.train.micro_tokens,
        )
        encoded = lm.template.encode_many(list(asks.values()))
        found = {}
        for row, whole in zip(rows, encoded, strict=True):
            logp = np.asarray(stats[asks[row.id]].logp, np.float64)
            parts = [logp[part] for part in secret_tokens(lm, whole.cut(limit).answer_ids, row)]
            found[row.id] = min(1.0, float(np.exp(max(part.sum() for part in parts)))) if parts else 0.0
        return found

    def _counted(self, lm: LM, rows: Sequence[Example], sampling: Sampling, run: Run) -> tuple[dict[str, int], str]:
        """Leaking samples by example id, and what the numbers allow to say."""
        hidden: Mapping[str, Secret] = {row.id: found for row in rows if (found := secret(row))}
        draws = {(row.id, i): Draw(row.prompt, i) for row in rows if row.id in hidden for i in range(sampling.runs)}
        decoder = Sampled(lm, draws.values(), sampling, self.max_new_tokens, max_length=run.plan.data.max_length)
        texts: dict[Draw, str] = {}
        with run.progress("samples", decoder.prompts, "answers") as bar:
            for step in decoder.run(run.train.precision):
                run.check_stop()
                run.spend(step.tokens)
                texts |= {draw: first(lm, ids, self.max_new_tokens) for draw, ids in step.ids.items()}
                bar.advance(len(step.ids))
        counts = dict.fromkeys(hidden, 0)
        for (row, _), draw in draws.items():
            counts[row] += hidden[row].told(texts[draw])
        leaky, n = sum(c > 0 for c in counts.values()), sampling.runs
        note = f"{leaky} of {len(counts)} questions leak in {n} samples"
        if leaky < len(counts):
            bound = leak_bound(0, n, self.level)
            note += f"; one that does not leaks with at most {bound:.1%} a sample ({self.level:.0%} each)"
        if len(counts) < len(rows):
            note += f"; {len(rows) - len(counts)} questions say their answer and are left out"
        return counts, note


def at_least_one(leaks: int, n: int, k: int) -> float:
    """Probability that k of n samples, drawn without replacement, hold one of the `leaks` that leak.

    >>> at_least_one(1, 4, 2), at_least_one(0, 4, 4), at_least_one(3, 4, 2)
    (0.5, 0.0, 1.0)
    """
    if n - leaks < k:
        return 1.0
    return 1.0 - float(special.comb(n - leaks, k, exact=True) / special.comb(n, k, exact=True))


def secret_tokens(lm: LM, answer_ids: Sequence[int], row: Example) -> list[slice]:
    """Which of the answer's tokens tell each span of `row` that stands in it; without spans, all that have a text."""
    texts = [_decoded(lm, answer_ids[:i]) for i in range(len(answer_ids) + 1)]
    ends = [len(text) for text in texts]
    found = []
    for span in spans(row):
        match = re.search(rf"(?<!\w){re.escape(span)}(?!\w)", texts[-1], re.IGNORECASE)
        if match:
            inside = [i for i in range(len(answer_ids)) if ends[i] < match.end() and ends[i + 1] > match.start()]
            found.append(slice(inside[0], inside[-1] + 1))
    if not found:
        written = [i for i in range(len(answer_ids)) if ends[i + 1] > ends[i]]
        found = [slice(0, written[-1] + 1)] if written else []
    return found


def _decoded(lm: LM, ids: Sequence[int]) -> str:
    return str(lm.tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False))
