"""``unsay augment``: the rows that ReLearn trains on, written and looked at without any training."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from ..errors import PlanError


def augment(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE [KEY=VALUE]... | audit FOLDER [KEY=VALUE]...",
            help="Rows to forget (a file, folder or hub id), then settings; or audit and a folder with augmented rows.",
            show_default=False,
        ),
    ],
    method: Annotated[str, typer.Option("--method", help="The method whose rows to write.")] = "relearn",
    folder: Annotated[
        Path | None, typer.Option("--out", help="New folder for the rows; the same command goes on where it stopped.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bars.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    r"""Write variants of the questions to forget, a vague answer to each, completions and generic rows (ReLearn).

    The folder gets augmented.jsonl (the training rows), augmented.json (how they came about), writings.jsonl (what a
    later run replays) and augmented-review.md (50 pairs to read). Nothing of the true answers is in any of them.

    [bold]Settings[/bold]: retain=FILE, seed=0, and those of the method's augment, such as augment.ratio=0.5
    augment.writer=local-chat augment.writer.path=MODEL. By default rules write, with no model and no network.

    [bold]Examples[/bold]

      unsay augment forget.jsonl retain=retain.jsonl --out rows
      unsay augment forget.jsonl augment.writer=openai-compatible augment.writer.base_url=http://localhost:8000/v1
            augment.writer.model=NAME --out rows
      unsay augment audit rows forget=forget.jsonl retain=retain.jsonl
      unsay run model=PATH forget=forget.jsonl retain=retain.jsonl method=relearn method.augment.writer=replay
            method.augment.writer.path=rows
    """
    out = Console(highlight=False)
    if words[0] == "audit":
        if len(words) < 2:
            raise PlanError("audit: which folder?", "unsay augment audit FOLDER forget=FILE")
        out.print(_audited(words[1], words[2:]), markup=False, soft_wrap=True)
        return
    from ..augment import Augmenter
    from ..augment.audit import audit
    from ..config.decode import read_plan
    from ..data.checks import check_data
    from ..data.read import read_forget_data
    from ..runs.run import Run
    from . import show

    if folder is None:
        raise PlanError("where should the rows go?", "--out FOLDER")
    changes = [f"method.{word}" if word.startswith("augment.") else word for word in words[1:]]
    plan, _ = read_plan(None, [f"forget={words[0]}", f"method={method}", f"out={folder}", *changes])
    maker = getattr(plan.method, "augment", None)
    if not isinstance(maker, Augmenter):
        raise PlanError(f"{method} trains on the rows as they are", "--method relearn")
    data, notes = read_forget_data(plan.data)
    notes += check_data(data)
    with show.reporter(quiet) as reporter, Run.start(plan, command=["unsay", *sys.argv[1:]], reporter=reporter) as run:
        for note in notes:
            run.note(note)
        maker.augment(data.forget, run, others=data.retain)
        text = audit(run.dir, data.forget, data.retain)
    out.print(text, markup=False, soft_wrap=True)
    out.print(f"rows {folder / 'augmented.jsonl'} · to read {folder / 'augmented-review.md'}", markup=False)


def _audited(folder: str, words: list[str]) -> str:
    from ..augment.audit import audit
    from ..data.read import read_rows

    given = dict(word.partition("=")[::2] for word in words)
    odd = given.keys() - {"forget", "retain"}
    if odd:
        raise PlanError(f"audit takes forget=FILE and retain=FILE, not {min(odd)}")
    rows = {name: read_rows(source, name=name) for name, source in given.items()}
    return audit(folder, rows.get("forget", ()), rows.get("retain", ()))
