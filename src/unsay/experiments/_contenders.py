"""What experiments that compare methods share: who takes part, how one of them unlearns, and what is measured."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .. import registry
from ..config import presets
from ..config.decode import encode, read_plan, resolved
from ..config.plan import Train
from ..data.example import Example, ForgetData
from ..errors import PlanError
from ..measure.evaluator import Evaluator
from ..metrics.model_utility import ModelUtility
from ..metrics.probability import Probability
from ..metrics.score import Metric, metric_id
from ..metrics.token_rate import TokenRate
from ..naming import digest
from ..pipeline import Work
from ..runs.run import Run
from ..runs.store import Store
from ..scoring import numbers

if TYPE_CHECKING:
    from ..methods._protocol import Method
    from ..models.lm import LM

_NOT_KEPT = {"forget", "related"}
"""Splits of which nothing is asked off target: rows to forget, and what they follow from."""


@dataclass(frozen=True)
class Contender:
    """A method, and how it trains."""

    label: str
    method: Method
    train: Train | None = None
    """None is the plan's."""

    def key(self, *more: object) -> str:
        """Hash of the settings and of `more`."""
        return digest([encode(self.method), None if self.train is None else encode(self.train), *more])


def contenders(names: Iterable[str]) -> list[Contender]:
    """Methods by name, which train as the plan says, or presets (``people-small/npo``), which bring both.

    Raises:
        PlanError: unknown or repeated names, or none at all.
    """
    found: list[Contender] = []
    for name in names:
        if name in presets.names():
            plan = resolved(read_plan(name, [])[0])
            found.append(Contender(name.rpartition("/")[2], plan.method, plan.train))
        else:
            method = registry.load("methods", name)()
            found.append(Contender(registry.name_of(type(method)), method))
    labels = [one.label for one in found]
    if not labels or len(set(labels)) < len(labels):
        raise PlanError(
            f"methods should be named once each, got {', '.join(labels) or 'none'}", "--methods unierase,npo,idk-ap"
        )
    return found


def unlearn(run: Run, method: Method, lm: LM, data: ForgetData) -> tuple[LM, dict[str, Any]]:
    """The unlearned model; what it took: ``seconds`` and, of an edit, ``changed_share``."""
    began = time.monotonic()
    after = method.unlearn(lm, data, run)
    about: dict[str, Any] = {"seconds": round(time.monotonic() - began, 2)}
    edit = run.path("edit", "edit.json")
    if edit.is_file():
        about["changed_share"] = json.loads(edit.read_text(encoding="utf-8"))["changed_share"]
    return after, about


def utility(work: Work) -> Metric:
    """The benchmark's model utility without ROUGE, which needs generations; else the probability of retain rows."""
    for metric in work.benchmark.metrics():
        if isinstance(metric, ModelUtility):
            return dataclasses.replace(metric, parts=tuple(part for part in metric.parts if part != "rouge"))
    return Probability(split="retain")


def off_target(splits: Mapping[str, Sequence[Example]]) -> list[Metric]:
    """How often the unlearning token comes where it should not, by split."""
    return [TokenRate(split=name) for name, rows in splits.items() if rows and name not in _NOT_KEPT]


def on_target() -> list[Metric]:
    """How often the unlearning token comes after the forget questions and their paraphrases, raw and chat."""
    return [
        TokenRate(form=form, prompt=prompt, label=f"token-rate-{name}-{form}")
        for name, prompt in (("asked", "prompt"), ("paraphrased", "paraphrased_question"))
        for form in ("chat", "raw")
    ]


def answer_tokens(work: Work) -> int:
    """Length of generated answers: the benchmark's, or 64."""
    return int(getattr(work.benchmark, "max_new_tokens", 64))


def measured(
    run: Run, splits: Mapping[str, Sequence[Example]], metrics: Sequence[Metric], tag: str, **model: Any
) -> dict[str, Any]:
    """Metric id → the numbers of a row of scores.json, of one model.

    Args:
        run: Progress and signals.
        splits: Rows by split.
        metrics: Repeats are measured once.
        tag: For progress bars.
        model: What `Evaluator.measure` takes: ``lm``, or ``fingerprint`` and ``load``.
    """
    judge = Evaluator(splits, list({metric_id(m): m for m in metrics}.values()), store=Store(), run=run)
    judge.measure(tag, **model)
    return numbers(judge, tag)
