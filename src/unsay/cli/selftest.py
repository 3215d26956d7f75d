"""``unsay selftest``: the audit, the metrics and the statistics tried on what is known."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

selftest = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Try the audit, the metrics and the statistics where the truth is known. Exit code 1: something failed.",
)

Out = Annotated[Path | None, typer.Option("--out", help="Folder for the results as JSON and Markdown.")]
Seed = Annotated[int, typer.Option("--seed", help="Of the simulated data.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bars.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


@selftest.callback()
def _group() -> None:
    """Keeps the names of the commands in what is typed."""


@selftest.command("statistics")
def statistics(
    simulations: Annotated[int, typer.Option("--simulations", min=100, help="Sets of data for each check.")] = 1000,
    seed: Seed = 0,
    out: Out = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Simulate data with and without effects through the shipped statistics: errors, coverage, power. Loads no model.

    Tests at .05 must be wrong in 3 to 7 % of data without an effect, 95 % intervals must hold the truth in 90 to 98 %,
    and the paired test must find more than Kolmogorov–Smirnov's at the published settings. Takes a minute or two.

    [bold]Examples[/bold]

      unsay selftest statistics
      unsay selftest statistics --simulations 4000 --out runs/selftest
    """
    from ..report import selftest as page
    from ..selftest.statistics import document, run_checks, run_powers
    from . import show

    with show.reporter(quiet) as reporter:
        found = document(
            run_checks(simulations, seed, reporter=reporter), run_powers(simulations, seed, reporter=reporter)
        )
    _end("statistics", found, page.statistics(found), page.failed(found), out)


@selftest.command("audit")
def audit(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[PLAN] [KEY=VALUE]...",
            help="A plan that teaches, then settings; none: a tiny model.",
            show_default=False,
        ),
    ] = None,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="How many drawings and teachings.")] = 3,
    first: Annotated[int, typer.Option("--first-seed", help="The first of them.")] = 0,
    kinds: Annotated[str, typer.Option("--kinds", help="Planted models, separated by commas; empty takes all.")] = "",
    profile: Annotated[str, typer.Option("--profile", "-p", help="Of the audit: quick, standard or full.")] = "quick",
    attacks: Annotated[str, typer.Option("--attacks", help="These instead of the profile's, as in attacks=….")] = "",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a run folder that holds another plan.")
    ] = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    r"""Plant models whose truth is known, audit each from its folder, and count what the audit gets right.

    Five still hold what they should have forgotten: a refusal filter, a logit bias, an adapter that comes off, a push
    along one direction, and a model that was left alone. One was retrained without the rows. The audit must find a
    leak in 95 % of the five and in at most 5 % of the retrained ones.

    Without a plan a tiny model is taught 64 facts in seconds, by another drawing for every seed; with one, the plan's
    model is taught the plan's benchmark three times a seed (before, control, and the retrained model to be cleared).

    [bold]Examples[/bold]

      unsay selftest audit --seeds 10
      unsay selftest audit --kinds untouched,retrained --attacks quantisation,relearn
      unsay selftest audit people-small/npo --seeds 3 out=runs/planted
    """
    import json

    from ..config.decode import read_plan
    from ..report import selftest as page
    from ..selftest.audit import try_audit
    from ..selftest.planted import KINDS
    from . import show
    from .words import start

    given = list(words or [])
    out = [word.partition("=")[2] for word in given if word.startswith("out=")]
    given = [word for word in given if not word.startswith("out=")]
    plan = read_plan(*start(given))[0] if given else None
    with show.reporter(quiet) as reporter:
        folder = try_audit(
            plan,
            seeds=range(first, first + seeds),
            kinds=tuple(k.strip() for k in kinds.split(",")) if kinds else KINDS,
            profile=profile,
            words=[f"attacks={attacks}"] if attacks else (),
            out=out[-1] if out else None,
            command=["unsay", *sys.argv[1:]],
            reporter=reporter,
            overwrite=overwrite,
        )
    found = json.loads((folder / "selftest.json").read_text(encoding="utf-8"))
    _end("selftest", found, page.audit(found), page.failed_audit(found), folder)


@selftest.command("metrics")
def metrics(seed: Seed = 0, out: Out = None, quiet: Quiet = False, debug: Debug = False) -> None:
    """Do the metrics tell models that know from models that do not, and do attacks change what they say?

    The meta-evaluation of OpenUnlearning on a tiny model: 24 models, 6 unlearned ones, relearning and quantisation.
    AUCs have intervals; robustness is given by each of its formulas. Takes minutes; there is nothing to pass.

    [bold]Examples[/bold]

      unsay selftest metrics
      unsay selftest metrics --seed 1 --out runs/selftest
    """
    from ..report import selftest as page
    from ..selftest.metrics import judge_metrics
    from . import show

    with show.reporter(quiet) as reporter:
        found = judge_metrics(seed, reporter=reporter)
    _end("metrics", found, page.metrics(found), [], out)


def _end(name: str, found: dict[str, Any], text: str, failed: list[str], out: Path | None) -> None:
    """Print, keep, and leave with 1 where something failed."""
    from ..runs import atomic

    Console(highlight=False).print(text, markup=False, soft_wrap=True)
    if out is not None:
        with atomic.disk_errors(out):
            out.mkdir(parents=True, exist_ok=True)
        atomic.write_json(out / f"{name}.json", found)
        atomic.write_text(out / f"{name}.md", text)
    if failed:
        Console(stderr=True, highlight=False).print(f"failed: {'; '.join(failed)}", markup=False, soft_wrap=True)
        raise typer.Exit(1)
