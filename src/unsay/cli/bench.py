"""``unsay bench``: experiments of papers, from teaching to the figures."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from ..errors import PlanError
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

    The plan says model (and adapter), benchmark (tofu or people), teach and train; its method is not used. Each method
    trains train.epochs epochs; the base epoch is the one with the best forget quality that keeps 90 % of the utility.
    auto holds 90 % of the probability of retain rows instead, and stops at that of rows never seen, if there are any.

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
    given = [float(seed) for seed in numbers(seeds, "--seeds")]
    if not all(seed.is_integer() for seed in given):
        raise PlanError(f"--seeds {seeds!r}: expected whole numbers separated by commas", "--seeds 0,1,2")
    amplifications = numbers(alphas, "--alphas", also=("auto",))
    with show.reporter(quiet) as reporter:
        folder = walk(
            plan,
            chosen,
            seeds=[int(seed) for seed in given],
            alphas=amplifications,
            command=["unsay", *sys.argv[1:]],
            reporter=reporter,
            overwrite=overwrite,
        )
    out = Console(highlight=False)
    out.print((folder / "trade-off.md").read_text(encoding="utf-8"), markup=False, soft_wrap=True)
    out.print(f"picture {folder / 'trade-off.svg'}", markup=False, soft_wrap=True)


@bench.command("related-knowledge")
def related_knowledge(
    words: Words = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    r"""Does forgetting a fact fade what it follows from, and does going further (UIPE) help? Its figures 2, 3, 7, 8.

    Fictional persons: K1 is to be forgotten, K2 implies it, K3 is about the same person. Three models are taught and
    unlearned, and looked at after every epoch: θ1 knows all and forgets K1; θ2 never knew K2; θ3 forgets K1 and K2.
    From the base epoch of θ1 (the best forget quality with 90 % of the utility) UIPE goes on, beside its controls: one
    more epoch, a random direction of the same length, and a step back. No text is generated.

    [bold]Settings[/bold] besides those of a plan ('unsay plan related-knowledge' shows where it starts from):

      size=small                 five persons of people instead of nine taught, two instead of three forgotten
      alphas=\[0.1,0.3,1]        amplifications α; the automatic one is always found, too
      back=-0.5                  the α below 0, which should bring the facts back
      keep=0.9                   share of the utility that the base epoch and the best α must keep
      most=4  pairs=30           largest automatic α; facts whose gradients are compared

    [bold]Examples[/bold]

      unsay bench related-knowledge size=small out=runs/related
      unsay bench related-knowledge method=npo train.lr=1e-5 train.epochs=12 alphas=\[0.3,0.5,1]
      unsay bench related-knowledge model.adapter.rank=4 model.adapter.targets=\[q_proj,v_proj] train.lr=5e-5
    """
    from ..experiments.related_knowledge import read
    from ..experiments.related_knowledge import related_knowledge as walk
    from . import show

    plan, settings = read(words or [])
    with show.reporter(quiet) as reporter:
        folder = walk(plan, settings, command=["unsay", *sys.argv[1:]], reporter=reporter, overwrite=overwrite)
    _told(folder, "related-knowledge")


Names = Annotated[
    str, typer.Option("--methods", help="Methods, or presets with their training (people-small/npo), by commas.")
]
_NAMES = "unierase,npo,idk-ap,max-entropy"


@bench.command("sequential")
def sequential(
    words: Words = None,
    methods: Names = _NAMES,
    requests: Annotated[int, typer.Option("--requests", help="How many requests are made.")] = 10,
    rows: Annotated[int, typer.Option("--rows-a-request", help="Forget rows of one request.")] = 4,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Requests to forget, one after another, by any method: is what was forgotten first still gone after the last one?

    The forget rows are dealt into requests, all entities in turn; after each one all requests are measured again, and
    utility. Beside it the batch: all requests at once. The plan says model, benchmark or rows, teach and train; its
    method is not used. A preset brings its own method and train.

    [bold]Examples[/bold]

      unsay bench sequential tofu-forget01 --methods unierase,npo out=runs/sequential
      unsay bench sequential demo --requests 5 --methods people-small/unierase,people-small/npo
    """
    from ..config.decode import read_plan
    from ..experiments._contenders import contenders
    from ..experiments.sequential import sequential as walk
    from . import show

    plan, _ = read_plan(*start(words))
    chosen = contenders(name.strip() for name in methods.split(","))
    command = ["unsay", *sys.argv[1:]]
    with show.reporter(quiet) as reporter:
        folder = walk(
            plan,
            chosen,
            requests=requests,
            rows=rows,
            command=command,
            reporter=reporter,
            overwrite=overwrite,
        )
    _told(folder, "sequential")


@bench.command("precise")
def precise(
    words: Words = None,
    methods: Names = _NAMES,
    rows: Annotated[int, typer.Option("--rows", help="How many rows are tried, of all subjects in turn.")] = 6,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """One example to forget, and what else goes with it: the same subject's other questions, by any method.

    Each row is forgotten on its own from the model before. The other forget rows about the same subject should stay;
    over-forgetting says how far they went with it. The plan says model, benchmark or rows, teach and train; its method
    is not used. A preset brings its own method and train.

    [bold]Examples[/bold]

      unsay bench precise tofu-forget01 --methods unierase,npo --rows 4 out=runs/precise
      unsay bench precise demo --methods people-small/unierase,people-small/npo
    """
    from ..config.decode import read_plan
    from ..experiments._contenders import contenders
    from ..experiments.precise import precise as walk
    from . import show

    plan, _ = read_plan(*start(words))
    chosen = contenders(name.strip() for name in methods.split(","))
    command = ["unsay", *sys.argv[1:]]
    with show.reporter(quiet) as reporter:
        folder = walk(plan, chosen, rows=rows, command=command, reporter=reporter, overwrite=overwrite)
    _told(folder, "precise")


@bench.command("id-ood")
def id_ood(
    words: Words = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    r"""Is out-of-distribution data harder to unlearn, and does it cost less? Gradient ascent on matched forget sets.

    A model is taught sentences about made-up persons with canaries among them. Canaries and sentences that are as well
    memorised are forgotten, each by themselves, and every step is measured: exposure of the forgotten rows, loss on
    clean held-out sentences. Steps and costs are compared over seeds, with p-values and effect sizes; cells of
    memorisation and difficulty and the cosine with the gradient of retain rows come beside them.

    [bold]Settings[/bold] besides those of a plan ('unsay plan id-ood' shows where it starts from):

      size=small                 a model of 0.15M weights made from scratch instead of SmolLM2
      seeds=\[0,1,2,3,4,5,6,7]   each is a world, its models and its walks; more may be added later
      kinds=\[secret,shuffled]   of canaries: secret, random-tokens, shuffled, foreign
      match=share                pairs have lost the same share of their held-out loss; gain: the same nats per token
      rows=12  count=24          rows of a forget set; candidates of each kind
      halves=4                   models taught halves of the candidates, for memorisation and difficulty; 0: a proxy
      train.epochs=45            steps of gradient ascent

    [bold]Examples[/bold]

      unsay bench id-ood size=small out=runs/id-ood
      unsay bench id-ood halves=0 train.lr=1e-5 train.epochs=30
    """
    from ..experiments.id_ood import id_ood as walk
    from ..experiments.id_ood import read
    from . import show

    plan, settings = read(words or [])
    with show.reporter(quiet) as reporter:
        folder = walk(plan, settings, command=["unsay", *sys.argv[1:]], reporter=reporter, overwrite=overwrite)
    _told(folder, "id-ood")


def _told(folder: Path, name: str) -> None:
    """Print an experiment's page."""
    out = Console(highlight=False)
    out.print((folder / f"{name}.md").read_text(encoding="utf-8"), markup=False, soft_wrap=True)
    out.print(f"page {folder / f'{name}.html'}", markup=False, soft_wrap=True)
