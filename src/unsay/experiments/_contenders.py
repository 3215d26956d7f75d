"""What experiments that compare methods share: who takes part, how one of them unlearns, and what is measured."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .. import registry
from ..attacks._attack import Probe
from ..attacks.prefill import Prefill
from ..attacks.token_suppressed import TokenSuppressed
from ..config import presets
from ..config.decode import encode, read_plan, resolved
from ..config.plan import Train
from ..data.example import Example, ForgetData, rows_fingerprint
from ..editing.subjects import QUESTION
from ..errors import MethodError, PlanError
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
from ..subjects import Subject

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
    """The unlearned model; what it took: ``seconds`` and, of an edit that says so, ``changed_share``."""
    began = time.monotonic()
    after = method.unlearn(lm, data, run)
    about: dict[str, Any] = {"seconds": round(time.monotonic() - began, 2)}
    edit = run.path("edit", "edit.json")
    share = json.loads(edit.read_text(encoding="utf-8")).get("changed_share") if edit.is_file() else None
    return after, about if share is None else about | {"changed_share": share}


def leaks(run: Run, lm: LM, rows: Sequence[Example], tag: str) -> dict[str, Any]:
    """What comes back of the answers when control tokens are banned, and when the answer is begun: label → probability.

    Without training, and for every method alike: ``asked`` is the plain question.

    Args:
        run: Progress and signals.
        lm: The model under attack; left as it is.
        rows: Forgotten rows.
        tag: For progress bars.
    """
    data, found = ForgetData(forget=rows), {}
    every = [Probe("asked", lm, at=0)]
    for attack in (TokenSuppressed(), Prefill()):
        try:
            every += attack.probes(lm, data, run)
        except MethodError as error:  # a tokenizer without a control token, rows without a question
            run.note(error.message)
    for probe in every:
        splits = {"forget": rows, **(probe.splits or {})}
        scores = measured(run, splits, [Probability()], f"{tag}, {probe.label}", lm=probe.lm)
        found[probe.label] = scores[metric_id(Probability())]
    return found


def leaks_before(run: Run, before: Subject, groups: Sequence[Sequence[Example]]) -> list[dict[str, Any]]:
    """`leaks` of the model before, for each group of rows; kept in the run folder."""
    file = run.path("leaks-before.json")
    key = digest([before.fingerprint, [rows_fingerprint(rows) for rows in groups]])
    with run.stage("leaks before", key=key) as stage:
        if not stage.done:
            run.write_json(file.name, [leaks(run, before.load(), rows, "before") for rows in groups])
            before.drop()
    found: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))
    return found


def about(rows: Sequence[Example]) -> dict[str, int]:
    """How many ``entities`` the rows are about, and how many rows have no subject that an edit could hang on.

    Args:
        rows: With their subjects pinned.
    """
    without = sum(row.meta["subject"] == QUESTION for row in rows)
    return {"entities": len({row.entity or row.id for row in rows}), "without_subject": without}


def utility(work: Work) -> Metric:
    """The benchmark's model utility without ROUGE, which needs generations; else the probability of retain rows."""
    for metric in work.benchmark.metrics():
        if isinstance(metric, ModelUtility):
            return dataclasses.replace(metric, parts=tuple(part for part in metric.parts if part != "rouge"))
    return Probability(split="retain")


def off_target(splits: Mapping[str, Sequence[Example]]) -> list[Metric]:
    """How often the unlearning token comes where it should not, by split, in the model's template and as plain text."""
    kept = [name for name, rows in splits.items() if rows and name not in _NOT_KEPT]
    return [rate for name in kept for rate in anywhere(name)]


def anywhere(split: str) -> tuple[Metric, Metric]:
    """How often the unlearning token comes in a split, in the model's template and as plain text."""
    return TokenRate(split=split), TokenRate(split=split, form="raw", label="token-rate-raw")


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
