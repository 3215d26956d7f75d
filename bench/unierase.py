"""What UniErase does, from run folders to docs/unierase.md: ``python -m bench.unierase [--page]``.

Runs and experiments go by the command line into ``runs/unierase``; finished ones are not repeated. Those that did not
finish are named on the page, and make the exit code 1. All of it takes about 150 minutes of one core, once the models
before and retrained are taught (they are kept in the store): 12 for the batches on people-small, 40 for those on TOFU,
65 for the sequences, 35 for single rows.
"""

import argparse
import json
import shlex
import subprocess
import sys
from pathlib import Path
from statistics import fmean

from unsay.report.sequential import cell, rate_table, signs_table
from unsay.report.text import number, seconds

ROOT = Path(__file__).parent.parent
RUNS = ROOT / "runs" / "unierase"
METHODS = ("unierase", "npo", "idk-ap", "max-entropy")
SEEDS = (0, 1, 2)
"""Of unierase in batches and sequences; the others are there to compare with, and run once."""
TOFU = ("tofu-smollm2", "benchmark.retain_limit=30", "benchmark.max_new_tokens=64")
_ON_TARGET = [
    f"{{name: token-rate, form: {form}, prompt: {prompt}, label: token-rate-{name}-{form}}}"
    for name, prompt in (("asked", "prompt"), ("paraphrased", "paraphrased_question"))
    for form in ("chat", "raw")
]
_OFF_TARGET = [
    rate
    for split in ("retain", "holdout", "real-authors", "world-facts")
    for rate in (
        f"{{name: token-rate, split: {split}}}",
        f"{{name: token-rate, split: {split}, form: raw, label: token-rate-raw}}",
    )
]


def _measured(words, *rates):
    """What batch runs measure besides their benchmark: signs of knowledge in its generations, token rates, attacks."""
    signs = f"{{name: forgetting-effect, max_new_tokens: {words}}}"
    return (f"metrics=[{','.join([signs, *rates])}]", "attacks=[token-suppressed,prefill]")


_EDIT = ("method=unierase", "method.raw=true", *_measured(64, *_ON_TARGET, *_OFF_TARGET))
BATCHES = {
    "people": {
        **{f"unierase-{s}": ["people-small/unierase", f"seed={s}", "teach.seed=0"] for s in SEEDS},
        **{name: [f"people-small/{name}", *_measured(32)] for name in METHODS[1:]},
    },
    "tofu": {
        **{f"unierase-{s}": [*TOFU, *_EDIT, f"seed={s}", "teach.seed=0"] for s in SEEDS},
        "npo": [*TOFU, *_measured(64)],
    },
}
"""Benchmark → name of the run → its words."""


def _sequence(seed):
    """Ten requests on people-small; the other methods walk with the first seed alone."""
    presets = ",".join(f"people-small/{name}" for name in (METHODS if seed == SEEDS[0] else METHODS[:1]))
    return [
        *("bench", "sequential", "people-small/unierase", "--methods", presets),
        *("--requests", "10", "--rows-a-request", "2", f"seed={seed}", "teach.seed=0"),
    ]


COMMANDS = {
    **{f"{place}-{name}": ["run", *words] for place, runs in BATCHES.items() for name, words in runs.items()},
    **{f"sequential-{s}": _sequence(s) for s in SEEDS},
    "precise": ["bench", "precise", *TOFU, "--methods", ",".join(METHODS), "--rows", "4"],
}
PAGES = {
    **{f"sequential-{s}": f"Sequential: people-small, seed {s}" for s in SEEDS},
    "precise": "Precise: TOFU forget01, one seed",
}
"""Folder of an experiment → the title of its section."""
HEAD = """# UniErase, measured

What `unierase` (arXiv:2505.15674) does on SmolLM2-135M-Instruct beside methods that train, in three settings: all rows
at once (batch), request after request (sequential), one row at a time (precise). Everything here is made from run
folders by `make unierase`. The forgetting effect is 1 − the mean of five signs of knowledge; a broken model has none of
them, either, so read utility beside it. `unierase` has three seeds in batches and sequences, on one taught model; what
it is compared with has one. In a sequence every method keeps the settings of its preset, which were chosen for all rows
at once: a request of two rows is then few steps for a method that trains.
"""


def main():
    """Run what is not there yet, write the page; 1 when something did not finish."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--page", action="store_true", help="only write the page from the folders that are there")
    failed = {}
    if not parser.parse_args().page:
        for name, words in COMMANDS.items():
            done = subprocess.run([sys.executable, "-m", "unsay", *words, f"out={RUNS / name}"], check=False)
            if done.returncode:  # a folder that holds another plan says "done", too
                failed[name] = f"exit code {done.returncode}"
    missing = unfinished(RUNS) | failed
    (ROOT / "docs" / "unierase.md").write_text(page(RUNS, missing), encoding="utf-8")
    return 1 if missing else 0


def unfinished(runs):
    """Name → what became of it, of every command without a finished folder."""
    states = {}
    for name in COMMANDS:
        file = runs / name / "manifest.json"
        states[name] = json.loads(file.read_text(encoding="utf-8"))["status"] if file.exists() else "not begun"
    return {name: state for name, state in states.items() if state != "done"}


def page(runs, missing):
    """The page, from the folders that are there and what is `missing`."""
    parts = [HEAD]
    if missing:
        lines = "\n".join(f"- `{name}`: {state}" for name, state in missing.items())
        parts.append(f"**Not finished, and not below or only in part:**\n\n{lines}\n")
    for place, title in (("people", "people-small, 20 rows of two persons"), ("tofu", "TOFU forget01, 40 rows")):
        runs_here = {name: runs / f"{place}-{name}" for name in BATCHES[place]}
        batch = {name: found for name, folder in runs_here.items() if (found := _read(folder)) is not None}
        if batch:
            parts += [f"## Batch: {title}\n", _about(runs_here[next(iter(batch))]), _batch(batch), _carried(batch)]
            scores = {"before": next(iter(batch.values()))["scores"]["before"]}
            scores |= {name: found["scores"]["after"] for name, found in batch.items()}
            parts += [_table(signs_table(scores)), *(_table(table) for table in [rate_table(scores)] if table)]
    for folder, title in PAGES.items():
        file = runs / folder / f"{folder.partition('-')[0]}.md"
        if file.exists():
            lines = file.read_text(encoding="utf-8").splitlines()
            text = [line for line in lines if not line.startswith(("# ", "## ", "!["))]
            parts += [f"## {title}\n", _about(runs / folder), "\n".join(text).strip() + "\n"]
    return "\n".join(parts)


def _carried(batch):
    """Who carries the redirect: the edit, or the token's row that is trained on the forget questions after it."""
    heads = ["", "token first: by the edit", "learned again", "on retain", "never taught", "value's target"]
    heads += ["null space: directions", "their energy", "held out"]
    lines = []
    for name, found in batch.items():
        if found["token"] and "solves" in found["edit"]:
            edit, again = found["token"]["after_edit"], found["token"].get("after_again", found["token"]["after_edit"])
            rates = [edit["forget"], again["forget"], again.get("retain"), again.get("holdout")]
            solves = found["edit"]["solves"]
            means = (fmean(one.get(key, float("nan")) for one in solves) for key in _SOLVED)
            value = number(found["edit"]["first_token"]["with_values"])
            shown = ["–" if rate is None else f"{number(rate['rate'])} (n = {rate['n']})" for rate in rates]
            lines.append([f"`{name}`", *shown, value, *map(number, means)])
    caption = "How often the token comes first after the edit alone and after it was learned again, and how free it was"
    return f"*{caption} (means over the layers)*\n\n{_grid(heads, lines)}" if lines else ""


_SOLVED = ("rank", "energy", "energy_held_out")


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
    edit, token = (folder / "edit" / name for name in ("edit.json", "token.json"))
    return {
        "scores": scores,
        "attacks": json.loads((folder / "attacks.json").read_text(encoding="utf-8")),
        "edit": json.loads(edit.read_text(encoding="utf-8")) if edit.exists() else None,
        "token": json.loads(token.read_text(encoding="utf-8"))["first_token"] if token.exists() else None,
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
        f"    unsay {shlex.join(COMMANDS[folder.name])}\n\n"
        f"{box['cpu']}, {box['cores']} cores, commit {commit}, {manifest['created'][:10]}.\n"
    )


def _table(table):
    return f"*{table.caption}*\n\n{_grid(table.header, table.rows)}"


def _grid(heads, lines):
    rule = ["---", *["---:"] * (len(heads) - 1)]
    return "\n".join(f"| {' | '.join(line)} |" for line in (heads, rule, *lines)) + "\n"


if __name__ == "__main__":
    sys.exit(main())
