"""Does forgetting a fact also fade what it follows from, and does going further along the same way help?

Three models of the benchmark `people` are taught and unlearned, and looked at after every epoch:

    θ1   taught K1 ∪ K2 ∪ K3, forgets K1         the realistic case: related knowledge K2 implies K1
    θ2   taught K1 ∪ K3, forgets K1              there is no related knowledge
    θ3   taught K1 ∪ K2 ∪ K3, forgets K1 ∪ K2    the related knowledge is to be forgotten, too

From the chosen epoch of θ1, UIPE: θ0 + (1 + α)·v, v = θ_t* − θ0, on a grid of α and with the α found automatically;
beside it one more epoch, a random step of the same length in every tensor, and α < 0. The same from the epoch at which
K2 stops fading, where that is another. Relatedness R(K1, K2) and R(K1, K3), cosines of gradients, before and after. All
by teacher forcing.

Paper    Wang, Zhang, Ye, Ren, Ren, Chen (2025). UIPE: Enhancing LLM Unlearning by Removing Knowledge Related to
         Forgetting Targets. arXiv:2503.04693, section 4 and figures 2, 3, 7, 8
Limits   Nine persons are taught and three forgotten (five and two with size=small): an interval over persons says
         little about others, and says so.
Differs  The paper's data, its metrics here and its threshold of utility are not public. Data: docs/people.md. Forget
         quality is TOFU's p-value against a model taught the same without the forgotten rows; K2, which has no wrong
         answers, is judged by 1 − probability and 1 − extraction strength. Utility is the harmonic mean of the mean
         probabilities of retain rows and world facts; the automatic α is bounded by the probability of retain rows
         alone, and by that of the holdout persons' rows. K3 is taught in all three, so that they differ in K2 alone.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..benchmarks.people import People
from ..config import overrides
from ..config.decode import encode, read_plan, resolved, take
from ..config.plan import Plan
from ..data.example import rows_fingerprint
from ..errors import CollapseError, MethodError, PlanError
from ..naming import derive_seed, digest
from ..pipeline import prepare
from ..report.related_figures import k2_plateau
from ..report.related_knowledge import write_related_knowledge
from ..runs import atomic
from ..runs.reporter import Reporter
from ..runs.run import Run
from ..selection import choose_epoch
from ..subjects import Subject, Subjects

if TYPE_CHECKING:
    from ..models.lm import LM

PRESET = "related-knowledge"
_VERSION = 1
"""Part of every stage's key; change it when the meaning of a number changes."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """What the experiment takes besides a plan."""

    alphas: tuple[float, ...] = (0.1, 0.2, 0.3, 0.5, 0.75, 1.0)
    """Amplifications α."""
    back: float = -0.5
    """The α below 0 that is measured as a control: it should bring the facts back."""
    keep: float = 0.9
    """κ: share of the utility before that the base epoch and the best α must keep."""
    most: float = 4.0
    """Largest α that the automatic search may find."""
    pairs: int = 30
    """Attributes whose relatedness is measured: six gradients each."""

    def __post_init__(self) -> None:
        if not self.alphas or min(self.alphas) <= 0 or self.back >= 0 or self.most <= 0:
            raise PlanError("alphas and most should be positive, back negative", "alphas=[0.3,0.5,1] back=-0.5 most=4")
        if not 0 < self.keep <= 1 or self.pairs < 1:
            raise PlanError("keep should lie between 0 and 1, pairs be at least 1", "keep=0.9 pairs=30")


def read(words: Iterable[str]) -> tuple[Plan, Settings]:
    """A plan and the experiment's settings from what was typed.

    Args:
        words: Maybe a plan file or preset, then ``key=value``: settings of the experiment (``alphas=[0.5,1]``),
            ``size=small`` for ``benchmark.size=small``, and settings of a plan.

    Raises:
        PlanError: something makes no sense.
    """
    words = list(words)
    start = words.pop(0) if words and "=" not in words[0] else PRESET
    known = {field.name for field in dataclasses.fields(Settings)}
    ours = [word for word in words if word.partition("=")[0].strip() in known]
    rest = [f"benchmark.{word}" if word.startswith("size=") else word for word in words if word not in ours]
    return read_plan(start, rest)[0], take(Settings, overrides.parse(ours), "")[0]


def related_knowledge(
    plan: Plan,
    settings: Settings | None = None,
    *,
    command: Iterable[str] = (),
    reporter: Reporter | None = None,
    overwrite: bool = False,
) -> Path:
    """Teach, unlearn, measure, draw. What is finished is skipped on a rerun; taught models are shared by all runs.

    Args:
        plan: Model, size of `people`, teach, method and train. ``train.epochs`` is how far each model goes; the last
            epoch is never the base, so that one more epoch can be compared.
        settings: Of the experiment.
        command: What the user typed.
        reporter: Where progress goes.
        overwrite: Start over in a folder that holds another plan.

    Returns:
        The run folder: related-knowledge.json, .md and .html, figures/.

    Raises:
        PlanError: another benchmark, no teaching, fewer than two epochs, or a method that takes none.
        CollapseError: a model breaks before its second epoch ends.
    """
    import torch

    settings = settings or Settings()
    plan = _checked(resolved(plan))
    work = prepare(plan)
    with Run.start(plan, command=list(command), reporter=reporter, overwrite=overwrite) as run:
        run.record(threads=torch.get_num_threads())
        for note in work.notes:
            run.note(note)
        bench = _Bench(run, settings, Subjects(run, work.base, plan.benchmark.taught()))
        del work  # the model as given is not needed while others are trained
        walks = {name: bench.walk(name) for name in ("theta1", "theta2", "theta3")}
        chosen = walks["theta1"]["choice"]["epoch"]
        found = {
            "about": bench.about(),
            "variants": walks,
            "relatedness": bench.relatedness(chosen),
            "uipe": bench.extrapolated(walks["theta1"]),
            "plateau": bench.from_plateau(walks["theta1"]),
        }
        run.write_json("related-knowledge.json", found)
        write_related_knowledge(run.dir)
    return run.dir


def _checked(plan: Plan) -> Plan:
    """`plan` with all three kinds of knowledge."""
    if not isinstance(plan.benchmark, People):
        raise PlanError("this experiment is about the benchmark people", "leave benchmark= out; size=small is smaller")
    if plan.teach is None or plan.retrained:
        raise PlanError("the models are taught by the experiment itself", "teach.train.epochs=5, and no retrained=")
    if plan.train.epochs < 2 or plan.train.max_steps > 0:
        raise PlanError("train.epochs: expected at least 2 whole epochs, a base epoch and one more", "train.epochs=9")
    return dataclasses.replace(plan, benchmark=People(size=plan.benchmark.size), attacks=())


class _Bench:
    """The parts of the experiment, each a stage or several."""

    def __init__(self, run: Run, settings: Settings, models: Subjects):
        self._run, self._settings, self._models = run, settings, models
        self._people: People = run.plan.benchmark
        self._subjects: dict[str, Subject] = {}

    def about(self) -> dict[str, Any]:
        """What was done, for the page."""
        from ._related_rows import about

        plan = self._run.plan
        splits = about(self._people)
        told = [row for kind in ("k1", "k2", "k3") for row in splits[kind]]
        return {
            "model": plan.model.path,
            "adapter": encode(plan.model.adapter),
            "method": encode(plan.method),
            "train": encode(plan.train),
            "size": self._people.size,
            "seed": plan.seed,
            "settings": encode(self._settings),
            "persons": {row.id: row.entity for row in told},
            "rows": {split: len(rows) for split, rows in splits.items()},
        }

    def walk(self, name: str) -> dict[str, Any]:
        """Teach, unlearn and measure one variant; of its weights, those of θ1 that are extrapolated from are kept."""
        from ._related_rows import VARIANTS, Judge, data, taught

        variant, run, plan = VARIANTS[name], self._run, self._run.plan
        rows, given = taught(self._people, variant), data(self._people, variant)
        hidden = {row.id for row in given.forget}
        before = self._taught(f"{name}-before", rows)
        retrained = self._taught(f"{name}-retrained", [row for row in rows if row.id not in hidden])
        settled = [_VERSION, before.fingerprint, given.fingerprint(), plan.model.adapter, encode(plan.method)]
        key = digest([*settled, encode(plan.train), plan.seed])
        with run.stage(f"unlearn {name}", key=key) as stage:
            if not stage.done:
                self._unlearn(name, before, given)
        with run.stage(f"measure {name}", key=digest([key, retrained.fingerprint, self._settings.keep])) as stage:
            if not stage.done:
                if not self._whole(name):  # measured before, by another rule: let go of since
                    self._unlearn(name, before, given)
                judge = Judge(run, self._people, retrained)
                judge.subject("before", before)
                found = self._measured(name, judge)
                found |= {"taught": variant.taught, "forgotten": variant.forgotten, "forget_rows": len(given.forget)}
                run.write_json(f"{name}.json", found)
        found = _json(run.path(f"{name}.json"))
        kept = {found["choice"]["epoch"], k2_plateau(found)} if name == "theta1" else set()
        for epoch in range(1, 1 + math.ceil(plan.train.epochs)):
            if epoch not in kept:
                atomic.discard(self._weights(name, epoch))
        return found

    def relatedness(self, epoch: int) -> dict[str, Any]:
        """R(K1, K2) and R(K1, K3) in θ1, before and at its chosen epoch."""
        from ._related_rows import about
        from ._relatedness import relatedness, summary, triples

        run, before = self._run, self._subjects["theta1-before"]
        rows = about(self._people)
        members = triples(rows, self._settings.pairs, derive_seed(run.seed, "pairs"))
        after = Subject.of(self._spec(epoch))
        named = rows_fingerprint([row for triple in members for row in triple])
        with run.stage("relatedness", key=digest([_VERSION, before.fingerprint, after.fingerprint, named])) as stage:
            if not stage.done:
                found = {}
                for tag, subject in (("before", before), ("after", after)):
                    found[tag] = relatedness(subject.load(), members, run, f"relatedness {tag}")
                    subject.drop()
                persons = {target.id: target.entity for target, _, _ in members}
                run.write_json("relatedness.json", {"cosines": found, "persons": persons})
        kept = _json(run.path("relatedness.json"))
        return kept | summary(kept["cosines"], kept["persons"])

    def extrapolated(self, walk: Mapping[str, Any]) -> dict[str, Any]:
        """UIPE from the chosen epoch of θ1 and its controls; one more epoch stands in `walk`."""
        epoch, keep = walk["choice"]["epoch"], walk["choice"]["keep"]
        found = self._from(epoch, keep, "extrapolate", "uipe.json")
        return found | {"base_epoch": epoch, "chosen": _best(walk, found["points"], keep)}

    def from_plateau(self, walk: Mapping[str, Any]) -> dict[str, Any] | None:
        """The same from the epoch of θ1 at which K2 stops fading; None where there is none, or it is the chosen one."""
        epoch = k2_plateau(walk)
        if epoch in (None, walk["choice"]["epoch"]) or not self._weights("theta1", epoch).exists():
            return None  # folders of earlier versions kept the weights of the chosen epoch alone
        return {"epoch": epoch, **self._from(epoch, walk["choice"]["keep"], "extrapolate plateau", "plateau.json")}

    def _from(self, epoch: int, keep: float, stage_name: str, file: str) -> dict[str, Any]:
        run = self._run
        before, retrained = (self._subjects[f"theta1-{tag}"] for tag in ("before", "retrained"))
        base = Subject.of(self._spec(epoch))
        parts = [before.fingerprint, base.fingerprint, retrained.fingerprint, encode(self._settings), keep, run.seed]
        with run.stage(stage_name, key=digest([_VERSION, *parts])) as stage:
            if not stage.done:
                run.write_json(file, self._extrapolate(before, base, retrained, keep))
        return _json(run.path(file))

    def _taught(self, tag: str, rows: Any) -> Subject:
        subject = self._models.taught(tag, rows)
        subject.drop()
        self._subjects[tag] = subject
        return subject

    def _unlearn(self, name: str, before: Subject, given: Any) -> None:
        """Train, keeping the weights of every epoch."""
        from ..training.trainer import discard_checkpoints

        def keep(epoch: int, now: Callable[[], LM]) -> None:
            now().save(self._weights(name, epoch))

        sub = self._run.sub(name, each_epoch=keep)
        lm, adapter = before.load(), self._run.plan.model.adapter
        before.drop()
        if adapter is not None:
            from ..models.adapters import attach

            lm = attach(lm, adapter, derive_seed(sub.seed, "adapter"))
        try:
            self._run.plan.method.unlearn(lm, given, sub)
        except CollapseError as error:
            self._run.note(f"{name} ends early: {error.message}")
        discard_checkpoints(sub)
        if not self._weights(name, 1).exists():
            what = "the method takes no epochs of gradient steps, or breaks the model in the first one"
            raise MethodError(what, "method=grad-ascent, or lower train.lr")

    def _measured(self, name: str, judge: Any) -> dict[str, Any]:
        """Every epoch that there is, and the one chosen by the paper's rule among all but the last."""
        from ._related_rows import QUALITY, UTILITY

        last = 0
        while self._weights(name, last + 1).exists():
            last += 1
            judge.subject(f"epoch {last}", Subject.of(self._spec(last, name)))
        if last < 2:
            raise CollapseError(f"{name} breaks before its second epoch ends", "lower train.lr")
        points = judge.points()
        epochs = [points[f"epoch {epoch}"] for epoch in range(1, last + 1)]
        quality, utility = ([_number(point[key]) for point in epochs[:-1]] for key in (QUALITY, UTILITY))
        start = _number(points["before"][UTILITY])
        choice = choose_epoch(quality, utility, start, self._settings.keep)
        for epoch, (fq, mu) in enumerate(zip(quality, utility, strict=True), start=1):
            self._run.log(variant=name, epoch=epoch, forget_quality=fq, utility=mu)
        self._run.note(
            f"{name}: base epoch {choice.epoch} of {last - 1}, the best with {choice.keep:.0%} of the utility"
        )
        about = {"before": points["before"], "retrained": points["retrained"], "epochs": epochs}
        return about | {"choice": dataclasses.asdict(choice)}

    def _extrapolate(self, before: Subject, base: Subject, retrained: Subject, keep: float) -> dict[str, Any]:
        from ..models.line import Line
        from ..models.weights import random_control
        from ..training.coefficient import farthest
        from ._related_rows import VARIANTS, Judge, data

        run, settings = self._run, self._settings
        judge = Judge(run, self._people, retrained)
        start, after = before.load(), base.load()
        before.drop()
        base.drop()
        line, tags = Line(start, after), []
        try:
            walk = farthest(line, data(self._people, VARIANTS["theta1"]), run, keep=keep, most=1 + settings.most)
            auto: dict[str, Any] = {"alpha": walk.chosen - 1, "looks": walk.looks, "note": ""}
        except MethodError as error:
            auto = {"alpha": None, "looks": 0, "note": error.message}
        alphas = [("uipe", alpha) for alpha in settings.alphas] + [("back", settings.back)]
        for kind, alpha in [*alphas, *([("auto", auto["alpha"])] if auto["alpha"] is not None else [])]:
            judge.model(f"{kind} {alpha}", line.at(1 + alpha))
            tags.append((kind, alpha))
        beside = Line(after, random_control(after, start, derive_seed(run.seed, "random direction")))
        for alpha in settings.alphas:
            judge.model(f"random {alpha}", beside.at(alpha))
            tags.append(("random", alpha))
        found = judge.points()
        points = [{"kind": kind, "alpha": alpha, **found[f"{kind} {alpha}"]} for kind, alpha in tags]
        return {"auto": auto, "points": points}

    def _whole(self, name: str) -> bool:
        """Whether the weights of all epochs are there: of all that were measured, if any were."""
        file = self._run.path(f"{name}.json")
        epochs = len(_json(file)["epochs"]) if file.exists() else 0
        return all(self._weights(name, epoch).exists() for epoch in range(1, epochs + 1))

    def _weights(self, name: str, epoch: int) -> Path:
        return self._run.path(name, f"epoch-{epoch}")

    def _spec(self, epoch: int, name: str = "theta1") -> Any:
        path = str(self._weights(name, epoch))
        return dataclasses.replace(self._run.plan.model, path=path, revision=None, adapter=None)


def _best(walk: Mapping[str, Any], points: Iterable[Mapping[str, Any]], keep: float) -> dict[str, Any]:
    """The α of the grid with the best forget quality that keeps κ of the utility; 0 when no step is better."""
    from ._related_rows import QUALITY, UTILITY

    grid = [point for point in points if point["kind"] == "uipe"]
    base = walk["epochs"][walk["choice"]["epoch"] - 1]
    ahead = [base, *sorted(grid, key=lambda point: float(point["alpha"]))]
    quality, utility = ([_number(point[key]) for point in ahead] for key in (QUALITY, UTILITY))
    choice = choose_epoch(quality, utility, _number(walk["before"][UTILITY]), keep)
    return {"alpha": ahead[choice.epoch - 1].get("alpha", 0.0), "keep": choice.keep}


def _number(score: Mapping[str, Any]) -> float:
    return math.nan if score["value"] is None else float(score["value"])


def _json(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text(encoding="utf-8"))  # type: ignore[no-any-return]
