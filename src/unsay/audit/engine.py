"""``unsay audit``: every attack on the model as it stands on disk and, alike, on its controls.

    E_A(m) = [m(A(θu)) − m(θu)] − [m(A(θr)) − m(θr)]        latent knowledge, m any knowledge metric, up = more

θu the model under audit, θr one that never saw the rows, θ0 the model before: an attack that does not find the
knowledge in θ0, or brings it up in θr as well, decides nothing.
"""

from __future__ import annotations

import functools
import inspect
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import registry, stats
from ..config.decode import encode
from ..data.example import Example, rows_fingerprint
from ..data.read_shape import to_row
from ..errors import CollapseError, DataError, MethodError, MissingExtra, ModelError, PlanError
from ..metrics.extraction_strength import ExtractionStrength
from ..metrics.fact_probability import FactProbability
from ..metrics.kfr import KFR
from ..metrics.loss_attack import LossAttack
from ..metrics.min_k import MinK
from ..metrics.min_k_pp import MinKPp
from ..metrics.probability import Probability
from ..metrics.rouge import Rouge
from ..metrics.score import Metric, Score, metric_id
from ..metrics.zlib_ratio import ZlibRatio
from ..naming import digest, file_digest
from ..report.report import write_report
from ..runs.manifest import DataRecord, ModelRecord
from ..runs.reporter import Reporter
from ..runs.run import Run
from ..runs.store import Store
from ..subjects import Subject
from ..writers._obtain import named_files
from .case import Case, named, read_case
from .verdict import conclude

if TYPE_CHECKING:
    from ..attacks._attack import Finding, Probe
    from ..measure.evaluator import Evaluator
    from ..models.lm import LM

VERSION = 2
"""Part of every stage's key; raise it when the meaning of a number changes."""
READING = "reading"
"""What inspections measure takes the place of a metric under this name."""
_SHOWING = ("cli", "report", "selftest", "experiments", "interchange", "presets")
"""Parts of the package that no attack's numbers come from."""
_BITS = 4
_SHOWN = 3
"""Answers that are written out for each attacked model."""
_REFUSALS = (MethodError, PlanError, ModelError, DataError, CollapseError, MissingExtra)


def audit(
    target: str,
    words: Iterable[str] = (),
    *,
    profile: str = "quick",
    command: Sequence[str] = (),
    reporter: Reporter | None = None,
    overwrite: bool = False,
) -> Path:
    """Attack a model and its controls, and say what is left of the forget rows. A rerun resumes.

    Args:
        target: A finished run's folder, or a model folder, hub id or alias.
        words: ``key=value`` words, see `read_case`.
        profile: quick, standard or full.
        command: What the user typed, for the report.
        reporter: Where progress goes.
        overwrite: Replace what the folder holds, if it is another audit.

    Returns:
        A run folder with audit.json, audit.html and audit.md: ``audits/<profile>`` inside a run, otherwise
        ``runs/audit-<model>-<hash6>``, see `read_case`.

    Raises:
        UnsayError: bad input, or an interruption that a rerun resumes. An attack that cannot work on these rows or
            this model is no error: it is listed as not tested.
    """
    import torch

    case = read_case(target, words, profile)
    subjects, notes = _loaded(case)
    with Run.start(case.plan, command=command, reporter=reporter, overwrite=overwrite) as run:
        run.record(threads=torch.get_num_threads())
        for note in (*case.notes, *notes):
            run.note(note)
        found = conclude(_Audit(run, case, subjects).record())
        run.write_json("audit.json", found)
    write_report(run.dir)
    return run.dir


def _loaded(case: Case) -> tuple[dict[str, Subject], list[str]]:
    """Every model once read from the disk, and the rows checked with the first; what is odd about them."""
    from ..data.checks import check_all

    subjects, notes = {}, []
    for tag, spec in case.models.items():
        subjects[tag] = subject = Subject.of(spec)
        if tag == "after":
            limits = case.plan.data
            notes += check_all(case.data, subject.load().template, limits.max_length, limits.truncate)
        subject.drop()
        said = case.recorded.get(tag)
        if said and said != subject.fingerprint:
            notes.append(f"the {tag} model on disk is not the one that the run wrote down: what is there is audited")
    return subjects, notes


class _Audit:
    """One audit: models one after the other in memory, each under every attack."""

    def __init__(self, run: Run, case: Case, subjects: Mapping[str, Subject]):
        self._run, self._case, self._subjects, self._store = run, case, subjects, Store()
        self._spoken = _spoken(case.words)
        self._forced: tuple[Metric, ...] = (
            Probability(split="forget"),
            FactProbability(split="forget"),
            ExtractionStrength(split="forget"),
        )
        self._free = (self._spoken, *case.plan.metrics)
        self._refused: dict[str, str] = {}

    def record(self) -> dict[str, Any]:
        """Everything that was measured, by example id."""
        from ..training.trainer import discard_checkpoints

        case = self._case
        self._write_rows()
        base = self._base()
        attacks = named(case.plan.attacks)
        done: dict[str, dict[str, Any]] = {}
        for tag in case.models:
            for name, attack in attacks.items():
                if name not in self._refused:
                    result = self._attack(name, attack, tag)
                    if reason := result.pop("refused", ""):
                        self._refused[name] = reason if tag == "after" else f"on the {tag} model: {reason}"
                    done.setdefault(name, {})[tag] = result
            self._subjects[tag].drop()
        discard_checkpoints(self._run)  # of interrupted trainings: such weights know what is to be forgotten
        return {
            "version": VERSION,
            "profile": case.profile,
            "chosen": case.chosen,
            "target": case.plan.model.path,
            "from_run": case.from_run,
            "replaced": [t for t, told in case.recorded.items() if told and told != self._subjects[t].fingerprint],
            "models": {t: {"origin": s.spec.path, "fingerprint": s.fingerprint} for t, s in self._subjects.items()},
            "entities": {row.id: row.entity for row in (*case.asked, *case.data.holdout)},
            "members": [row.id for row in case.asked],
            "others": [row.id for row in case.data.holdout],
            **base,
            "buckets": self._buckets(),
            "attacks": [
                {
                    "attack": name,
                    "kind": registry.name_of(type(attack)),
                    "settings": encode(attack),
                    "given": _given(attack),
                    "runs": done[name],
                    "depth": self._depth(attack, done[name]),
                }
                for name, attack in attacks.items()
                if name not in self._refused
            ],
            "refused": {**case.absent, **self._refused},
        }

    def _write_rows(self) -> None:
        run, case = self._run, self._case
        rows = {"forget": case.asked, "holdout": case.data.holdout}
        source = registry.name_of(type(case.plan.benchmark))
        run.record(data={k: DataRecord(len(v), rows_fingerprint(v), source) for k, v in rows.items() if v})
        run.record(models={t: ModelRecord(s.spec.path, s.fingerprint) for t, s in self._subjects.items()})
        run.write_jsonl("data/forget.jsonl", [to_row(row) for row in case.asked])

    def _base(self) -> dict[str, Any]:
        """Every model as it is: knowledge of the forget rows, free answers, and membership where rows are held out."""
        from ..measure.evaluator import Evaluator, as_planned

        splits = {"forget": self._case.asked, "holdout": self._case.data.holdout}
        attacks = (LossAttack(), ZlibRatio(), MinK(), MinKPp()) if self._case.data.holdout else ()
        metrics = (*self._forced, *self._free, *attacks)
        judge = Evaluator(splits, metrics, store=self._store, run=self._run, **as_planned(self._run.plan))
        for tag, subject in self._subjects.items():
            with self._run.stage(f"measure {tag}", key=digest([VERSION, subject.fingerprint, self._rows])) as stage:
                judge.measure(tag, fingerprint=subject.fingerprint, load=subject.load, release=subject.drop)
                effort = judge.effort(tag)
                stage.tokens, stage.sweeps = stage.tokens + effort.tokens, str(effort)
        self._run.write_jsonl("samples.jsonl", judge.samples())
        found = {tag: self._values(by) for tag, by in judge.scores().items()}
        names = {metric_id(metric) for metric in attacks}
        return {
            "base": {tag: {n: v for n, v in by.items() if n not in names} for tag, by in found.items()},
            "membership": {tag: {n: v for n, v in by.items() if n in names} for tag, by in found.items()},
        }

    def _buckets(self) -> dict[str, Any]:
        """How far the weights moved in steps of four bits, on the way from before to each other model."""
        from ..attacks.bucket_crossing import bucket_crossing

        found: dict[str, Any] = {}
        before = self._subjects.get("before")
        for tag in ("after", "retrained") if before else ():
            if before is None or tag not in self._subjects:
                continue
            key = digest([VERSION, "buckets", _BITS, before.fingerprint, self._subjects[tag].fingerprint])
            with self._run.stage(f"buckets {tag}", key=key):
                if kept := self._store.get_table(key):
                    found[tag] = {"bits": _BITS, "share": kept["share"], "steps": kept["steps"]}
                    continue
                try:
                    layers = bucket_crossing(before.load(), self._subjects[tag].load(), bits=_BITS)
                except _REFUSALS as error:
                    found[tag] = {"bits": _BITS, "why": error.message}
                    continue
                finally:
                    self._subjects[tag].drop()
                columns = {"share": [one.share for one in layers], "steps": [one.steps for one in layers]}
                self._store.put_table(key, columns)
                found[tag] = {"bits": _BITS, **columns}
        if before:
            before.drop()
        return found

    @functools.cached_property
    def _rows(self) -> str:
        """What attacks can read of the rows: fingerprints leave out what a row says of itself, such as its spans."""
        data = self._case.data
        rows = (*self._case.asked, *data.forget, *data.retain, *data.holdout)
        about = [[key, repr(value)] for row in rows for key, value in sorted(row.meta.items()) if key != "source"]
        return digest([data.fingerprint(), rows_fingerprint(self._case.asked), about])

    def _attack(self, name: str, attack: Any, tag: str) -> dict[str, Any]:
        """One attack on one model, from the store when anybody has run it there before."""
        subject = self._subjects[tag]
        item = self._case.item(registry.name_of(type(attack)))
        speaks = item.speaks or len(self._free) > 1
        before = self._subjects.get("before") if _compares(attack) else None
        source = file_digest(Path(inspect.getfile(type(attack))))  # it may be a plug-in's
        parts = [VERSION, encode(attack), source, _code(), speaks, item.seeds, self._rows]
        parts += [tag == "after", subject.fingerprint, before.fingerprint if before else ""]
        parts += [self._run.seed, self._case.words, self._run.plan.data.max_length]
        parts += [encode(self._run.plan.train.precision), *map(encode, self._free), named_files(encode(attack))]
        key = digest(parts)
        with self._run.stage(f"attack {name} on {tag}", key=key) as stage:
            if kept := self._store.get_table(key):
                return dict(json.loads(kept["json"][0]))
            points: list[dict[str, Any]] = []
            axis = getattr(attack, "axis", "strength")
            try:
                for seed in range(item.seeds):
                    sub = self._run.sub(f"attacks/{name}/{tag}-{seed}", seed=self._run.seed + seed)
                    points += [{**point, "seed": seed} for point in self._points(attack, tag, sub, before, speaks)]
            except _REFUSALS as error:
                return {"axis": axis, "points": [], "refused": error.message}
            found = {"axis": axis, "points": points}
            self._store.put_table(key, {"json": [json.dumps(found)]})
            stage.sweeps = f"{len(points)} points"
            return found

    def _points(
        self, attack: Any, tag: str, sub: Run, before: Subject | None, speaks: bool
    ) -> Iterable[dict[str, Any]]:
        lm = self._subjects[tag].load()
        more = {"before": before.load() if before else None} if _compares(attack) else {}
        self._run.check_stop()
        if hasattr(attack, "inspect"):
            for finding in attack.inspect(lm, self._case.data, sub, **more):
                yield _read(finding)
                self._run.check_stop()
            return
        best = 0.0
        for probe in attack.probes(lm, self._case.data, sub, **more):
            point = self._probed(probe, probe.lm is lm, tag, speaks)
            likely = max(point["values"][metric_id(self._forced[0])].values(), default=0.0)
            if tag == "after" and not speaks and likely > best:
                # Answers take as long as ten measurements: they are written out where more shows than before.
                best, point["said"] = likely, self._said(probe, probe.lm is lm, point["values"])
            yield point
            self._run.check_stop()

    def _depth(self, attack: Any, runs: Mapping[str, Any]) -> dict[str, Any] | None:
        """The unlearning depth score, where states were patched from the model and from a retrained one."""
        from ..attacks._attack import Finding
        from ..attacks.activation_patching import ActivationPatching, uds

        if not isinstance(attack, ActivationPatching) or not {"after", "retrained"} <= runs.keys():
            return None
        read = {
            tag: [Finding(p["label"], p["at"], p["values"][READING]) for p in runs[tag]["points"]]
            for tag in ("after", "retrained")
        }
        values = uds(read["retrained"], read["after"])
        if not values:
            return None
        found = stats.mean(values, {row.id: row.entity for row in self._case.asked}, bounds=(0.0, 1.0))
        return {"value": found.value, "ci": found.ci, "n": found.n, "note": found.note}

    def _probed(self, probe: Probe, same: bool, tag: str, speaks: bool) -> dict[str, Any]:
        """The knowledge metrics of one attacked model, or of a model asked otherwise."""
        metrics = (*self._forced, *self._free) if speaks else self._forced
        judge = self._judge(probe.lm, self._asked(probe), metrics, tag, same)
        values = self._values(judge.scores()[tag])
        said = _answers(judge, tag) if speaks and tag == "after" else []
        kind = "questions" if same else "weights"
        asked = {row.id: row.answer for row in self._case.asked}
        other = any(row.answer != asked.get(row.id) for row in self._asked(probe))
        about = {"label": probe.label, "at": probe.at, "kind": kind, "other": other}
        return {**about, "values": values, "said": said}

    def _said(self, probe: Probe, same: bool, values: Mapping[str, Mapping[str, float]]) -> list[dict[str, str]]:
        """What the model says where the right answer is likeliest."""
        likely = values[metric_id(self._forced[0])]
        top = sorted(self._asked(probe), key=lambda row: -likely.get(row.id, 0.0))[:_SHOWN]
        return _answers(self._judge(probe.lm, top, (self._spoken,), "after", same), "after")

    def _asked(self, probe: Probe) -> Sequence[Example]:
        return (probe.splits or {}).get("forget", self._case.asked)

    def _values(self, scores: Mapping[str, Score]) -> dict[str, dict[str, float]]:
        """By metric and example, so that up is more knowledge: a row that KFR counts as forgotten is 0."""
        turned = {metric_id(metric) for metric in self._free if isinstance(metric, KFR)}
        return {
            f"1 − {name.replace('kfr@', 'KFR@')}" if name in turned else name: {
                i: 1.0 - v if name in turned else v for i, v in score.per_example.items()
            }
            for name, score in scores.items()
        }

    def _judge(self, lm: LM, rows: Sequence[Example], metrics: Sequence[Metric], tag: str, same: bool) -> Evaluator:
        from ..measure.evaluator import Evaluator, as_planned

        judge = Evaluator({"forget": rows}, metrics, store=self._store, run=self._run, **as_planned(self._run.plan))
        judge.measure(tag, lm, fingerprint=self._subjects[tag].fingerprint if same else "")
        return judge


def _answers(judge: Evaluator, tag: str) -> list[dict[str, str]]:
    return [{"id": r["id"], "prompt": r["prompt"], "text": r["answers"].get(tag, "")} for r in judge.samples()]


def _read(finding: Finding) -> dict[str, Any]:
    values = {READING: {i: float(v) for i, v in finding.values.items() if math.isfinite(v)}}
    about = {"label": finding.label, "at": finding.at, "kind": "inside", "note": finding.note}
    return {**about, "values": values, "said": []}


@functools.cache
def _code() -> str:
    """Of all that an attack's numbers may come from: one that was run by other code is run again."""
    root = Path(__file__).parent.parent
    files = [path for path in root.rglob("*") if path.suffix in (".py", ".yaml", ".txt", ".jsonl")]
    ours = [path for path in files if path.relative_to(root).parts[0] not in _SHOWING]
    return digest([[path.relative_to(root).as_posix(), file_digest(path)] for path in sorted(ours)])


def _compares(attack: Any) -> bool:
    """Whether an attack also takes the model before unlearning."""
    call = getattr(attack, "inspect", None) or attack.probes
    return "before" in inspect.signature(call).parameters


def _spoken(words: int) -> Metric:
    """What free answers are scored by: the words of the answer that the question does not give away."""
    if "novel-recall" in registry.names("metrics"):
        made: Metric = registry.load("metrics", "novel-recall")(split="forget", max_new_tokens=words)
        return made
    return Rouge(split="forget", max_new_tokens=words)


def _given(attack: Any) -> str:
    """What its header says that the attacker holds; "" where it does not say."""
    text = inspect.getmodule(type(attack)).__doc__ or ""  # type: ignore[union-attr]
    lines: list[str] = []
    for line in text.splitlines():
        if line.startswith("Given"):
            lines = [line.removeprefix("Given").lstrip(": ").strip()]
        elif lines and line.startswith(" "):
            lines.append(line.strip())
        elif lines:
            break
    return " ".join(lines)
