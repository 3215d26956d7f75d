"""What extrapolation does, from run folders to docs/uipe.md: ``python -m bench.uipe [--page]``.

The experiments are run by the command line into ``runs/uipe``; finished ones are not repeated. Pictures are copied
beside the page.
"""

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path

from unsay.report.related_knowledge import write_related_knowledge
from unsay.report.trade_off import write_trade_off

from . import coefficient

ROOT = Path(__file__).parent.parent
RUNS = ROOT / "runs" / "uipe"
PICTURES = ROOT / "docs" / "images"
COMMANDS = {
    "related": ["bench", "related-knowledge", "size=small"],
    "forget01": [
        *("bench", "trade-off", "tofu-smollm2", "benchmark.retain_limit=30", "train.lr=4e-5", "train.epochs=5"),
        *("--alphas", "1,auto"),
    ],
    "forget05": [
        *("bench", "trade-off", "tofu-smollm2", "benchmark.split=forget05", "benchmark.retain_limit=30"),
        *("train.lr=2e-5", "train.epochs=2", "--alphas", "1,auto"),
    ],
}
BASES = ("npo", "grad-diff", "grad-ascent", "kl-min", "undial", "sim-npo")
"""Runs of docs/methods.md whose lines the coefficient is searched on."""
HEAD = """# Extrapolation, measured

What UIPE (`extrapolate`, arXiv:2503.04693) does on SmolLM2-135M-Instruct: θ0 + (1 + α)·(θu − θ0), where θu is what
another method made of θ0. Everything here is made from run folders by `make uipe`; of an experiment that was resumed,
the commit is that of its last start. `auto` does not look at utility: it holds 90 % of the mean probability of retain
answers (at most 64 rows, which GradDiff and KL-Min train on), and a base epoch may have lost more of that while its
utility holds: α is then below 0, a step back. Nor does it go beyond where the forget rows are as unlikely as the
answers about persons that no model here was taught (holdout rows) were before; the retrained model's level may lie
elsewhere.
"""


def main():
    """Run what is not there yet, then write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--page", action="store_true", help="only write the page from the folders that are there")
    if not parser.parse_args().page:
        for name, words in COMMANDS.items():
            command = [*words, f"out={RUNS / name}"]
            subprocess.run([sys.executable, "-m", "unsay", *command], check=False)
        bases = [str(ROOT / "runs" / "methods" / name) for name in BASES]
        out = RUNS / "coefficient.json"
        subprocess.run([sys.executable, "-m", "bench.coefficient", *bases, "--out", str(out)], check=False)
    (ROOT / "docs" / "uipe.md").write_text(page(), encoding="utf-8")


def page():
    """The page, from the folders that are there."""
    parts = [HEAD]
    for name, title in (("forget01", "Trade-off on TOFU forget01"), ("forget05", "Trade-off on TOFU forget05")):
        if (RUNS / name / "trade-off.json").exists():
            write_trade_off(RUNS / name)
            text = (RUNS / name / "trade-off.md").read_text(encoding="utf-8")
            parts += [f"## {title}\n", _repeat(name), _picture(name, "trade-off.svg"), text]
    if (RUNS / "related" / "related-knowledge.json").exists():
        write_related_knowledge(RUNS / "related")
        parts += ["## Related knowledge\n", _repeat("related"), _related()]
    if (RUNS / "coefficient.json").exists():
        found = json.loads((RUNS / "coefficient.json").read_text(encoding="utf-8"))
        looks = [coefficient.looks(one) for one in found]
        parts += [
            "## The coefficient found by itself\n",
            f"`python -m bench.coefficient runs/methods/…`: the search of `alpha=auto` against a grid of "
            f"{len(found[0]['dense'])} places on the lines of runs behind [methods.md](methods.md), within the same "
            f"bounds: {_range(ours for ours, _ in looks)} looks against {_range(dense for _, dense in looks)}, "
            f"{_range(round(100 * ours / dense) for ours, dense in looks)} %. `forget` is the mean probability of the "
            "forget answers (20 rows of two persons), one model each: no interval over runs. Below 0 the search got "
            "farther than the grid, whose places are coarser.\n",
            coefficient.table(found) + "\n",
        ]
    return "\n".join(parts)


def _range(values):
    values = list(values)
    low, high = min(values), max(values)
    return f"{low}" if low == high else f"{low} to {high}"


def _repeat(name):
    manifest = json.loads((RUNS / name / "manifest.json").read_text(encoding="utf-8"))
    box, git = manifest["machine"], manifest["git"]
    return (
        f"    unsay {' '.join(COMMANDS[name])}\n\n{box['cpu']}, {box['cores']} cores, {manifest['precision']}, commit "
        f"{git['commit'][:10]}{' with changes' if git['dirty'] else ''}, {manifest['created'][:10]}.\n"
    )


def _picture(name, file):
    shutil.copyfile(RUNS / name / file, PICTURES / f"uipe-{name}-{Path(file).name}")
    return f"![{name}](images/uipe-{name}-{Path(file).name})\n"


def _related():
    """The experiment's own report, its headings one level down and its pictures beside the page."""
    lines = []
    for line in (RUNS / "related" / "related-knowledge.md").read_text(encoding="utf-8").splitlines():
        if line.startswith("# "):
            continue
        if line.startswith("!["):
            about, _, file = line[2:].rstrip(")").partition("](")
            shutil.copyfile(RUNS / "related" / file, PICTURES / f"uipe-related-{Path(file).name}")
            line = f"![{about}](images/uipe-related-{Path(file).name})"
        lines.append(f"#{line}" if line.startswith("#") else line)
    return "\n".join(lines).strip() + "\n"


if __name__ == "__main__":
    main()
