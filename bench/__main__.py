"""All benchmarks in one run: ``python -m bench`` writes BENCHMARKS.md; ``--only evaluation`` renews that section."""

import argparse
import datetime
import importlib.metadata
import json
from pathlib import Path

from unsay.runs.manifest import git, machine

from . import evaluate, exposure, extrapolate, train

ROOT = Path(__file__).parent.parent
PARTS = {"Training": train, "Evaluation": evaluate, "Extrapolation": extrapolate, "Exposure": exposure}
HEAD = """# Benchmarks

Ratios against plain loops written for the purpose (`bench/*_yardstick.py`), both sides of a section measured one after
the other in the same run: machines differ and are noisy, so read the ratios, not the rates. `make bench` writes it all.
"""


def main():
    """Run the benchmarks that are asked for, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=[title.lower() for title in PARTS], help="renew one section")
    only = parser.parse_args().only
    page = ROOT / "BENCHMARKS.md"
    sections = dict(part.split("\n", 1) for part in page.read_text(encoding="utf-8").split("\n## ")[1:])
    for title, part in PARTS.items():
        if only in (None, title.lower()):
            found = part.measure()
            print(json.dumps(found))
            sections[title] = f"\n{about()}\n{part.table(found)}\n"
    known = [f"## {title}\n{sections[title]}" for title in PARTS if title in sections]
    page.write_text("\n".join([HEAD, *known]), encoding="utf-8")
    print(page.read_text(encoding="utf-8"))


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
