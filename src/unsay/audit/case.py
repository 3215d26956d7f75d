"""What is audited: which models, on which rows, with which attacks, in which folder."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import registry
from ..config import overrides
from ..config.decode import decode, encode, resolved
from ..config.plan import ModelSpec, Plan
from ..data.example import Example, ForgetData, rows_fingerprint
from ..errors import PlanError
from ..metrics.score import Metric
from ..naming import digest
from ..pipeline import with_rows
from ..runs.run import Run
from ..subjects import plan_models
from .profile import Item, attacks, items

_SPOKEN = 32
"""Tokens of a free answer, where the benchmark says nothing."""
_MODELS = ("before", "base")
_KNOWLEDGE = (
    *("probability", "fact-probability", "paraphrase-probability", "extraction-strength", "exact-memorization"),
    *("rouge", "rouge-f1", "novel-recall", "krr", "kfr", "logit-lens"),
)
"""Metrics that say of every row how much a model knows; kfr the other way round."""
_LABELS = ("out", "redact")
"""Words that change no number."""


@dataclass(frozen=True)
class Case:
    """Everything an audit is about."""

    plan: Plan
    """Of the audit's own folder: its attacks are those that are run."""
    profile: str
    models: Mapping[str, ModelSpec]
    """after (the model that is audited), then as far as there are any before, retrained, retrained-2, …, base."""
    recorded: Mapping[str, str]
    """Fingerprints that the run wrote down, by tag."""
    from_run: bool
    """Whether the controls were made, or named, by the run itself."""
    data: ForgetData
    """What attacks are given."""
    asked: tuple[Example, ...]
    """The rows whose knowledge is measured, unless an attack asks in other words."""
    absent: Mapping[str, str]
    """Attacks of the profile that there are not, and why."""
    notes: tuple[str, ...]
    words: int
    """Tokens of a free answer."""
    chosen: bool = False
    """Whether other attacks than the profile's were asked for."""

    def item(self, kind: str) -> Item:
        """What the profile says about attacks of a kind."""
        return next((item for item in items(self.profile) if item.attack == kind), Item(attack=kind, speaks=True))


def read_case(target: str, words: Iterable[str], profile: str) -> Case:
    """The case that was typed.

    Args:
        target: A finished run's folder, or a model folder, hub id or alias.
        words: ``key=value``: forget=, retain=, holdout= (needed where `target` is a model); before=, base= and
            retrained=PATH[,PATH…], the controls; attacks= instead of the profile's; metrics=
            besides the three that are always measured, such as [{name: kfr}]; out=, seed=, redact= and other
            settings of a plan.
        profile: quick, standard or full.

    Without out= the folder is ``audits/<profile>`` inside a run and ``runs/audit-<model>-<hash6>`` for a model; other
    words than those change its name, so that one audit never takes the place of another.

    Raises:
        PlanError: a word makes no sense, or there is nothing to audit.
        DataError: the rows cannot be read.
    """
    changes = overrides.parse(words)
    typed = {key: value for key, value in changes.items() if key not in _LABELS}
    folder = Path(target).expanduser()
    finished = Run.open(folder) if (folder / "manifest.json").is_file() else None
    named = {tag: str(changes.pop(tag)) for tag in _MODELS if changes.get(tag)}
    retrained = _paths(changes.pop("retrained", None))
    chosen, absent = ((), {}) if "attacks" in changes else attacks(profile)
    document = encode(finished.plan) if finished else {"model": {"path": target}}
    document |= {} if "attacks" in changes else {"attacks": encode(chosen)}
    plan = resolved(decode(overrides.apply(document, changes)))
    if "metrics" in changes:
        _check(plan.metrics)
    models, recorded = _models(plan, finished, folder, named, retrained)
    name = f"audit-{profile}"
    out = plan.out if "out" in changes else str(_folder(folder, target, profile, typed, finished is not None))
    plan = dataclasses.replace(plan, name=name, out=out, model=models["after"], teach=None)
    plan = plan if "metrics" in changes else dataclasses.replace(plan, metrics=())
    # Only what is written down can be resumed as the same plan, so all controls are.
    controls = ",".join(f"{tag}={spec.path}" for tag, spec in models.items() if tag != "after")
    plan = dataclasses.replace(plan, retrained=controls or None)
    nothing = PlanError("nothing to audit by: no forget rows", "give forget=FILE.jsonl, or benchmark=NAME")
    benchmark, data, notes = with_rows(plan, nothing)
    splits = benchmark.splits()
    found = benchmark.data() if data is None else data
    found = dataclasses.replace(found, holdout=found.holdout or splits.get("holdout", ()))
    asked = tuple({row.id: row for row in (*splits.get("forget", ()), *found.forget)}.values())
    about = finished.manifest.data.get("forget") if finished else None
    if about and about.fingerprint != rows_fingerprint(splits.get("forget", ())):
        notes = [*notes, "the forget rows are not those that the run was made with"]
    spoken = min(getattr(benchmark, "max_new_tokens", _SPOKEN), 2 * _SPOKEN)
    return Case(
        plan,
        profile,
        models,
        recorded,
        bool(finished and not retrained),
        found,
        asked,
        absent,
        tuple(notes),
        spoken,
        "attacks" in changes,
    )


def _check(metrics: Sequence[Metric]) -> None:
    for metric in metrics:
        name = registry.name_of(type(metric))
        if name not in _KNOWLEDGE:
            raise PlanError(f"metrics: {name} does not say of each row how much a model knows", " ".join(_KNOWLEDGE))


def _folder(folder: Path, target: str, profile: str, typed: Mapping[str, Any], is_run: bool) -> Path:
    if is_run:
        return folder / "audits" / (f"{profile}-{digest(typed, 3)}" if typed else profile)
    place = str(folder.resolve()) if folder.exists() else target
    return Path("runs") / f"audit-{_word(target)}-{digest([place, profile, typed], 3)}"


def _models(
    plan: Plan, finished: Run | None, folder: Path, named: Mapping[str, str], retrained: Sequence[str]
) -> tuple[dict[str, ModelSpec], dict[str, str]]:
    """Models by tag, and what the run says their fingerprints were."""

    def like(path: str) -> ModelSpec:
        return dataclasses.replace(plan.model, path=path, revision=None, adapter=None)

    if finished is None:
        models = {"after": dataclasses.replace(plan.model, adapter=None), **{t: like(p) for t, p in named.items()}}
        recorded: dict[str, str] = {}
    else:
        if named:
            raise PlanError(
                f"{folder} is a run and has its own {' and '.join(named)}", "retrained=PATH can add controls"
            )
        models = plan_models(plan, finished.manifest.models, folder)
        if "after" not in models:
            raise PlanError(f"{folder} has no model yet", "finish it first: unsay run with the same plan")
        recorded = {tag: finished.manifest.models[tag].fingerprint for tag in models}
        if finished.plan.teach and "retrained" not in models and not retrained:
            models["base"] = dataclasses.replace(finished.plan.model, adapter=None)
    for path in retrained:
        number = sum(tag.startswith("retrained") for tag in models) + 1
        models["retrained" if number == 1 else f"retrained-{number}"] = like(path)
    order = ["after", "before", *(tag for tag in models if tag.startswith("retrained")), "base"]
    return {tag: models[tag] for tag in order if tag in models}, recorded


def _paths(value: Any) -> list[str]:
    """``a,b`` or ``[a, b]``."""
    words = value.split(",") if isinstance(value, str) else value if isinstance(value, list) else []
    return [str(word).strip() for word in words if str(word).strip()]


def _word(target: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", target.rstrip("/").rpartition("/")[2]).strip("-.")[:50] or "model"


def named(attacks: Sequence[Any]) -> dict[str, Any]:
    """Attacks by names that can be path components: ``quantisation``, ``relearn-2`` for a second one of its kind."""
    found: dict[str, Any] = {}
    for attack in attacks:
        name = registry.name_of(type(attack)).rpartition("/")[2] or type(attack).__name__
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", name)
        number = 1 + sum(other == name or other.startswith(f"{name}-") for other in found)
        found[name if name not in found else f"{name}-{number}"] = attack
    return found
