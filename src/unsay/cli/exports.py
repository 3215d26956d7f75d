"""``unsay export``: a run's scores for other software."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer


def export(
    target: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder; an import or an evaluation is one too.")],
    format: Annotated[str, typer.Option("--format", "-f", help="csv, latex, or open-unlearning.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", help="File, a folder for open-unlearning; csv and latex are printed without."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    r"""Write a run's scores as a table, or as files that open-unlearning's scripts and 'unsay import' read.

    csv: one line a model and metric with value, interval, n, clusters, direction and note. latex: one table with
    intervals as subscripts, for \usepackage{booktabs}. open-unlearning: TOFU_EVAL.json with values by index and
    TOFU_SUMMARY.json (MUSE_… for muse), in a folder for each model where there are several.

    [bold]Examples[/bold]

      unsay export runs/mine --format csv > scores.csv
      unsay export runs/mine --format latex --out table.tex
      unsay export runs/mine --format open-unlearning --out mine-ou
      unsay import open-unlearning mine-ou
    """
    from ..interchange.export import export as write

    found = write(target, format, out, overwrite=overwrite)
    sys.stdout.write(found if isinstance(found, str) else f"{format} {found}\n")
