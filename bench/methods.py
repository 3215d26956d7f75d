"""Every method on one benchmark from its shipped preset: ``python -m bench.methods`` writes docs/methods.md.

Each preset ``people-small/<method>`` is run by the command line in a process of its own, so that its peak memory is its
own, into ``runs/methods/<method>``; the page is made from these folders alone. A finished run is not repeated.

    python -m bench.methods [--only npo,undial] [--page]      --page writes the page from the folders that are there
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

from unsay import registry
from unsay.config import presets
from unsay.config.decode import encode, flatten
from unsay.config.yaml12 import load_file

ROOT = Path(__file__).parent.parent
RUNS = ROOT / "runs" / "methods"
BENCHMARK = "people-small"
COLUMNS = {
    "probability@forget": "probability, forget",
    "extraction-strength@forget": "extraction strength, forget",
    "forget-quality@forget": "forget quality (p)",
    "probability@retain": "probability, retain",
    "model-utility": "model utility",
    "fluency@forget": "fluency, forget",
    "fluency@retain": "fluency, retain",
}
HEAD = """# Methods, measured

What each method does from its shipped preset: SmolLM2-135M-Instruct is taught the six people of `people-small`
(*before*) and has to forget two of them; *retrained* never saw those two. A forgetting score is best where it is like
the retrained model's: lower is over-forgetting. `share` is model utility as a share of before; below 0.9 it is in
**bold**. Intervals are 95 %, over examples (two entities are too few to speak of others). n = {forget} forget rows,
{utility} utility rows, one seed: differences smaller than the intervals mean nothing, and a preset is tuned to this
small benchmark, not to yours.

    make methods                              # every preset, in turn; this page
    unsay run {benchmark}/npo                 # one of them

{about}

`seconds` is the unlearning alone, `peak` the memory of its process then.
"""


def main() -> None:
    """Run what is asked for, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="methods, separated by commas")
    parser.add_argument("--page", action="store_true", help="run nothing")
    arguments = parser.parse_args()
    wanted = arguments.only.split(",") if arguments.only else names()
    for name in [] if arguments.page else wanted:
        command = ["run", f"{BENCHMARK}/{name}", f"out={RUNS / name}"]
        print("unsay", *command, flush=True)
        subprocess.run([sys.executable, "-c", "from unsay.cli.app import main; main()", *command], check=False)
    (ROOT / "docs" / "methods.md").write_text(page(), encoding="utf-8")


def names() -> list[str]:
    """The methods that have a preset."""
    return [name.partition("/")[2] for name in presets.names() if name.startswith(f"{BENCHMARK}/")]


def page() -> str:
    """The page, from the run folders."""
    runs = {name: found for name in names() if (found := _read(RUNS / name)) is not None}
    first = next(iter(runs.values()))
    manifest = first["manifest"]
    rows = [_cells(tag, first["scores"][tag], first["scores"]["before"]) for tag in ("before", "retrained")]
    for name, found in runs.items():
        cells = _cells(f"`{name}`", found["scores"]["after"], found["scores"]["before"])
        stages = [stage for stage in found["manifest"]["stages"] if stage["name"] == "unlearn"]
        rows.append([*cells, f"{stages[0]['seconds']:.0f}", f"{max(s['peak_bytes'] for s in stages) / 1e9:.1f} GB"])
    head = ["", *COLUMNS.values(), "share", "seconds", "peak"]
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *[[*row, *[""] * (len(head) - len(row))] for row in rows]]
    text = HEAD.format(
        benchmark=BENCHMARK,
        about=_about(manifest, {_commit(found["manifest"]["git"]) for found in runs.values()}),
        forget=first["scores"]["before"]["probability@forget"]["n"],
        utility=first["scores"]["before"]["model-utility"]["n"],
    )
    settings = [f"- `{name}`: {_settings(name)}" for name in runs]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return "\n".join(
        [
            text,
            table,
            "\n## Settings\n",
            "What each run changed of its method's defaults, and how it trained:\n",
            *settings,
            "",
        ]
    )


def _read(folder: Path) -> dict | None:
    if not (folder / "scores.json").exists():
        return None
    scores: dict[str, dict] = {}
    for row in json.loads((folder / "scores.json").read_text(encoding="utf-8")):
        scores.setdefault(row["model"], {})[row["metric"]] = row
    return {"scores": scores, "manifest": json.loads((folder / "manifest.json").read_text(encoding="utf-8"))}


def _cells(title: str, scores: dict, before: dict) -> list[str]:
    values = [_value(scores[metric]) for metric in COLUMNS]
    share = scores["model-utility"]["value"] / before["model-utility"]["value"]
    return [title, *values, f"{share:.2f}" if share >= 0.9 else f"**{share:.2f}**"]


def _value(row: dict) -> str:
    if row["value"] is None:
        return "–"
    text = f"{row['value']:.2g}" if row["value"] < 0.01 else f"{row['value']:.3f}"
    return text if row["ci"] is None else f"{text} [{row['ci'][0]:.2f}, {row['ci'][1]:.2f}]"


def _about(manifest: dict, commits: set[str]) -> str:
    box = manifest["machine"]
    return (
        f"{box['cpu']}, {box['cores']} cores, {box['memory_bytes'] / 2**30:.0f} GiB, {manifest['precision']}, "
        f"commit {', '.join(sorted(commits))}, {manifest['created'][:10]}."
    )


def _commit(git: dict) -> str:
    return git["commit"][:10] + (" with changes" if git["dirty"] else "")


def _settings(name: str) -> str:
    """What the run's plan changes of the method's defaults, and how it trained."""
    plan = load_file(RUNS / name / "plan.yaml")
    usual = flatten(encode(registry.load("methods", name)()))
    method = [f"method.{k}={v}" for k, v in flatten(plan["method"]).items() if usual.get(k) != v]
    return ", ".join([*method, *(f"train.{key}={plan['train'][key]:g}" for key in ("lr", "epochs", "batch"))])


if __name__ == "__main__":
    main()
