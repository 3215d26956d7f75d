"""What is compared: the models with their names, the one before unlearning first, and the rows that are asked."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from .. import stats
from ..config.plan import ModelSpec
from ..data.example import Example
from ..data.read import read_rows
from ..errors import DamagedError, ModelError, PlanError, RunError
from ..report.mechanism import write
from ..runs import atomic
from ..runs.reporter import NullReporter, Reporter
from ..runs.run import Run
from ..subjects import plan_models

if TYPE_CHECKING:
    from ..mechanism.texts import Text
    from ..models.lm import LM

MADE_BY = "unsay probe"
_NAMED = re.compile(r"([A-Za-z0-9][\w.-]{0,31})=(.+)")
At = Literal["first", "fact", "all"]


@dataclass(frozen=True)
class Case:
    """Everything a probe is about."""

    models: Mapping[str, ModelSpec]
    """By name, the reference first: before unlearning, or the first model that was named."""
    rows: tuple[Example, ...]
    notes: tuple[str, ...]
    out: Path
    """The folder to write."""

    @property
    def reference(self) -> str:
        """What the others are compared with."""
        return next(iter(self.models))

    @property
    def entities(self) -> dict[str, str]:
        """Entity by row id."""
        return {row.id: row.entity for row in self.rows}

    def document(self, kind: str, settings: Mapping[str, Any]) -> dict[str, Any]:
        """The beginning of the JSON file."""
        asked = [{"id": r.id, "entity": r.entity, "question": r.question, "answer": r.answer} for r in self.rows]
        return {
            "kind": kind,
            "reference": self.reference,
            "settings": dict(settings),
            "notes": list(self.notes),
            "rows": asked,
            "models": {name: {"path": spec.path} for name, spec in self.models.items()},
        }


def read_case(
    kind: str,
    targets: Sequence[str],
    *,
    rows: int,
    prompts: str | None,
    out: str | None,
    template: Literal["auto", "chat", "plain"],
) -> Case:
    """The case that was typed; nothing is loaded or written.

    Args:
        kind: Of probe, for the folder's name.
        targets: Run folders, model folders, hub ids or aliases, each with ``NAME=`` in front or not.
        rows: How many rows are asked at most, evenly spaced.
        prompts: A file of rows; None takes the forget rows of the first run.
        out: The folder to write; None is ``probe-KIND`` in the first run, or in ``runs``.
        template: How models that no run names write prompts.

    Raises:
        PlanError: nothing to look at, nothing to ask, or two things with one name.
        RunError: a run has no models yet, or `out` holds something else.
    """
    if not targets:
        raise PlanError("no model is given", f"unsay probe {kind} runs/mine, or a model folder with --prompts FILE")
    if rows < 1:
        raise PlanError(f"--rows {rows}: should be at least 1", "--rows 8")
    models, runs, notes = _models(targets, template)
    if prompts is not None:
        found = read_rows(prompts, name="prompts")
    elif runs:
        file = runs[0].dir / "data" / "forget.jsonl"
        if not file.is_file():
            raise RunError(f"{runs[0].dir} keeps no forget rows", "--prompts FILE, one question and answer a line")
        found = read_rows(file)
    else:
        raise PlanError("nothing to ask: no run among the models, and no prompts", "--prompts forget.jsonl")
    if empty := sum(not row.question.strip() for row in found):
        notes.append(f"{empty} rows of plain text are read from their first token on")
    chosen = [found[i * len(found) // min(rows, len(found))] for i in range(min(rows, len(found)))]
    if len(chosen) < len(found):
        notes.append(f"{len(chosen)} of {len(found)} rows, evenly spaced")
    folder = Path(out).expanduser() if out else (runs[0].dir if runs else Path("runs")) / f"probe-{kind}"
    _may_write(folder)
    return Case(models, tuple(chosen), tuple(notes), folder)


def _models(targets: Sequence[str], template: Any) -> tuple[dict[str, ModelSpec], list[Run], list[str]]:
    found: dict[str, ModelSpec] = {}
    runs: list[Run] = []
    others: list[tuple[str, ModelSpec]] = []
    notes: list[str] = []
    several = sum(_is_run(_named(target)[1]) for target in targets) > 1
    for target in targets:
        name, path = _named(target)
        folder = Path(path).expanduser()
        if not _is_run(path):
            others.append((name or folder.name or path, ModelSpec(path=path, template=template)))
            continue
        run = Run.open(folder)
        specs = plan_models(run.plan, run.manifest.models, folder)
        if "after" not in specs or "before" not in specs:
            raise RunError(f"{path} has no model after unlearning yet", "finish the run first, with the same plan")
        if runs and (old := run.manifest.models["before"].fingerprint) != runs[0].manifest.models["before"].fingerprint:
            notes.append(f"{folder.name} was unlearned from another model ({old[:8]}…) than {runs[0].dir.name}")
        if not runs:
            found["before"] = specs["before"]
        runs.append(run)
        others.append((name or (folder.resolve().name if several else "after"), specs["after"]))
    if runs and "retrained" in (last := plan_models(runs[0].plan, runs[0].manifest.models, runs[0].dir)):
        others.append(("retrained", last["retrained"]))
    for name, spec in others:
        if name in found:
            raise PlanError(f"two models are called {name}", f"give one of them a name: other={spec.path}")
        found[name] = spec
    return found, runs, notes


def _named(target: str) -> tuple[str, str]:
    hit = None if Path(target).expanduser().exists() else _NAMED.fullmatch(target)
    return (hit[1], hit[2]) if hit else ("", target)


def _is_run(path: str) -> bool:
    return (Path(path).expanduser() / "manifest.json").is_file()


def _may_write(folder: Path) -> None:
    if not folder.exists():
        return
    try:
        mine = atomic.read_manifest(folder)["meta"].get("made_by") == MADE_BY
    except DamagedError:
        mine = False
    if not mine:
        raise RunError(f"{folder} exists and was not written by {MADE_BY}", "--out NEW_FOLDER")


def visit(case: Case, label: str, reporter: Reporter | None) -> Iterator[tuple[str, LM]]:
    """Name and model, the reference first. One at a time is in memory if the caller lets go of each before the next.

    Raises:
        ModelError: a model has other tokens than the reference.
    """
    from ..models.lm import LM

    bar = (reporter or NullReporter()).task(label, len(case.models), "models")
    vocabulary: Mapping[str, int] | None = None
    try:
        for name, spec in case.models.items():
            lm = LM.load(spec)
            own = lm.tokenizer.get_vocab()
            if vocabulary is not None and not (own.items() >= vocabulary.items() or own.items() <= vocabulary.items()):
                raise ModelError(
                    f"{name} has other tokens than {case.reference}: they cannot be compared one by one",
                    "give states of one model",
                )
            vocabulary = vocabulary or own
            yield name, lm
            del lm
            bar.advance(1)
    finally:
        bar.finish()


def places(text: Text, at: At) -> list[int]:
    """Which tokens of the answer are predicted: its first, the first of what it reveals, or all but the end."""
    if at == "first":
        return [text.start]
    return [text.fact[0]] if at == "fact" else list(range(text.start, max(text.start + 1, len(text.ids) - 1)))


def estimate(values: Mapping[str, float], entities: Mapping[str, str], **how: Any) -> dict[str, Any]:
    """Mean with its interval, as JSON; values that are no numbers are left out and counted."""
    kept = {i: v for i, v in values.items() if v == v and abs(v) != float("inf")}
    if not kept:
        return {"value": None, "ci": None, "n": 0, "note": "no value"}
    found = stats.mean(kept, entities, **how)
    lost = len(values) - len(kept)
    note = "; ".join(part for part in (found.note, f"{lost} values are not finite" if lost else "") if part)
    return {"value": found.value, "ci": found.ci, "n": found.n, "note": note}


def save(case: Case, document: Mapping[str, Any]) -> Path:
    """Write the folder: JSON, Markdown and pictures, whole or not at all."""
    with atomic.commit_folder(case.out, meta={"made_by": MADE_BY, "kind": document["kind"]}, existing="replace") as new:
        atomic.write_json(new / f"{document['kind']}.json", document)
        write(new, document["kind"])
    return case.out


def token_text(lm: LM, token: int) -> str:
    """One token as text."""
    return str(lm.tokenizer.decode([token], clean_up_tokenization_spaces=False))
