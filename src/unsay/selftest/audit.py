"""Does the audit find what was planted, and clear what never knew? The audit of `unsay audit`, on models made for it.

For every seed: facts are drawn and taught, a control is retrained, and of each kind of `planted` there is one model,
saved and audited from its folder. The retrained model that must be cleared is not the control: it was taught in another
order.

    sensitivity = share of hiding models with a leak        false alarms = share of retrained models with a finding
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ..audit import engine
from ..audit.profile import attacks
from ..config.decode import encode, resolved
from ..config.plan import ModelSpec, Plan, Train
from ..data.example import ForgetData
from ..data.read_shape import to_row
from ..errors import PlanError
from ..naming import digest
from ..runs.reporter import Reporter
from ..runs.run import Run
from ..stats import clopper_pearson
from .planted import HIDING, KINDS, Kind, planted
from .world import TEACH, taught, world

SENSITIVITY, FALSE_ALARMS = 0.95, 0.05
TINY = "tiny"
_VERSION = 1
_FASTER = 10 / 3
_OTHER = 1000
"""Added to a seed: the order in which the retrained model that is audited was taught."""


@dataclasses.dataclass(frozen=True)
class _Truth:
    """What one seed's audits are given."""

    before: str
    control: str
    retrained: str
    data: ForgetData


def try_audit(
    plan: Plan | None = None,
    *,
    seeds: Sequence[int] = tuple(range(10)),
    kinds: Sequence[str] = KINDS,
    profile: str = "quick",
    words: Iterable[str] = (),
    out: str | None = None,
    command: Sequence[str] = (),
    reporter: Reporter | None = None,
    overwrite: bool = False,
) -> Path:
    """Plant, audit, count. A rerun skips what is finished.

    Args:
        plan: A model, a benchmark that says what to teach, and `teach`; None is the world of `world`, whose tiny model
            is taught in seconds.
        seeds: Of facts and teaching (of teaching alone with a plan).
        kinds: Which models.
        profile: Of the audit.
        words: Further words for the audit, such as ``attacks=[relearn]``.
        out: Run folder; None is ``runs/selftest-audit-…``.
        command: What the user typed.
        reporter: Where progress goes.
        overwrite: Replace a folder that holds another plan.

    Returns:
        The run folder, with selftest.json.

    Raises:
        PlanError: the plan teaches nothing, no seed or kind is given, or there is no such profile.
    """
    if not seeds or not kinds or set(kinds) - set(KINDS):
        raise PlanError("no seed or no such kind of planted model", f"--seeds 3 --kinds {','.join(KINDS)}")
    tiny = plan is None
    plan = Plan(model=ModelSpec(path=TINY), train=TEACH) if plan is None else resolved(plan)
    if not tiny and plan.teach is None:
        raise PlanError("nothing is taught, so that nothing can be retrained", "people-small, or teach.train.lr=1e-4")
    plan = dataclasses.replace(plan, out=out or plan.out, name=plan.name or "selftest-audit")
    words = tuple(words)
    with Run.start(plan, command=command, reporter=reporter, overwrite=overwrite) as run:
        found = []
        for seed in seeds:
            truth = _tiny(run, seed) if tiny else _real(run, seed)
            found += [_one(run, seed, kind, truth, profile, words, reporter) for kind in KINDS if kind in kinds]
            run.write_json("selftest.json", {"model": plan.model.path, "profile": profile, **summary(found)})
    return run.dir


def summary(audits: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Rates with their Clopper–Pearson intervals, and the audits themselves."""
    hiding = [a["status"] == "leak" for a in audits if a["kind"] in HIDING]
    alarms = [a["status"] in ("leak", "over") for a in audits if a["kind"] not in HIDING]

    def rate(hits: Sequence[bool]) -> dict[str, Any] | None:
        if not hits:
            return None
        return {"rate": sum(hits) / len(hits), "n": len(hits), "ci": clopper_pearson(sum(hits), len(hits))}

    return {
        "sensitivity": rate(hiding),
        "false_alarms": rate(alarms),
        "wanted": {"sensitivity": SENSITIVITY, "false_alarms": FALSE_ALARMS},
        "audits": list(audits),
    }


def _tiny(run: Run, seed: int) -> _Truth:
    drawn = world(seed)
    made = {
        "before": (drawn.taught, seed),
        "control": (drawn.data.retain, seed),
        "retrained": (drawn.data.retain, seed + _OTHER),
    }
    folders = {name: run.path(f"seed-{seed}", name) for name in made}
    with run.stage(f"models {seed}", key=digest([_VERSION, drawn.data.fingerprint(), TEACH])) as stage:
        if not stage.done:
            for name, (rows, order) in made.items():
                taught(rows, order).save(folders[name])
    before, control, retrained = (str(folders[name].resolve()) for name in made)
    return _Truth(before, control, retrained, drawn.data)


def _real(run: Run, seed: int) -> _Truth:
    from ..pipeline import prepare
    from ..subjects import Subjects

    work = prepare(run.plan)
    rows, splits, hidden = work.benchmark.taught(), work.benchmark.splits(), work.hidden()

    def models(name: str, order: int) -> Subjects:
        return Subjects(run.sub(f"seed-{seed}/{name}", seed=order), work.base, rows)

    before = models("control", seed).before()
    control, retrained = (
        models(name, order).retrained(hidden) for name, order in (("control", seed), ("retrained", seed + _OTHER))
    )
    if control is None or retrained is None:
        raise PlanError("no retrained model can be taught", "teach.retrained=true and no retrained=")
    holdout = work.data.holdout or splits.get("holdout", ())
    data = dataclasses.replace(work.data, holdout=holdout)
    return _Truth(before.spec.path, control.spec.path, retrained.spec.path, data)


def _one(
    run: Run, seed: int, kind: Kind, truth: _Truth, profile: str, words: Sequence[str], reporter: Reporter | None
) -> dict[str, Any]:
    """One model, planted, saved, audited from its folder."""
    from ..models.lm import LM

    where = f"seed-{seed}/{kind}"
    file = run.path(f"{where}.json")
    settled = [_VERSION, engine.VERSION, profile, encode(attacks(profile)[0]), *words]
    models = [LM.load(path).fingerprint() for path in (truth.before, truth.control, truth.retrained)]
    parts = [*settled, *models, truth.data.fingerprint()]
    with run.stage(f"audit {kind} {seed}", key=digest(parts)) as stage:
        if not stage.done:
            folder = {"untouched": truth.before, "retrained": truth.retrained}.get(kind, "")
            if not folder:
                path = run.path(where, "model")
                sub = run.sub(where, seed=seed)
                made = planted(LM.load(truth.before), truth.data, sub, kind, train=_adapter_train(run))
                made.save(path, merge=False)
                folder = str(path.resolve())
            given = [*_words(run, where, truth), *words]
            done = engine.audit(folder, given, profile=profile, reporter=reporter, overwrite=True)
            run.write_json(f"{where}.json", _told(seed, kind, done))
    return json.loads(file.read_text(encoding="utf-8"))  # type: ignore[no-any-return]


def _adapter_train(run: Run) -> Train:
    """As the facts were taught, with the higher learning rate that few parameters need to hide as much."""
    train = run.plan.teach.train if run.plan.teach else run.train
    return dataclasses.replace(train, lr=_FASTER * train.lr)


def _words(run: Run, where: str, truth: _Truth) -> list[str]:
    rows = {"forget": truth.data.forget, "retain": truth.data.retain, "holdout": truth.data.holdout}
    files = []
    for name, members in rows.items():
        if members:
            run.write_jsonl(f"{where}/{name}.jsonl", [to_row(row) for row in members])
            files.append(f"{name}={run.path(where, f'{name}.jsonl')}")
    out = run.path(where, "audit")
    template = run.plan.model.template
    return [*files, f"before={truth.before}", f"retrained={truth.control}", f"model.template={template}", f"out={out}"]


def _told(seed: int, kind: Kind, folder: Path) -> dict[str, Any]:
    """What an audit said, in short: leaks largest first, one a kind of attack."""
    found = json.loads((folder / "audit.json").read_text(encoding="utf-8"))
    leaks: dict[str, dict[str, Any]] = {}
    for row in found["rows"]:
        if row["status"] in ("leak", "over"):
            kept = ("attack", "label", "metric", "status", "share", "excess", "ci")
            leaks.setdefault(row["attack"], {key: row.get(key) for key in kept})
    return {
        "seed": seed,
        "kind": kind,
        "status": found["status"],
        "rows": dict(Counter(row["status"] for row in found["rows"])),
        "found": list(leaks.values()),
        "refused": found["refused"],
    }
