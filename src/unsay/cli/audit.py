"""``unsay audit``: attacks on a model and on its controls."""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from rich.console import Console


def audit(
    target: Annotated[str, typer.Argument(help="A finished run's folder, or a model folder, hub id or alias.")],
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="Rows and controls, see below.", show_default=False),
    ] = None,
    profile: Annotated[
        str, typer.Option("--profile", "-p", help="quick (minutes), standard (an hour or so) or full (3 seeds).")
    ] = "quick",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace what the folder holds, if it is another audit.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bars.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    r"""Attack a model, and its controls alike: what comes back beyond what comes up in a model that never saw the rows?

    The model is read from disk as anybody would get it. A leak counts only against controls: the retrained model, which
    must not show it, and the model before unlearning, which must. Without them a row says inconclusive, which is no
    pass, and the evidence is graded A (the run's own controls), B (controls handed in, or the base model), C (none).

    [bold]Of a run[/bold] everything is known. [bold]Of a model[/bold] you say what to ask, and with what to compare:

      forget=FILE holdout=FILE   the rows that should be gone; rows like them that nobody was trained on (membership)
      before=PATH                the model before unlearning: shows that the attacks can find what is there
      retrained=PATH\[,PATH…]     models that never saw the rows; three show how far such models differ
      base=PATH                  the base model, where nobody has retrained one
      attacks=a,b                these instead of the profile's ('unsay list attacks')
      out=FOLDER redact=true     where to (RUN/audits/PROFILE, runs/audit-MODEL-…); hide texts and names

    [bold]Examples[/bold]

      unsay audit runs/demo
      unsay audit runs/mine --profile standard
      unsay audit models/unlearned forget=forget.jsonl before=models/original retrained=models/retrained
      unsay report runs/mine/audits/quick --redact
    """
    from ..audit.engine import audit as run_audit
    from . import show

    command = ["unsay", *sys.argv[1:]]
    with show.reporter(quiet) as reporter:
        folder = run_audit(
            target, words or [], profile=profile, command=command, reporter=reporter, overwrite=overwrite
        )
    show.audited(Console(highlight=False), folder)
