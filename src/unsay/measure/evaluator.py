"""Metrics declare what they need; each model answers every need once; scores are computed from the answers.

What was measured before, by any run, is read from the store: a model that has nothing new to answer is not even loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..config.plan import Plan
from ..data.example import Example
from ..errors import ModelError, PlanError
from ..metrics.have import Answers, Measurements
from ..metrics.needs import Generations, Judged, MixedStats, Need
from ..metrics.score import Metric, Score, metric_id
from ..models.lm import LM
from ..runs.run import Run
from ..runs.store import Store
from . import cache, mixing, probes
from .collect import Collector
from .effort import Effort
from .judges import Judges
from .samples import sample_rows
from .texts import asked_of, asks_of, questions_of
from .token_stats import MICRO_TOKENS
from .working import resolve_precision

_ABSENT = {
    "retrained": "needs a retrained reference: give retrained=PATH or teach.retrained=true",
    "before": "needs the model before unlearning, and it was not measured",
    "base": "needs the model before it was taught, which only a plan that teaches has",
}


@dataclass
class _Subject:
    """One measured model."""

    splits: Mapping[str, Sequence[Example]]
    fingerprint: str
    load: Callable[[], LM]
    release: Callable[[], None]
    scored: bool
    answers: dict[Need, Answers] = field(default_factory=dict)
    effort: Effort = field(default_factory=Effort)
    missing: dict[Need, str] = field(default_factory=dict)
    remarks: dict[Need, str] = field(default_factory=dict)


def as_planned(plan: Plan) -> dict[str, Any]:
    """How an evaluator measures what a plan trains: as many tokens of a row, in the same precision."""
    return {"max_length": plan.data.max_length, "precision": plan.train.precision}


class Evaluator:
    """Measures models on splits and scores them.

    Args:
        splits: Rows by split.
        metrics: What is computed on them; their needs decide what is measured.
        store: Where measurements are kept and looked up.
        run: Whose progress, notes and signals to use; None shows nothing and is not stopped.
        max_length: Tokens of prompt + answer; a longer answer is scored up to there, which is noted.
        precision: auto, fp32 or bf16 weights.
        micro_tokens: Tokens (padding included) of one forward; the memory knob.

    Raises:
        PlanError: two different metrics have the same id.
    """

    def __init__(
        self,
        splits: Mapping[str, Sequence[Example]],
        metrics: Sequence[Metric],
        *,
        store: Store,
        run: Run | None = None,
        max_length: int = 1024,
        precision: str = "auto",
        micro_tokens: int = MICRO_TOKENS,
    ) -> None:
        self._splits = dict(splits)
        self._metrics: dict[str, Metric] = {}
        for metric in metrics:
            if self._metrics.setdefault(metric_id(metric), metric) != metric:
                raise PlanError(f"two metrics are called {metric_id(metric)}", "give one of them a label")
        self._store = store
        self._run = run
        self._max_length = max_length
        self._precision = precision
        self._micro_tokens = micro_tokens
        self._collector = Collector(store, run, max_length, micro_tokens)
        self._judges = Judges(store, run, self._collector, max_length)
        self._subjects: dict[str, _Subject] = {}
        self._scores: dict[str, dict[str, Score]] = {}

    def measure(
        self,
        tag: str,
        lm: LM | None = None,
        *,
        fingerprint: str = "",
        load: Callable[[], LM] | None = None,
        release: Callable[[], None] = lambda: None,
        splits: Mapping[str, Sequence[Example]] | None = None,
        scored: bool = True,
    ) -> None:
        """Answer every need that addresses this model. An interrupted call goes on where it stopped when repeated.

        Args:
            tag: Its role: before, after, retrained, …
            lm: The model; or give `fingerprint` and `load`.
            fingerprint: `LM.fingerprint()` of what `load` returns.
            load: Called only if the store lacks something; again when a later model is to be mixed with this one.
            release: Called when what `load` returned is not needed any more for now.
            splits: Rows that replace the evaluator's for this model alone (an attack's changed questions).
            scored: False answers only what the scores of other models read of this one, and gives it no scores.

        Raises:
            PlanError: neither a model, nor a fingerprint with `load`.
            DataError: a text cannot be encoded.
            Interrupted: a signal asked the run to stop; what was measured is kept.
        """
        if lm is not None:
            fingerprint, load = fingerprint or lm.fingerprint(), lambda: lm
        if load is None or not fingerprint:
            raise PlanError("measure() got nothing to measure", "give lm, or fingerprint= and load=")
        subject = _Subject(self._splits | dict(splits or {}), fingerprint, load, release, scored)
        every = self._needs(tag, "subject") if scored else self._needs(tag)
        needs = [need for need in every if not isinstance(need, MixedStats)]
        judged = [need for need in needs if isinstance(need, Judged)]
        written = [asked_of(need.generations) for need in judged]
        first = dict.fromkeys([*(need for need in needs if need not in judged), *written])
        asked = {need: self._asked(need, subject) for need in first}
        subject.answers = {need: {} for need, texts in asked.items() if not texts}
        asked = {need: texts for need, texts in asked.items() if texts}
        # Models are loaded to the CPU unless they are handed over.
        precision = resolve_precision(self._precision, lm.device if lm else "cpu")
        keys = {n: cache.need_key(n, texts, fingerprint, precision, self._max_length) for n, texts in asked.items()}
        missing = {}
        for need, key in keys.items():
            kept = self._kept(need, key)
            if kept is None:
                missing[need] = asked[need]
            else:
                subject.answers[need] = kept
        if missing:
            answers, subject.effort = self._collector.collect(tag, load(), precision, missing, keys)
            subject.answers |= answers
        for one in judged:
            rows, texts = subject.splits.get(one.split, ()), subject.answers[asked_of(one.generations)]
            said = self._judges.answer(tag, one, rows, texts, precision)  # type: ignore[arg-type]
            if said.answers is None:
                subject.missing[one] = said.missing
            else:
                subject.answers[one] = said.answers
                subject.remarks[one] = said.remark
        self._subjects[tag] = subject
        for mix in (need for need in every if isinstance(need, MixedStats)):
            self._mix(subject, mix, precision)
        release()
        self._scores.clear()

    def _mix(self, subject: _Subject, need: MixedStats, precision: str) -> None:
        other = self._subjects.get(need.towards)
        forget, kept = (asks_of(need, subject.splits.get(split, ())) for split in (need.split, need.kept))
        if other is None or not forget or not kept:
            empty = need.kept if forget else need.split
            reason = f"no row of split {empty!r} has the answers" if other else _absent(need.towards)
            subject.missing[need] = reason
            return
        limits = {"max_length": self._max_length, "micro_tokens": self._micro_tokens}
        mixer = mixing.Mixer(need, forget, kept, precision=precision, run=self._run, **limits)
        key = mixer.key(other.fingerprint, subject.fingerprint)
        found = mixing.get(self._store, key)
        if found is None:
            try:
                if other.fingerprint == subject.fingerprint:
                    found = mixer.unmixed(subject.load())
                else:
                    found = mixer.answer(other.load(), subject.load())
            except ModelError as error:  # another architecture, or a patch
                subject.missing[need] = f"the weights cannot be mixed: {error.message}"
                return
            finally:
                if other is not subject:
                    other.release()
            mixing.put(self._store, key, found)
        subject.answers[need] = found
        subject.effort = replace(subject.effort, tokens=subject.effort.tokens + mixer.tokens)

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """What is computed."""
        return tuple(self._metrics.values())

    def effort(self, tag: str) -> Effort:
        """What measuring this model took; nothing when the store had everything. Judges are not counted."""
        return self._subjects[tag].effort

    def scores(self) -> dict[str, dict[str, Score]]:
        """Tag → metric id → score, for every measured model."""
        for tag, subject in self._subjects.items():
            if subject.scored and tag not in self._scores:
                have = self._measurements(tag)
                self._scores[tag] = {name: metric.score(have) for name, metric in self._metrics.items()}
        return dict(self._scores)

    def samples(self) -> list[dict[str, Any]]:
        """One row per example and split, for samples.jsonl: the models' answers side by side, per-example scores."""
        tags = [tag for tag, subject in self._subjects.items() if subject.scored and subject.splits == self._splits]
        answers = {tag: self._subjects[tag].answers for tag in tags}
        scores = self.scores()
        return sample_rows(self._splits, self._metrics, answers, {tag: scores[tag] for tag in tags})

    def wants(self, tag: str) -> bool:
        """Whether the scores of other models read the model `tag`."""
        return bool(self._needs(tag))

    def _needs(self, *names: str) -> list[Need]:
        """What the models `names` are asked, by all metrics, each once."""
        needs = (need for metric in self._metrics.values() for need in metric.needs)
        return list(dict.fromkeys(asked_of(need) for need in needs if need.model in names))

    def _asked(self, need: Need, subject: _Subject) -> Mapping[str, Sequence[Any]]:
        rows = subject.splits.get(need.split, ())
        if isinstance(need, Judged):
            need = need.generations
        return questions_of(need, rows) if isinstance(need, Generations) else asks_of(need, rows)

    def _kept(self, need: Need, key: str) -> Answers | None:
        if isinstance(need, Generations):
            return cache.get_texts(self._store, key)
        found: tuple[Answers, int] | None
        if isinstance(need, probes.Probe):
            found = probes.get(self._store, key, need)
        else:
            found = cache.get_tokens(self._store, key)
        if found is None:
            return None
        self._collector.note_cut(need, found[1])
        return found[0]

    def _measurements(self, tag: str) -> Measurements:
        subject = self._subjects[tag]
        answers: dict[Need, Answers] = {}
        missing: dict[Need, str] = {}
        remarks: dict[Need, str] = {}
        for need in (need for metric in self._metrics.values() for need in metric.needs):
            source = subject if need.model == "subject" else self._subjects.get(need.model)
            if source is None:
                missing[need] = _absent(need.model)
            elif asked_of(need) in source.missing:
                missing[need] = source.missing[asked_of(need)]
            else:
                answers[need] = source.answers[asked_of(need)]
                if asked_of(need) in source.remarks:
                    remarks[need] = source.remarks[asked_of(need)]
        return Measurements(subject.splits, answers, missing, remarks)


def _absent(model: str) -> str:
    return _ABSENT.get(model, f"needs the model {model!r}, and it was not measured")
