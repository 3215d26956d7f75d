"""Forget quality against utility, epoch by epoch, without and with extrapolation: figure 6 of UIPE, as an experiment.

For every method and seed: train, keep the weights of each epoch, choose the base epoch by the paper's rule
(`selection.choose_epoch`), then measure the model extrapolated from it, θ0 + (1 + α)·(θt − θ0), and, as a control, one
more epoch of the method itself. All by teacher forcing: utility is TOFU's without its ROUGE parts. A walk that fails is
a result, too: it is kept with the reason.

Paper: UIPE (arXiv:2503.04693), section 6 and figure 6.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import registry
from ..config.decode import encode, resolved
from ..config.plan import Plan
from ..errors import CollapseError, MethodError, ModelError, PlanError
from ..metrics.extraction_strength import ExtractionStrength
from ..metrics.forget_quality import ForgetQuality
from ..metrics.model_utility import ModelUtility
from ..metrics.probability import Probability
from ..metrics.score import Metric
from ..naming import derive_seed, digest
from ..pipeline import Work, prepare
from ..report.trade_off import write_trade_off
from ..runs import atomic
from ..runs.reporter import Reporter
from ..runs.run import Run
from ..runs.store import Store
from ..scoring import numbers
from ..selection import choose_epoch
from ..subjects import Subject, Subjects

if TYPE_CHECKING:
    from ..measure.evaluator import Evaluator
    from ..methods._protocol import Method
    from ..models.lm import LM

ALPHAS: tuple[float | str, ...] = (0.3, 0.5, 1.0, "auto")
KEEP = 0.9
"""κ: share of the utility before that the base epoch must keep, and of the rows' probability that `auto` must keep."""
_MOST = 5.0
UTILITY, QUALITY = "model-utility", "forget-quality@forget"


@dataclasses.dataclass(frozen=True)
class _Bench:
    """What all walks of one experiment share."""

    work: Work
    metrics: tuple[Metric, ...]
    before: Subject
    retrained: Subject

    def judge(self, run: Run) -> Evaluator:
        """An evaluator that has measured before and retrained."""
        from ..measure.evaluator import Evaluator

        found = Evaluator(self.work.benchmark.splits(), self.metrics, store=Store(), run=run)
        for tag, subject in (("retrained", self.retrained), ("before", self.before)):
            found.measure(tag, fingerprint=subject.fingerprint, load=subject.load)
            subject.drop()
        return found


def trade_off(
    plan: Plan,
    methods: Sequence[Method],
    *,
    seeds: Sequence[int] = (0, 1, 2),
    alphas: Sequence[float | str] = ALPHAS,
    command: Sequence[str] = (),
    reporter: Reporter | None = None,
    overwrite: bool = False,
) -> Path:
    """Walk every method with every seed, measure, draw. What is finished is skipped on a rerun.

    Args:
        plan: Model, benchmark, teach and train; its method is not used. ``train.epochs`` is how far each walk goes;
            the last epoch is never the base, so that one more epoch can be compared.
        methods: Base methods, each once; they must train by epochs. With ``model.adapter`` they train an adapter.
        seeds: Of the walks, each once; the model before and the retrained one are taught once, with the plan's seed.
        alphas: Amplifications, each once, ``auto`` among them for the search of ``extrapolate``.
        command: What the user typed.
        reporter: Where progress goes.
        overwrite: Start over in a folder that holds another plan.

    Returns:
        The run folder: trade-off.json, trade-off.svg, trade-off.md.

    Raises:
        PlanError: nothing to compare, something twice, the benchmark has no forget quality or utility, nothing is
            taught, or not two whole epochs.
        MethodError: a method does not train by epochs.
    """
    _check(methods, seeds, alphas)
    plan = resolved(plan)
    if plan.train.epochs < 2 or plan.train.max_steps > 0:
        raise PlanError(
            f"train.epochs is {plan.train.epochs:g}, train.max_steps {plan.train.max_steps}: expected at least 2 "
            "whole epochs, a base epoch and one more",
            "train.epochs=5, and no train.max_steps",
        )
    work = prepare(plan)
    metrics = _metrics(work)
    with Run.start(plan, command=command, reporter=reporter, overwrite=overwrite) as run:
        models = Subjects(run, work.base, work.benchmark.taught() if plan.teach else ())
        before = models.before()
        retrained = models.retrained(work.hidden())
        if retrained is None:
            raise PlanError("forget quality needs a retrained model", "retrained=PATH, or teach.retrained=true")
        bench = _Bench(work, metrics, before, retrained)
        judge = bench.judge(run)
        found: dict[str, Any] = {tag: numbers(judge, tag) for tag in ("before", "retrained")}
        found |= {"keep": KEEP, "two_sided": bool(work.data.holdout), "walks": []}
        for seed in seeds:
            for method in methods:
                found["walks"].append(_walk(run, bench, method, seed, tuple(alphas)))
                run.write_json("trade-off.json", found)  # so that there is something to see before the end
                write_trade_off(run.dir)
    return run.dir


def _check(methods: Sequence[Method], seeds: Sequence[int], alphas: Sequence[float | str]) -> None:
    """Refuse what could not be walked, or would be counted twice."""
    from ..training.epochs import trains_by_epochs

    if not methods or not seeds:
        raise PlanError("nothing to compare: no method or no seed is given", "--methods grad-ascent,npo --seeds 0,1,2")
    names = [registry.name_of(type(method)) for method in methods]
    for what, given in (("methods", names), ("seeds", list(seeds)), ("alphas", list(alphas))):
        if len(set(given)) < len(given):
            raise PlanError(f"{what}: {', '.join(map(str, given))}: expected each one once")
    for name, method in zip(names, methods, strict=True):
        if not trains_by_epochs(method):
            raise MethodError(
                f"{name} does not train by epochs, so there is no base epoch and no one more",
                "--methods grad-ascent,npo, or any other method that is a loss",
            )


def _metrics(work: Work) -> tuple[Metric, ...]:
    """What every point is measured by; no generation."""
    by_type = {type(metric): metric for metric in work.benchmark.metrics()}
    utility = by_type.get(ModelUtility)
    if not isinstance(utility, ModelUtility) or ForgetQuality not in by_type:
        name = registry.name_of(type(work.benchmark))
        raise PlanError(f"benchmark {name} has no forget quality or no model utility", "benchmark=tofu or people")
    cheap = dataclasses.replace(utility, parts=tuple(part for part in utility.parts if part != "rouge"))
    kept = (Probability(split="forget"), ExtractionStrength(split="forget"), Probability(split="retain"))
    return (*kept, ForgetQuality(), cheap)


def _walk(run: Run, bench: _Bench, method: Method, seed: int, alphas: tuple[float | str, ...]) -> dict[str, Any]:
    """One method with one seed: every epoch, the chosen one, and what is made from it; or why there is none."""
    label = registry.name_of(type(method))
    name = f"{label}-{seed}"
    parts = [bench.before.fingerprint, bench.retrained.fingerprint, bench.work.data.fingerprint(), encode(method)]
    settled = [*parts, encode(run.train), seed, alphas, KEEP]
    if run.plan.model.adapter is not None:
        settled.append(encode(run.plan.model.adapter))
    with run.stage(name, key=digest(settled)) as stage:
        file = run.path(f"walk-{name}.json")
        if not stage.done:
            sub = run.sub(name, seed=seed)
            found: dict[str, Any] = {"method": label, "seed": seed, "epochs": []}
            try:
                _train(sub, bench, method)
                judge = bench.judge(sub)
                found["epochs"] = _epochs(sub, judge)
                base = _choose(numbers(judge, "before"), [point["scores"] for point in found["epochs"]])
                sub.note(f"{label}: base epoch {base['epoch']}, which keeps {base['keep']:.0%} of the utility")
                found |= {"uipe": _extrapolated(sub, bench, judge, base["epoch"], alphas), **base}
            except (CollapseError, MethodError, ModelError) as error:
                sub.note(f"{label}, seed {seed}: {error.message}")
                found["note"] = error.message
            run.write_json(file.name, found)
            atomic.discard(sub.dir)
    return json.loads(file.read_text(encoding="utf-8"))  # type: ignore[no-any-return]


def _train(sub: Run, bench: _Bench, method: Method) -> None:
    """Train, keeping the weights of every epoch."""

    def keep(epoch: int, now: Callable[[], LM]) -> None:
        now().save(_weights(sub, epoch))

    lm, adapter = bench.before.load(), sub.plan.model.adapter
    bench.before.drop()
    if adapter is not None:
        from ..models.adapters import attach

        lm = attach(lm, adapter, derive_seed(sub.seed, "adapter"))
    try:
        method.unlearn(lm, bench.work.data, sub.sub("training", each_epoch=keep))
    except CollapseError as error:
        sub.note(f"the walk ends early: {error.message}")
    else:
        if not _weights(sub, 1).exists():
            raise MethodError("the method does not train by epochs")


def _epochs(sub: Run, judge: Evaluator) -> list[dict[str, Any]]:
    """Measure every epoch."""
    from ..models.lm import LM

    last = 0
    while _weights(sub, last + 1).exists():
        last += 1
        judge.measure(f"epoch {last}", LM.load(str(_weights(sub, last))))
    # scored together, since every measuring lets go of the scores there were
    return [{"epoch": epoch, "scores": numbers(judge, f"epoch {epoch}")} for epoch in range(1, last + 1)]


def _choose(before: Mapping[str, Any], epochs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The paper's rule over all epochs but the last."""
    if len(epochs) < 2:
        raise CollapseError("the method broke the model before its second epoch ended", "lower train.lr")
    quality, utility = (
        [math.nan if scores[name]["value"] is None else scores[name]["value"] for scores in epochs[:-1]]
        for name in (QUALITY, UTILITY)
    )
    chosen = choose_epoch(quality, utility, before[UTILITY]["value"], KEEP)
    return {"epoch": chosen.epoch, "keep": chosen.keep}


def _extrapolated(
    sub: Run, bench: _Bench, judge: Evaluator, epoch: int, alphas: Sequence[float | str]
) -> list[dict[str, Any]]:
    """UIPE from the chosen epoch, by every α."""
    from ..models.line import Line
    from ..models.lm import LM
    from ..training.coefficient import farthest

    line = Line(bench.before.load(), LM.load(str(_weights(sub, epoch))))
    bench.before.drop()
    found: list[dict[str, Any]] = []
    for wanted in alphas:
        about: dict[str, Any] = {"alpha": wanted, "automatic": wanted == "auto"}
        found.append(about)
        if wanted == "auto":
            try:
                walk = farthest(line, bench.work.data, sub, keep=KEEP, most=1 + _MOST)
            except MethodError as error:
                about |= {"alpha": None, "note": error.message}
                continue
            about |= {"alpha": walk.chosen - 1, "looks": walk.looks}
        judge.measure(f"alpha {wanted}", line.at(1 + about["alpha"]))
    # scored together, since every measuring lets go of the scores there were
    for about, wanted in zip(found, alphas, strict=True):
        if "note" not in about:
            about["scores"] = numbers(judge, f"alpha {wanted}")
    return found


def _weights(sub: Run, epoch: int) -> Path:
    return sub.path(f"epoch-{epoch}")
