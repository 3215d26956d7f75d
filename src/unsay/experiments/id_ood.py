"""Is out-of-distribution data harder or easier to unlearn by gradient ascent than data like the rest?

For every seed a new world (`_id_ood_world`): a model is taught persons' sentences and canaries among them, and a second
one is taught none of the candidates. Candidates of each kind of canary are paired with sentences that are as well
memorised; gradient ascent then forgets each side of the pairs by itself, and every step is measured. Two hypotheses:

    H1  steps until the mean exposure is that of rows never seen: more out of distribution than in distribution
    H2  rise of the loss on clean held-out sentences by then: less out of distribution

Paper    Baluta, Lamblin, Tarlow, Pedregosa, Dziugaite (2024). Unlearning in- vs. out-of-distribution data in LLMs under
         gradient-based method. arXiv:2411.04388
Limits   One kind of in-distribution text, small models, AdamW; an interval over seeds says nothing about other texts.
Differs  Exposures are reconstructed from the paper's abstract; its models, data, canaries, estimators and settings are
         not known, so that this tests its two findings and repeats none of its numbers. Memorisation is counterfactual,
         by models that were taught halves of the candidates; pairs match in the share of the held-out loss that is
         gone (`match=share`) or in nats per token (`match=gain`).
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, Literal, get_args

from ..config import overrides
from ..config.decode import encode, read_plan, resolved, take
from ..config.plan import Plan
from ..data.canaries import Kind, matched
from ..data.example import Example
from ..errors import PlanError, RunError
from ..measure.memorisation import CELLS, Memorisation, cells, counterfactual, half_samples, proxy
from ..naming import derive_seed, digest
from ..report.id_ood import write_id_ood
from ..runs import atomic, folder
from ..runs.reporter import Reporter
from ..runs.run import Run
from ..subjects import Subjects
from . import _id_ood_walk as walks
from ._id_ood_world import ID, World, build, people

if TYPE_CHECKING:
    from ..models.lm import LM

SCRATCH = "scratch"
"""``model.path`` that asks for a model made from nothing."""
_VERSION = 2
"""Part of every stage's key; change it when the meaning of a number changes."""
_LEAST = 4
"""Fewest pairs that are walked."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """What the experiment takes besides a plan."""

    seeds: tuple[int, ...] = tuple(range(8))
    """Each is a world, a model, and walks of its own. Eight are the fewest with which sign-flip tests of two hypotheses
    for two kinds can be below .05 after Holm's adjustment."""
    kinds: tuple[Kind, ...] = ("secret", "random-tokens")
    """Of canaries."""
    persons: int = 40
    """Twenty sentences each."""
    count: int = 24
    """Candidates of each kind."""
    references: int = 80
    """Of each kind, never taught."""
    rows: int = 12
    """Rows of a forget set: of all choices of so many pairs, the one with the least total distance."""
    repeats: tuple[int, ...] = (1, 2, 4)
    """How often canaries are taught, in turns."""
    inside: tuple[int, ...] = (2, 4)
    """How often in-distribution candidates are."""
    match: Literal["share", "gain"] = "share"
    halves: int = 4
    """Models taught halves of the candidates, for memorisation and difficulty; an even number, 0 uses the proxy."""
    vocabulary: int = 600
    """Tokens of a model from scratch."""
    width: int = 64
    layers: int = 2

    def __post_init__(self) -> None:
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise PlanError(f"seeds is {list(self.seeds)}, expected different numbers", "seeds=[0,1,2,3,4,5,6,7]")
        if not self.kinds or not set(self.kinds) <= set(get_args(Kind)) - {"wrong-answer"}:
            raise PlanError(
                f"kinds is {list(self.kinds)}, expected kinds of canaries that are texts",
                "kinds=[secret,random-tokens,shuffled,foreign]",
            )
        if self.match not in ("share", "gain"):
            raise PlanError(f"match is {self.match!r}, expected share or gain", "match=share")
        if self.halves < 0 or self.halves % 2:
            raise PlanError(f"halves is {self.halves}, expected an even number", "halves=4")
        if not _LEAST <= self.rows <= self.count:
            raise PlanError(f"rows is {self.rows}, expected {_LEAST} to count ({self.count})", "rows=12")


def read(words: Iterable[str]) -> tuple[Plan, Settings]:
    """A plan and the experiment's settings from what was typed.

    Args:
        words: Maybe a plan file or preset, then ``key=value``: ``size=small`` for a model from scratch, settings of
            the experiment (``seeds=[0,1]``) and of a plan.

    Raises:
        PlanError: something makes no sense.
    """
    words = list(words)
    start = words.pop(0) if words and "=" not in words[0] else ""
    sizes = [word.partition("=")[2] for word in words if word.startswith("size=")]
    if sizes and (sizes[-1] not in ("small", "full") or start):
        raise PlanError(f"size={sizes[-1]}: expected small or full, and no plan beside it", "size=small")
    known = {field.name for field in dataclasses.fields(Settings)}
    ours = [word for word in words if word.partition("=")[0].strip() in known]
    rest = [word for word in words if word not in ours and not word.startswith("size=")]
    preset = start or ("id-ood-small" if sizes[-1:] == ["small"] else "id-ood")
    return read_plan(preset, rest)[0], take(Settings, overrides.parse(ours), "")[0]


def id_ood(
    plan: Plan,
    settings: Settings | None = None,
    *,
    command: Iterable[str] = (),
    reporter: Reporter | None = None,
    overwrite: bool = False,
) -> Path:
    """Teach, pair, walk, measure, test, draw. What is finished is skipped on a rerun.

    Args:
        plan: Model, teach and train. ``train.epochs`` is the number of steps of a walk, whose batch is the whole forget
            set; ``model.path=scratch`` makes an untrained model. Its method and benchmark are not used.
        settings: Of the experiment.
        command: What the user typed.
        reporter: Where progress goes.
        overwrite: Start over in a folder that holds another plan, or other settings.

    Returns:
        The run folder: id-ood.json, .md and .html, figures/. Without ``out`` its name tells settings that are not the
        defaults.

    Raises:
        PlanError: nothing is taught, an adapter, or fewer than two steps.
        RunError: the folder holds the experiment with other settings; `seeds` may grow.
        DataError: there are too few rows of a kind.
        CollapseError: teaching breaks a model.
    """
    import torch

    settings = settings or Settings()
    plan = resolved(plan)
    if plan.teach is None or plan.model.adapter is not None:
        raise PlanError("the models are taught whole by the experiment itself", "teach.train.epochs=12, no adapter")
    if plan.train.epochs < 2 or plan.train.epochs % 1 or plan.train.max_steps > 0:
        raise PlanError("train.epochs is the number of steps: expected a whole number from 2", "train.epochs=45")
    # the whole forget set is one batch, and one step an epoch
    plan = dataclasses.replace(plan, train=dataclasses.replace(plan.train, batch=settings.rows), attacks=())
    plan = dataclasses.replace(plan, out=str(_folder(plan, settings)))
    if not overwrite:
        _same_settings(Path(plan.out or ""), settings)
    with Run.start(plan, command=list(command), reporter=reporter, overwrite=overwrite) as run:
        run.record(threads=torch.get_num_threads())
        found: dict[str, Any] = {"about": _about(plan, settings), "seeds": []}
        for seed in settings.seeds:
            found["seeds"].append(_Replicate(run, settings, seed).result())
            run.write_json("id-ood.json", found)  # so that there is something to see before the end
        write_id_ood(run.dir)
    return run.dir


def _folder(plan: Plan, settings: Settings) -> Path:
    """``out``, or the plan's folder, to whose name the settings are added where they are not the defaults."""
    chosen = folder.choose(plan, folder.plan_document(plan))
    ours = _decisive(settings)
    if plan.out is not None or ours == _decisive(Settings()):
        return chosen
    return chosen.with_name(f"{chosen.name}-{digest(ours)[:6]}")


def _same_settings(root: Path, settings: Settings) -> None:
    """Raises `RunError` where a folder holds the experiment with other settings, or with seeds not asked for."""
    try:
        told = json.loads((root / "id-ood.json").read_text(encoding="utf-8"))["about"]["settings"]
    except (OSError, ValueError, KeyError):
        return
    there, now = {**encode(Settings()), **told}, encode(settings)
    if set(there["seeds"]) <= set(now["seeds"]):
        there["seeds"] = now["seeds"]
    if keys := [key for key in sorted({*there, *now}) if there.get(key) != now.get(key)]:
        shown = "; ".join(f"{key}: {there.get(key)!r} there, {now.get(key)!r} now" for key in keys)
        raise RunError(
            f"{root} holds the experiment with other settings ({shown})",
            "give another folder with out=, or --overwrite to replace what is there",
        )


def _decisive(settings: Settings) -> dict[str, Any]:
    """What the numbers of a seed depend on."""
    return {key: value for key, value in encode(settings).items() if key != "seeds"}


def _about(plan: Plan, settings: Settings) -> dict[str, Any]:
    told = {"model": plan.model.path, "teach": encode(plan.teach), "train": encode(plan.train)}
    return told | {"settings": encode(settings)}


class _Replicate:
    """One seed: a world, its models, its walks."""

    def __init__(self, run: Run, settings: Settings, seed: int):
        self._top, self._settings, self._seed = run, settings, seed
        self._run = run.sub(f"seed-{seed}", seed=seed)

    def result(self) -> dict[str, Any]:
        """The numbers of this seed, from its file when they are there."""
        plan, file = self._top.plan, self._run.path("result.json")
        key = digest([_VERSION, _about(plan, self._settings) | {"settings": _decisive(self._settings)}, self._seed])
        with self._run.stage("all", key=key) as stage:
            if not stage.done:
                self._run.write_json("result.json", self._work())
                for walk in self._run.dir.glob("walk-*"):
                    atomic.discard(walk)
        return json.loads(file.read_text(encoding="utf-8"))  # type: ignore[no-any-return]

    def _work(self) -> dict[str, Any]:
        run, settings = self._run, self._settings
        base = self._base(self._seed)
        world = self._world(base)
        rows = [*world.candidates(), *(row for part in world.planted.values() for row in part.references), *world.test]
        precision = run.train.precision
        models = Subjects(run, base, world.taught())
        lm = models.taught("before", world.taught()).load()
        before = walks.losses(lm, rows, precision)
        retrained = walks.losses(models.taught("retrained", world.taught(())).load(), rows, precision)
        source = world.source()
        alike = {i: [row.id for row in world.planted[kind].references] for i, kind in source.items()}
        knowing, ignorant = ({i: -loss.nll for i, loss in found.items()} for found in (before, retrained))
        cheap = proxy(knowing, ignorant, alike)
        scores = self._memorisation(world, base) if settings.halves else cheap
        # within a kind, or a cell would be a kind by another name
        where = {i: cell for kind in world.planted for i, cell in cells(_only(scores, source, kind)).items()}
        sets, pairs = self._sets(world, scores, where)
        found: dict[str, Any] = {"seed": self._seed, "rows": {}, "pairs": pairs, "sets": {}}
        level = [retrained[row.id].nll for row in world.test]
        for i, kind in source.items():
            found["rows"][i] = {
                "kind": kind,
                "repeats": world.planted[kind].repeats[i],
                "memorisation": scores[i].value,
                "difficulty": scores[i].difficulty,
                "proxy": cheap[i].value,
                "cell": where[i],
                "unknown": retrained[i].nll,
            }
        found["level"] = {"mean": sum(level) / len(level), "sd": _sd(level)}
        cosine = walks.cosines(lm, sets, world, run)
        for number, (name, forget) in enumerate(sets.items()):
            run.note(f"seed {self._seed}: gradient ascent on {name}, {len(forget)} rows")
            points = walks.walk(lm, forget, world, retrained, run.sub(f"walk-{number}", seed=self._seed))
            ids = [row.id for row in forget]
            found["sets"][name] = {"ids": ids, "cosine": cosine[name], "points": points}
        return found

    def _base(self, seed: int) -> LM:
        """The model before it is taught anything."""
        plan, settings = self._top.plan, self._settings
        if plan.model.path != SCRATCH:
            from ..models.lm import LM

            return LM.load(plan.model)
        from ..models.scratch import scratch_lm

        texts = [row.answer for rows in people(settings.persons, self._seed).values() for row in rows]
        sizes = {"vocabulary": settings.vocabulary, "width": settings.width, "layers": settings.layers}
        return scratch_lm(texts, **sizes, seed=derive_seed(seed, SCRATCH) % 2**32)

    def _world(self, base: LM) -> World:
        from ..models.scratch import pieces

        s = self._settings
        sizes = {"persons": s.persons, "count": s.count, "references": s.references}
        words = pieces(base) if "random-tokens" in s.kinds else ()
        return build(self._seed, kinds=s.kinds, repeats=s.repeats, inside=s.inside, vocabulary=words, **sizes)

    def _memorisation(self, world: World, base: LM) -> dict[str, Memorisation]:
        """Counterfactual memorisation of every candidate, by models taught halves of them."""
        run, rows = self._run, world.candidates()
        taught = half_samples(len(rows), self._settings.halves, derive_seed(self._seed, "halves"))
        log_p, sets = [], []
        for k, chosen in enumerate(taught):
            sets.append({row.id for row, inside in zip(rows, chosen, strict=True) if inside})
            # another order and, from scratch, other first weights: what is averaged over is the training
            other = derive_seed(self._seed, "half", k) % 2**31
            start = self._base(other) if self._top.plan.model.path == SCRATCH else base
            text = world.taught(sets[-1])
            lm = Subjects(run.sub(f"half-{k}", seed=other), start, text).taught(f"half-{k}", text).load()
            log_p.append({i: -loss.nll for i, loss in walks.losses(lm, rows, run.train.precision).items()})
        return counterfactual(log_p, sets)

    def _sets(
        self, world: World, scores: Mapping[str, Memorisation], where: Mapping[str, str]
    ) -> tuple[dict[str, list[Example]], dict[str, list[list[str]]]]:
        """Forget sets by name: both sides of the pairs of each kind, then the cells."""
        rows = {row.id: row for row in world.candidates()}
        parts = world.planted.items()
        kinds = {name: {row.id: self._feature(scores[row.id]) for row in part.rows} for name, part in parts}
        sets: dict[str, list[Example]] = {}
        pairs: dict[str, list[list[str]]] = {}
        for kind in self._settings.kinds:
            inside, outside = ({i: [x] for i, x in kinds[name].items()} for name in (ID, kind))
            found = matched(inside, outside, count=self._settings.rows)
            pairs[kind] = [list(pair) for pair in found.items()]
            sets[f"{ID} for {kind}"] = [rows[one] for one in found]
            sets[kind] = [rows[other] for other in found.values()]
        rng = Random(derive_seed(self._seed, "cells"))
        for cell in CELLS:
            members = sorted(i for i, name in where.items() if name == cell)
            if len(members) >= _LEAST:
                sets[cell] = [rows[i] for i in rng.sample(members, min(len(members), self._settings.rows))]
        return sets, pairs

    def _feature(self, score: Memorisation) -> float:
        return score.value / max(score.difficulty, 1e-6) if self._settings.match == "share" else score.value


def _only(scores: Mapping[str, Memorisation], source: Mapping[str, str], kind: str) -> dict[str, Memorisation]:
    return {i: score for i, score in scores.items() if source[i] == kind}


def _sd(values: list[float]) -> float:
    middle = sum(values) / len(values)
    return (sum((x - middle) ** 2 for x in values) / max(1, len(values) - 1)) ** 0.5
