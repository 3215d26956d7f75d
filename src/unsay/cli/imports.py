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
    help="""Read results of other software into a run folder: scores with intervals, samples, a report.

    [bold]Examples[/bold]

      unsay import relearn forget.jsonl --split forget
      unsay import open-unlearning saves/unlearn/my_task/evals --retrained saves/eval/retain90
      unsay import tofu-log eval_log_aggregated.json --retrained retain90/eval_log_aggregated.json

    Nothing is measured again where the files bring the numbers; "unsay report" writes the report anew.
    """,
)


Out = Annotated[Path | None, typer.Option("--out", help="Run folder; runs/import-NAME when left out.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an earlier import.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


@imports.command("tofu-log")
def tofu_log(
    file: Annotated[Path, typer.Argument(help="eval_log_aggregated.json of the unlearned model, plain or gzip.")],
    retrained: Annotated[
        Path | None, typer.Option("--retrained", help="Log of the model trained without the forget rows.")
    ] = None,
    before: Annotated[Path | None, typer.Option("--before", help="Log of the model before unlearning.")] = None,
    out: Out = None,
    overwrite: Overwrite = False,
    debug: Debug = False,
) -> None:
    """Scores and a report from TOFU's own evaluation logs. Forget quality needs the retrained model's log.

    [bold]Examples[/bold]

      unsay import tofu-log eval_log_aggregated.json --retrained retain90/eval_log_aggregated.json
    """
    from ..interchange.tofu_log import import_tofu_log

    _show(import_tofu_log(file, retrained=retrained, before=before, out=out, overwrite=overwrite, command=_typed()))


@imports.command("relearn")
def relearn(
    file: Annotated[Path, typer.Argument(help="Rows of one model, one JSON object a line.")],
    split: Annotated[
        str, typer.Option("--split", help="forget: the rows should be forgotten (KFR); retain: kept (KRR).")
    ],
    out: Out = None,
    overwrite: Overwrite = False,
    debug: Debug = False,
) -> None:
    """KFR or KRR, ROUGE-L, LS and their harmonic mean from the rows of ReLearn's evaluation, or of your own.

    A row has [cyan]query[/cyan], [cyan]pred[/cyan] and [cyan]gold[/cyan] (question, prediction and answer will do).
    What it has besides is used as it is, the rest is computed, and notes say which: entities_gold, entities_pred,
    ecs_pairs (1 − E, as published) or coverage (E), nli, rougeL_recall, ppl, bi, hs, rttr; entity names whom it is
    about. KFR stands under every rule (paper, strict, code), entities matched one to one or by pairs.

    [bold]Examples[/bold]

      unsay import relearn kud_forget.jsonl --split forget
      unsay import relearn kud_retain.jsonl --split retain --out runs/kud-retain
    """
    from ..interchange.relearn import import_relearn

    _show(import_relearn(file, split=split, out=out, overwrite=overwrite, command=_typed()))  # type: ignore[arg-type]


@imports.command("open-unlearning")
def open_unlearning(
    folder: Annotated[
        Path, typer.Argument(help="Folder of the unlearned model's evaluation, with TOFU_EVAL.json or MUSE_EVAL.json.")
    ],
    before: Annotated[Path | None, typer.Option("--before", help="That of the model before unlearning.")] = None,
    retrained: Annotated[
        Path | None, typer.Option("--retrained", help="That of the model trained without the forget rows.")
    ] = None,
    out: Out = None,
    overwrite: Overwrite = False,
    debug: Debug = False,
) -> None:
    """Scores, intervals and a report from an evaluation by open-unlearning.

    Reads *_EVAL.json (values by index) and *_SUMMARY.json. Metrics that are defined as ours have our names, the others
    keep theirs and are not judged. A folder with folders called before, after and retrained is read as a whole.

    [bold]Examples[/bold]

      unsay import open-unlearning saves/unlearn/my_task/evals
      unsay import open-unlearning saves/unlearn/my_task/evals --before saves/eval/full --retrained saves/eval/retain90
    """
    from ..interchange.open_unlearning import import_open_unlearning

    _show(
        import_open_unlearning(
            folder, before=before, retrained=retrained, out=out, overwrite=overwrite, command=_typed()
        )
    )


def _typed() -> list[str]:
    return ["unsay", *sys.argv[1:]]


def _show(folder: Path) -> None:
    from . import show

    show.outcome(Console(highlight=False), folder)
