"""``unsay bench``: experiments of papers, from teaching to the figures."""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from rich.console import Console

from .words import numbers, start

bench = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Experiments of papers, from teaching to the figures. A rerun skips what is finished.",
)

Words = Annotated[
    list[str] | None,
    typer.Argument(metavar="[PLAN] [KEY=VALUE]...", help="A plan file or preset, then settings.", show_default=False),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace a run folder that holds another plan.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bars.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


@bench.callback()
def _group() -> None:
    """Keeps the names of the commands in what is typed."""


@bench.command("trade-off")
def trade_off(
    words: Words = None,
    methods: Annotated[
        str, typer.Option("--methods", help="Base methods, separated by commas.")
    ] = "grad-ascent,grad-diff,kl-min,npo",
    seeds: Annotated[str, typer.Option("--seeds", help="Seeds of the walks, separated by commas.")] = "0,1,2",
    alphas: Annotated[str, typer.Option("--alphas", help="Amplifications; auto searches for one.")] = "0.3,0.5,1,auto",
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Forget quality against utility, epoch by epoch, without and with extrapolation (UIPE, figure 6).

    The plan says model, benchmark (tofu or people), teach and train; its method is not used. Each method trains
    train.epochs epochs; the base epoch is the one with the best forget quality that keeps 90 % of the utility.

    [bold]Examples[/bold]

      unsay bench trade-off tofu-smollm2 train.epochs=5 out=runs/trade-off
      unsay bench trade-off people-small/npo --methods npo,sim-npo --seeds 0 --alphas 0.5,1
    """
    from .. import registry
    from ..config.decode import read_plan
    from ..experiments.trade_off import trade_off as walk
    from . import show

    plan, _ = read_plan(*start(words))
    chosen = [registry.load("methods", name.strip())() for name in methods.split(",")]
    whole = [int(seed) for seed in numbers(seeds, "--seeds")]
    amplifications = numbers(alphas, "--alphas", also=("auto",))
    with show.reporter(quiet) as reporter:
        folder = walk(
            plan,
            chosen,
            seeds=whole,
            alphas=amplifications,
            command=["unsay", *sys.argv[1:]],
            reporter=reporter,
            overwrite=overwrite,
        )
    out = Console(highlight=False)
    out.print((folder / "trade-off.md").read_text(encoding="utf-8"), markup=False, soft_wrap=True)
    out.print(f"picture {folder / 'trade-off.svg'}", markup=False, soft_wrap=True)
