"""``unsay import``: results of other software as run folders."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

imports = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Read results of other software into a run folder.",
)


@imports.callback()
def _group() -> None:
    """Keeps the name of the only command in what is typed."""


@imports.command("tofu-log")
def tofu_log(
    file: Annotated[Path, typer.Argument(help="eval_log_aggregated.json of the unlearned model, plain or gzip.")],
    retrained: Annotated[
        Path | None, typer.Option("--retrained", help="Log of the model trained without the forget rows.")
    ] = None,
    before: Annotated[Path | None, typer.Option("--before", help="Log of the model before unlearning.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Run folder; runs/import-NAME when left out.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier import.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Scores and a report from TOFU's own evaluation logs. Forget quality needs the retrained model's log.

    [bold]Examples[/bold]

      unsay import tofu-log eval_log_aggregated.json --retrained retain90/eval_log_aggregated.json
    """
    from ..interchange.tofu_log import import_tofu_log
    from . import show

    command = ["unsay", *sys.argv[1:]]
    folder = import_tofu_log(file, retrained=retrained, before=before, out=out, overwrite=overwrite, command=command)
    show.outcome(Console(highlight=False), folder)
