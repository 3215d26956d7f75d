"""What this machine has, and what is wrong with a plan's model and rows."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil

from rich.console import Console
from rich.text import Text

_PACKAGES = ("unsay", "torch", "transformers", "peft", "accelerate", "datasets", "numpy", "scipy")


def machine(console: Console) -> None:
    """Versions, cores, memory, disk, and the number format that is fastest here."""
    import psutil

    from ..runs.home import home

    rows = [("python", f"{platform.python_version()} on {platform.platform()}")]
    rows += [(name, importlib.metadata.version(name)) for name in _PACKAGES]
    memory = psutil.virtual_memory()
    rows.append(("cores", f"{os.cpu_count()}"))
    rows.append(("memory", f"{memory.available / 2**30:.1f} of {memory.total / 2**30:.1f} GiB free"))
    folder = home()
    folder.mkdir(parents=True, exist_ok=True)
    rows.append(("home", f"{folder} ({shutil.disk_usage(folder).free / 2**30:.0f} GiB free)"))
    import torch

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    rows.append(("device", f"{device}, {torch.get_num_threads()} threads"))
    from ..training.weights import pick_precision

    place = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rows.append(("trains in", f"{pick_precision('auto', place)}, the faster here"))
    _print(console, rows)


def inputs(console: Console, start: str | None, words: list[str]) -> None:
    """Load the model and read the rows of a plan as a run would, and print what was found.

    Raises:
        UnsayError: what a run would stop at.
    """
    from ..config.decode import read_plan, resolved
    from ..pipeline import prepare

    plan, _ = read_plan(start, words)
    work = prepare(resolved(plan))
    rows = [("model", work.base.origin), ("template", work.base.template.kind)]
    for name in ("forget", "retain", "holdout"):
        rows.append((name, f"{len(getattr(work.data, name))} rows"))
    rows += [("note", note) for note in work.notes]
    first = work.data.forget[0]
    encoded = work.base.template.encode(first.prompt, first.answer)
    tokenizer = work.base.tokenizer
    asked = str(tokenizer.decode(encoded.input_ids[: encoded.answer_start]))
    learned = str(tokenizer.decode(encoded.input_ids[encoded.answer_start :]))
    _print(console, rows)
    console.print("the first forget row as the model sees it; the loss is on the part in bold:", style="dim")
    console.print(Text.assemble((asked, "dim"), (learned, "bold")), soft_wrap=True)


def _print(console: Console, rows: list[tuple[str, str]]) -> None:
    for name, value in rows:
        console.print(Text.assemble((f"{name:<13}", "cyan"), value), soft_wrap=True)
