"""What UniErase does, from run folders to docs/unierase.md: ``python -m bench.unierase [--page]``.

Runs and experiments go by the command line into ``runs/unierase``; finished ones are not repeated.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

from unsay.report.sequential import cell, rate_table, signs_table
from unsay.report.text import number, seconds

ROOT = Path(__file__).parent.parent
RUNS = ROOT / "runs" / "unierase"
METHODS = ("unierase", "npo", "idk-ap", "max-entropy")
SEEDS = (0, 1, 2)
"""Of the batch runs of unierase; the others are there to compare with, and run once."""
RATES = ",".join(
    f"{{name: token-rate, form: {form}, prompt: {prompt}, label: token-rate-{name}-{form}}}"
    for name, prompt in (("asked", "prompt"), ("paraphrased", "paraphrased_question"))
    for form in ("chat", "raw")
)
TOFU = ("tofu-smollm2", "benchmark.retain_limit=30", "benchmark.max_new_tokens=64")


def _attacked(*off):
    """What batch runs measure besides their benchmark: signs of knowledge, token rates on and off target, attacks."""
    off_target = ",".join(f"{{name: token-rate, split: {split}}}" for split in off)
    return (f"metrics=[forgetting-effect,{RATES},{off_target}]", "attacks=[token-suppressed,prefill]")


_PEOPLE = _attacked("retain", "holdout", "world")
_AUTHORS = _attacked("retain", "holdout", "real-authors", "world-facts")
_EDIT = ("method=unierase", "method.raw=true", "method.keep_tokens=5000", "method.value.steps=12")
BATCHES = {
    "people": {
        **{
            f"unierase-{s}": ["people-small/unierase", "method.raw=true", f"seed={s}", "teach.seed=0", *_PEOPLE]
            for s in SEEDS
        },
        **{name: [f"people-small/{name}", *_PEOPLE] for name in METHODS[1:]},
    },
    "tofu": {
        **{f"unierase-{s}": [*TOFU, *_EDIT, f"seed={s}", "teach.seed=0", *_AUTHORS] for s in SEEDS},
        "npo": [*TOFU, *_AUTHORS],
    },
}
"""Benchmark → name of the run → its words."""
COMMANDS = {
    **{f"{place}-{name}": ["run", *words] for place, runs in BATCHES.items() for name, words in runs.items()},
    "sequential": ["bench", "sequential", *TOFU, "--methods", ",".join(METHODS)],
    "precise": ["bench", "precise", *TOFU, "--methods", ",".join(METHODS), "--rows", "4"],
}
HEAD = """# UniErase, measured

What `unierase` (arXiv:2505.15674) does on SmolLM2-135M-Instruct beside methods that train, in three settings: all rows
at once (batch), request after request (sequential), one row at a time (precise). Everything here is made from run
folders by `make unierase`. The forgetting effect is 1 − the mean of five signs of knowledge; a broken model has none of
them, either, so read utility beside it.
"""


def main():
    """Run what is not there yet, then write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--page", action="store_true", help="only write the page from the folders that are there")
    if not parser.parse_args().page:
        for name, words in COMMANDS.items():
            subprocess.run([sys.executable, "-m", "unsay", *words, f"out={RUNS / name}"], check=False)
    (ROOT / "docs" / "unierase.md").write_text(page(RUNS), encoding="utf-8")


def page(runs):
    """The page, from the folders that are there."""
    parts = [HEAD]
    for place, title in (("people", "people-small, 20 rows of two persons"), ("tofu", "TOFU forget01, 40 rows")):
        runs_here = {name: runs / f"{place}-{name}" for name in BATCHES[place]}
        batch = {name: found for name, folder in runs_here.items() if (found := _read(folder)) is not None}
        if batch:
            parts += [f"## Batch: {title}\n", _about(runs_here[next(iter(batch))]), _batch(batch)]
            scores = {"before": next(iter(batch.values()))["scores"]["before"]}
            scores |= {name: found["scores"]["after"] for name, found in batch.items()}
            parts += [_table(signs_table(scores)), *(_table(table) for table in [rate_table(scores)] if table)]
    for name, title in (("sequential", "Sequential: TOFU forget01"), ("precise", "Precise: TOFU forget01")):
        if (runs / name / f"{name}.md").exists():
            lines = (runs / name / f"{name}.md").read_text(encoding="utf-8").splitlines()
            text = [line for line in lines if not line.startswith(("# ", "## ", "!["))]
            parts += [f"## {title}\n", _about(runs / name), "\n".join(text).strip() + "\n"]
    return "\n".join(parts)


def _batch(batch):
    """Forgetting, utility, cost, and what comes back under attacks that aim at the first token."""
    heads = ["", "probability, forget", "model utility", "unlearning", "weights changed"]
    heads += ["tokens banned: probability", "prefilled: extraction strength"]
    first = next(iter(batch.values()))["scores"]["before"]
    lines = [["before", cell(first, "probability@forget"), cell(first, "model-utility"), "", "", "", ""]]
    for name, found in batch.items():
        after = found["scores"]["after"]
        changed = f"{100 * found['edit']['changed_share']:.2f} %" if found["edit"] else ""
        line = [f"`{name}`", cell(after, "probability@forget"), cell(after, "model-utility"), seconds(found["seconds"])]
        banned = _worst(found["attacks"], "token-suppressed", "probability@forget")
        begun = _worst(found["attacks"], "prefill", "extraction-strength@forget")
        lines.append([*line, changed, number(banned), number(begun)])
    return _grid(heads, lines)


def _read(folder):
    if not (folder / "attacks.json").exists():
        return None
    scores = {}
    for row in json.loads((folder / "scores.json").read_text(encoding="utf-8")):
        scores.setdefault(row["model"], {})[row["metric"]] = row
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    edit = folder / "edit" / "edit.json"
    return {
        "scores": scores,
        "attacks": json.loads((folder / "attacks.json").read_text(encoding="utf-8")),
        "edit": json.loads(edit.read_text(encoding="utf-8")) if edit.exists() else None,
        "seconds": sum(stage["seconds"] for stage in manifest["stages"] if stage["name"] == "unlearn"),
    }


def _worst(attacks, name, metric):
    """The most that an attack brought back of the unlearned model's knowledge, or None."""
    points = [p for a in attacks if a["attack"] == name for p in a.get("points", ()) if p["target"] == "after"]
    return max((p["value"] for p in points if p["metric"] == metric and p["value"] is not None), default=None)


def _about(folder):
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    box, git = manifest["machine"], manifest["git"]
    commit = git["commit"][:10] + (" with changes" if git["dirty"] else "")
    return (
        f"    unsay {' '.join(COMMANDS[folder.name])}\n\n"
        f"{box['cpu']}, {box['cores']} cores, commit {commit}, {manifest['created'][:10]}.\n"
    )


def _table(table):
    return f"*{table.caption}*\n\n{_grid(table.header, table.rows)}"


def _grid(heads, lines):
    rule = ["---", *["---:"] * (len(heads) - 1)]
    return "\n".join(f"| {' | '.join(line)} |" for line in (heads, rule, *lines)) + "\n"


if __name__ == "__main__":
    main()
