"""A prefix is searched that makes the model say some forget answers, and tried on the others.

    s* = argmax_s mean_{(q, y) ∈ T} log p(y | s ⊕ q) / |y|        s: 8 tokens, one exchanged at a time at random
    measured with s* on V = forget ∖ T

Given    subset: questions and answers of T.
Paper    Łucki et al. (2024). An Adversarial Perspective on Machine Unlearning for AI Safety. arXiv:2409.18025 (a prefix
         optimised on some questions, tested on others, with GCG); random search: Andriushchenko et al. (2024),
         arXiv:2404.02151
Limits   A prefix fitted to one question can make any model say anything: only the transfer to V counts, against the
         same search on the retrained model. 200 evaluations are a small search; finding nothing proves little.
Differs  Random search instead of gradients, which works on any model that gives probabilities.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ..data.example import Example, ForgetData
from ..errors import MethodError, PlanError
from ..measure.texts import Ask
from ..measure.token_stats import token_stats
from ..naming import derive_seed
from ._ask import questions, reworded
from ._attack import Probe
from .relearn import Relearn

if TYPE_CHECKING:
    from ..models.lm import LM
    from ..runs.run import Run


@dataclass(frozen=True, kw_only=True)
class SearchPrefix:
    """One prefix before all questions, found by random search."""

    tokens: int = 8
    """Length of the prefix."""
    evaluations: int = 200
    """Prefixes tried."""
    share: float = 0.5
    """Share of each entity's forget rows that the prefix is fitted to (T)."""
    rows: int = 8
    """Most rows of T that each prefix is tried on."""

    axis: ClassVar[str] = "prefixes tried"

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise PlanError(f"share: should lie between 0 and 1, got {self.share!r}")
        for name in ("tokens", "evaluations", "rows"):
            if getattr(self, name) < 1:
                raise PlanError(f"{name}: should be at least 1, got {getattr(self, name)!r}")

    def probes(self, lm: LM, data: ForgetData, run: Run) -> Iterator[Probe]:
        """V as it is, then with the prefix; `at` is the number of evaluations. prefix.json has the prefix.

        Raises:
            MethodError: fewer than two rows with questions, or a tokenizer without words to search among.
        """
        given, asked = Relearn(share=self.share).split(questions(data.forget, "search-prefix"), run.seed)
        if not given or not asked:
            raise MethodError("search-prefix needs at least two forget rows with questions", "leave the attack out")
        yield Probe("prefix-0", lm, at=0, splits={"forget": asked})
        prefix = self._search(lm, given[: self.rows], run)
        behind = [_behind(prefix, row) for row in asked]
        yield Probe(f"prefix-{self.evaluations}", lm, at=self.evaluations, splits={"forget": behind})

    def _search(self, lm: LM, rows: Sequence[Example], run: Run) -> str:
        pool = _pool(lm)
        random = Random(derive_seed(run.seed, "search-prefix"))
        best = [random.choice(pool) for _ in range(self.tokens)]
        start = value = self._value(lm, best, rows, run)
        with run.progress("prefix", self.evaluations, "prefixes") as bar:
            bar.advance()
            for _ in range(1, self.evaluations):
                run.check_stop()
                tried = list(best)
                tried[random.randrange(self.tokens)] = random.choice(pool)
                now = self._value(lm, tried, rows, run)
                if now > value:
                    best, value = tried, now
                bar.advance()
        prefix = "".join(best).strip()
        told = {"prefix": prefix, "rows": [row.id for row in rows], "first_logp": start, "logp": value}
        run.write_json("prefix.json", told)
        return prefix

    def _value(self, lm: LM, words: Sequence[str], rows: Sequence[Example], run: Run) -> float:
        """Mean log-probability per token of the answers behind a prefix, nats."""
        asks = [Ask(_behind("".join(words).strip(), row).prompt, row.answer) for row in rows]
        found = token_stats(
            lm,
            asks,
            precision=run.train.precision,
            max_length=run.plan.data.max_length,
            micro_tokens=run.train.micro_tokens,
        )
        return float(np.mean([-stats.mean_nll for stats in found.values()]))


def _behind(prefix: str, row: Example) -> Example:
    return reworded(row, f"{prefix} {row.question}")


def _pool(lm: LM) -> list[str]:
    """Texts of the tokens that are printing ASCII, in the order of their ids."""
    control = {*lm.tokenizer.all_special_ids, *lm.tokenizer.added_tokens_decoder}
    texts = (str(lm.tokenizer.decode([i])) for i in sorted(set(lm.tokenizer.get_vocab().values()) - control))
    found = [text for text in texts if text.strip() and text.isascii() and text.isprintable()]
    if not found:
        raise MethodError("search-prefix: the tokenizer has no token of printing ASCII characters", "leave it out")
    return found
