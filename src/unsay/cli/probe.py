"""``unsay probe``: models side by side, looked at from the inside."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from ..errors import PlanError
from .words import numbers

probe = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="""Look inside models, side by side: before unlearning, and after it by one method or several.

    A run brings its before, after and retrained models and its forget rows; further runs their after; a model folder or
    hub id stands for itself and needs --prompts. NAME=PATH names a model. All are compared with the first one.

      unsay probe topk runs/ga runs/npo runs/relearn           what is said instead of the answer
      unsay probe lens runs/npo                                at which layer the answer still is
      unsay probe circuits runs/npo                            which heads and MLPs say it

    What an answer reveals: its names and numbers, else nouns and words that the question does not have.

    Each writes a folder with JSON (all rows, all numbers), Markdown and a picture; they show texts of the forget rows.
    """,
)

Targets = Annotated[
    list[str], typer.Argument(metavar="RUN_OR_MODEL...", help="Run folders, model folders, hub ids or aliases.")
]
Prompts = Annotated[
    str | None, typer.Option("--prompts", help="Rows to ask (question and answer); default: the run's forget rows.")
]
Out = Annotated[
    str | None, typer.Option("--out", help="Folder to write; default: probe-… in the first run, or in runs/.")
]
Template = Annotated[
    str, typer.Option("--template", help="How models that no run names write prompts: auto, chat or plain.")
]
Rows = Annotated[int, typer.Option("--rows", help="Rows asked at most, evenly spaced.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bars.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
At = Annotated[str, typer.Option("--at", help="Before the answer's first token, or before what it reveals (fact).")]


@probe.callback()
def _group() -> None:
    """Keeps the names of the commands in what is typed."""


@probe.command("topk")
def topk(
    targets: Targets,
    rows: Rows = 8,
    prompts: Prompts = None,
    out: Out = None,
    k: Annotated[int, typer.Option("--k", help="Tokens shown, and counted as the likeliest before.")] = 5,
    at: Annotated[
        str, typer.Option("--at", help="Before the answer's first token, before what it reveals (fact), or all.")
    ] = "first",
    template: Template = "auto",
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """The likeliest next tokens of each model, and the stage of the probability seesaw (ReLearn, figures 1, 5, 9).

    Pushing a token down lets others rise, and nobody says which. With t1, t2 the two likeliest tokens before:

      kept            t1 is still the likeliest
      handed-over     stage 1: t2 is, which may be a near miss of the same secret
      reshuffled      another of the k likeliest is
      scattered       stage 2: none of them is, and the probability has spread over others
      reconstructed   stage 3: none of them is, and it has not spread: something else is said. Read it: a model that
                      repeats one word counts here, too

    Most answers begin with words that give nothing away: --at fact asks for what follows them.

    [bold]Examples[/bold]

      unsay probe topk runs/ga runs/npo runs/relearn --at fact --rows 12 --out seesaw
      unsay probe topk before=models/taught after=models/unlearned --prompts questions.jsonl
    """
    from ..probe.case import read_case
    from ..probe.topk import topk as look

    case = read_case("topk", targets, rows=rows, prompts=prompts, out=out, template=_known(template))

    _done(look, case, "topk", quiet, k=k, at=at)


@probe.command("lens")
def lens(
    targets: Targets,
    rows: Rows = 8,
    prompts: Prompts = None,
    out: Out = None,
    k: Annotated[int, typer.Option("--k", help="Tokens kept of each layer.")] = 5,
    at: At = "first",
    template: Template = "auto",
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """What each layer would say next, through the final norm and the head (the logit lens; ReLearn, figure 6).

    For every layer the likeliest tokens, the entropy, KL(last layer ‖ layer), and probability and rank of the answer's
    token. A model that hides an answer has it at a middle layer and drops it late; early layers are not trained to be
    read like this, so that their silence proves nothing. Compare with the retrained model.

    [bold]Examples[/bold]

      unsay probe lens runs/npo --at fact
      unsay probe lens runs/ga runs/npo runs/relearn --rows 20 --out lens
    """
    from ..probe.case import read_case
    from ..probe.lens import lens as look

    case = read_case("lens", targets, rows=rows, prompts=prompts, out=out, template=_known(template))

    _done(look, case, "lens", quiet, k=k, at=at)


@probe.command("circuits")
def circuits(
    targets: Targets,
    rows: Rows = 4,
    prompts: Prompts = None,
    out: Out = None,
    tau: Annotated[str, typer.Option("--tau", help="Thresholds of the routes, separated by commas.")] = "0.06,0.08",
    exact: Annotated[int, typer.Option("--exact", help="Parts turned off one by one, those of largest slope.")] = 10,
    at: At = "fact",
    template: Template = "auto",
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Which heads and MLPs say the answer, and by which routes it comes (ReLearn, figure 11).

    Every head and MLP gets a gate of 1; its slope is the derivative of the answer's log-probability (one backward pass
    for all). The parts with the largest slopes are turned off one by one, too, and what that costs stands beside: where
    the two differ, believe the second. Routes are the edges that carry more than τ of a state, followed back from the
    last place (LM Transparency Tool), counted by where they come from: the question's subject or its other words.

    [bold]Examples[/bold]

      unsay probe circuits runs/npo --rows 2
      unsay probe circuits runs/ga runs/npo runs/relearn --tau 0.04,0.06,0.08 --exact 30
    """
    from ..probe.case import read_case
    from ..probe.circuits import circuits as look

    case = read_case("circuits", targets, rows=rows, prompts=prompts, out=out, template=_known(template))

    taus = [float(value) for value in numbers(tau, "--tau")]
    _done(look, case, "circuits", quiet, taus=taus, exact=exact, at=at)


def _known(template: str) -> Any:
    if template not in ("auto", "chat", "plain"):
        raise PlanError(f"--template {template}: should be auto, chat or plain", "--template plain")
    return template


def _done(look: Any, case: Any, kind: str, quiet: bool, **settings: Any) -> None:
    from . import show

    with show.reporter(quiet) as reporter:
        folder: Path = look(case, reporter=reporter, **settings)
    console = Console(highlight=False)
    text = (folder / f"{kind}.md").read_text(encoding="utf-8")
    console.print(text.partition("\n## ")[0].rstrip(), markup=False, soft_wrap=True)
    console.print(f"\nrow by row {folder / f'{kind}.md'}", markup=False, soft_wrap=True)
    console.print(f"picture    {folder / f'{kind}.svg'}", markup=False, soft_wrap=True)
