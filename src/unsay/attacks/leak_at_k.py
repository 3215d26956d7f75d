"""How likely one of k sampled answers leaks: in closed form from the answer's probability, and by counting samples.

    exact     leak@k = 1 − (1 − p)^k              p = max over spans of Π_t p_T(y_t | x, y_<t), t over a span's tokens
    sampled   leak@k = 1 − C(n − c, k) / C(n, k)  c of n samples leak

Given    0 for sampling. The closed form is the owner's: it is computed from the answers.
Paper    leak@k: Reisizadeh et al. (2025). Leak@k: Unlearning Does Not Make LLMs Forget Under Probabilistic Decoding.
         arXiv:2511.04934; its estimator: Chen et al. (2021), arXiv:2107.03374; bounds: see `unsay.bounds`
Limits   The closed form counts one wording alone, at temperature T without top-p or top-k, and a span after the
         answer's words before it: the question need not lead there, and what stands before may give it away, so that
         the control's value has to be seen beside. Spans are what a row names (`spans`), else each run of tokens that
         tells what the question does not (names and numbers, else other words), else the whole answer. A sampled answer
         leaks when it says a named span, else a name or number that the question lacks, or every word that it lacks.
Differs  The paper judges entailment with a language model, and drops answers that its judge does not parse: here every
         sample counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from scipy import special

from ..bounds import leak_bound, mean_bound, sd_bound
from ..data.example import Example, ForgetData
from ..data.novel import Secret, secret
from ..errors import MethodError, PlanError
from ..measure.generations import first
from ..measure.sampled import Sampled
from ..measure.texts import Ask, Draw
from ..measure.token_stats import token_stats
from ..mechanism.texts import texts
from ..metrics.needs import Sampling
from ..models.decoding import with_decoding
from ..naming import derive_seed
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
    """Draw answers, others for each seed of the run: `runs` is n, and `temperature`, `top_p` and `top_k` are its own.
    None is the closed form alone."""
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

        Rows whose log-probabilities are not numbers are left out, and a note says how many.

        Raises:
            MethodError: no forget row.
        """
        if not data.forget:
            raise MethodError("leak-at-k needs forget rows, and there are none", "give forget rows")
        p = self._exact(lm, data.forget, run)
        lost = len({row.id for row in data.forget}) - len(p)
        broken = f"; {lost} rows left out: the model's log-probabilities are not finite" if lost else ""
        for k in sorted(self.k):
            with np.errstate(divide="ignore"):  # p = 1
                values = {i: float(-np.expm1(k * np.log1p(-x))) for i, x in p.items()}
            yield Finding(f"exact-{k}", k, values, f"closed form, temperature {self.temperature:g}{broken}")
        if self.sampling is None:
            return
        counts, note = self._counted(lm, [row for row in data.forget if row.id in p], self.sampling, run)
        n = self.sampling.runs
        for k in (k for k in sorted(self.k) if k <= n):
            values = {i: at_least_one(c, n, k) for i, c in counts.items()}
            yield Finding(f"sampled-{k}", k, values, f"{note}{broken}")

    def _exact(self, lm: LM, rows: Sequence[Example], run: Run) -> dict[str, float]:
        """The probability p by example id; rows with a NaN are absent."""
        run.check_stop()
        warm = lm if self.temperature == 1.0 else with_decoding(lm, temperature=self.temperature)
        limit = run.plan.data.max_length
        asks = [Ask(row.prompt, row.answer) for row in rows]
        stats = token_stats(
            warm,
            asks,
            precision=run.train.precision,
            max_length=limit,
            micro_tokens=run.train.micro_tokens,
        )
        found = {}
        for ask, text in zip(asks, texts(lm, rows, limit), strict=True):
            logp = np.asarray(stats[ask].logp, np.float64)
            likeliest = max(logp[np.array(span) - text.start].sum() for span in text.spans)
            if not np.isnan(logp).any():
                found[text.id] = min(1.0, float(np.exp(likeliest)))
        return found

    def _counted(self, lm: LM, rows: Sequence[Example], sampling: Sampling, run: Run) -> tuple[dict[str, int], str]:
        """Leaking samples by example id, and what the numbers allow to say."""
        hidden: Mapping[str, Secret] = {row.id: found for row in rows if (found := secret(row))}
        draws = {(row.id, i): Draw(row.prompt, i) for row in rows if row.id in hidden for i in range(sampling.runs)}
        sampling = replace(sampling, seed=derive_seed(run.seed, "leak-at-k", sampling.seed))
        decoder = Sampled(lm, draws.values(), sampling, self.max_new_tokens, max_length=run.plan.data.max_length)
        said: dict[Draw, str] = {}
        with run.progress("samples", decoder.prompts, "answers") as bar:
            for step in decoder.run(run.train.precision):
                run.check_stop()
                run.spend(step.tokens)
                said |= {draw: first(lm, ids, self.max_new_tokens) for draw, ids in step.ids.items()}
                bar.advance(len(step.ids))
        answers = {i: [said[draws[i, number]] for number in range(sampling.runs)] for i in hidden}
        counts = {i: sum(map(hidden[i].told, given)) for i, given in answers.items()}
        leaky, n = sum(c > 0 for c in counts.values()), sampling.runs
        note = f"{leaky} of {len(counts)} questions leak in {n} samples"
        if leaky < len(counts):
            bound = leak_bound(0, n, self.level)
            note += f"; one that does not leaks with at most {bound:.1%} a sample ({self.level:.0%} each)"
        if counts:
            note += f"; {self._worst([[hidden[i].recall(text) for text in given] for i, given in answers.items()])}"
        if len(counts) < len(rows):
            note += f"; {len(rows) - len(counts)} questions say their answer and are left out"
        return counts, note

    def _worst(self, shares: Sequence[Sequence[float]]) -> str:
        """Bounds of the share of the answer that a sample recalls, for the question where its mean may be largest."""
        level = 1 - (1 - self.level) / len(shares)
        mean, worst = max((mean_bound(given, level), given) for given in shares)
        return (
            f"a sample of the worst question recalls at most {mean:.0%} of the answer's words on average, with a "
            f"standard deviation of at most {sd_bound(worst, level):.0%} ({self.level:.0%} over all questions)"
        )


def at_least_one(leaks: int, n: int, k: int) -> float:
    """Probability that k of n samples, drawn without replacement, hold one of the `leaks` that leak.

    >>> at_least_one(1, 4, 2), at_least_one(0, 4, 4), at_least_one(3, 4, 2)
    (0.5, 0.0, 1.0)
    """
    if n - leaks < k:
        return 1.0
    return 1.0 - float(special.comb(n - leaks, k, exact=True) / special.comb(n, k, exact=True))
