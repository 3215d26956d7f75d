"""All benchmarks in one run: ``python -m bench`` writes BENCHMARKS.md."""

import datetime
import importlib.metadata
import json
from pathlib import Path

from unsay.runs.manifest import git, machine

from . import evaluate, train

ROOT = Path(__file__).parent.parent
HEAD = """# Benchmarks

Ratios against plain loops written for the purpose (`bench/*_yardstick.py`), measured one after the other
in the same run: machines differ and are noisy, so read the ratios, not the rates. `make bench` writes this page.
"""


def main():
    """Run every benchmark and write the page."""
    parts = [HEAD, about()]
    for title, part in (("Training", train), ("Evaluation", evaluate)):
        found = part.measure()
        print(json.dumps(found))
        parts += [f"## {title}\n", part.table(found) + "\n"]
    (ROOT / "BENCHMARKS.md").write_text("\n".join(parts), encoding="utf-8")
    print((ROOT / "BENCHMARKS.md").read_text())


def about():
    """The machine line."""
    box, checkout = machine(), git()
    commit = f"{checkout.commit[:10]}{' with changes' if checkout.dirty else ''}" if checkout else "no checkout"
    torch = importlib.metadata.version("torch")
    day = datetime.date.today().isoformat()
    memory = box.memory_bytes / 2**30
    return f"{box.cpu}, {box.cores} cores, {memory:.0f} GiB, torch {torch}, commit {commit}, {day}.\n"


if __name__ == "__main__":
    main()
