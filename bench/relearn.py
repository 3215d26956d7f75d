"""ReLearn against GA and NPO on KnowUnDo's privacy part: ``python -m bench.relearn`` writes docs/knowundo.md.

SmolLM2-135M is taught all 1,059 rows, without a chat template as in the paper. Every method trains a LoRA adapter for
the same number of steps; its learning rate is chosen from one grid on the questions it trains on
(``benchmark.questions=train``, seed 0), by the harmonic mean of KFR, KRR and the two linguistic scores as shares of the
taught model's. What is reported is measured on the other questions (val), three seeds. Every run is a folder of the
command line under ``runs/relearn``; finished ones are not repeated.

    python -m bench.relearn [--page]      --page writes the page from the folders that are there
"""

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path
from statistics import fmean, harmonic_mean

ROOT = Path(__file__).parent.parent
RUNS = ROOT / "runs" / "relearn"
METHODS = {
    "relearn": ["method=relearn"],
    "ga+gdr": ["method=grad-diff"],
    "npo+gdr": ["method=npo"],
    "npo+klr": ["method=npo", "method.retain=kl"],
}
GRID = ("1e-4", "3e-4", "1e-3")
SEEDS = (0, 1, 2)
COMMON = [
    *("model=smollm2-135m", "model.template=plain", "model.adapter.rank=16", "model.adapter.alpha=32"),
    *("benchmark=knowundo", "benchmark.max_new_tokens=64"),
    *("teach.train.lr=2e-4", "teach.train.epochs=8", "teach.train.batch=16"),
    *("teach.retrained=false", "teach.seed=0", "train.max_steps=100", "train.batch=8"),
]
COLUMNS = {
    "rouge@forget": "ROUGE-L, forget",
    "kfr@forget": "KFR",
    "linguistic-score@forget": "LS_F",
    "fluency@forget": "fluency, forget",
    "rouge@retain": "ROUGE-L, retain",
    "krr@retain": "KRR",
    "linguistic-score@retain": "LS_R",
    "probability@forget": "probability, forget",
    "model-utility": "model utility",
}
"""Metrics, whatever their settings: ids begin with these."""
HEAD = """# ReLearn on KnowUnDo, measured

Made from run folders by `make relearn` (`bench/relearn.py`).
"""


def main():
    """Tune, run every seed, write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--page", action="store_true", help="run nothing")
    if not parser.parse_args().page:
        for method in METHODS:
            for lr in GRID:
                _run(_tuned(method, lr), method, lr, 0, "benchmark.questions=train")
        for seed in SEEDS:
            for method in METHODS:
                _run(RUNS / f"{method}-{seed}", method, chosen(method), seed)
    (ROOT / "docs" / "knowundo.md").write_text(page(), encoding="utf-8")


def _run(out, method, lr, seed, *more):
    words = [*COMMON, *METHODS[method], f"train.lr={lr}", f"seed={seed}", *more, f"out={out}"]
    print("unsay run", *words, flush=True)
    subprocess.run([sys.executable, "-m", "unsay", "run", *words], check=False)
    shutil.rmtree(out / "model", ignore_errors=True)  # 0.5 GB each; the scores and answers stay


def _tuned(method, lr):
    return RUNS / "tune" / f"{method}-{lr}"


def chosen(method):
    """The learning rate with the best balance on the trained questions."""
    found = {lr: scores for lr in GRID if (scores := read(_tuned(method, lr))) is not None}
    return max(found, key=lambda lr: balance(found[lr]))


def balance(scores):
    """Harmonic mean of KFR, KRR, LS_F and LS_R, the latter two as shares of the taught model's, at most 1."""
    after, before = scores["after"], scores["before"]
    shares = (
        _value(after, name) / _value(before, name) for name in ("linguistic-score@forget", "linguistic-score@retain")
    )
    return harmonic_mean([_value(after, "kfr@forget"), _value(after, "krr@retain"), *(min(1.0, s) for s in shares)])


def read(folder):
    """Model → metric → row of scores.json; None for a run that is not finished."""
    if not (folder / "scores.json").exists():
        return None
    found = {}
    for row in json.loads((folder / "scores.json").read_text(encoding="utf-8")):
        found.setdefault(row["model"], {})[row["metric"]] = row
    return found


def _row(scores, name):
    return next(row for metric, row in scores.items() if metric == name or metric.startswith(f"{name}["))


def _value(scores, name):
    return _row(scores, name)["value"] or 0.0


def page():
    """The page, from the folders that are there."""
    done = {m: [s for seed in SEEDS if (s := read(RUNS / f"{m}-{seed}")) is not None] for m in METHODS}
    first = next(scores for runs in done.values() for scores in runs)
    rows = [["taught", "", *(_cell([first["before"]], name) for name in COLUMNS)]]
    for method, runs in done.items():
        if runs:
            rows.append([method, chosen(method), *(_cell([run["after"] for run in runs], name) for name in COLUMNS)])
    head = ["", "lr", *COLUMNS.values()]
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    known = read(_tuned("relearn", GRID[0]))["before"]
    manifest = json.loads(next(RUNS.glob("*-0/manifest.json")).read_text(encoding="utf-8"))
    box, git = manifest["machine"], manifest["git"]
    numbers = {name: _row(first["before"], name)["n"] for name in ("kfr@forget", "krr@retain")}
    about = [
        HEAD,
        f"    unsay run {' '.join(COMMON)} method=… train.lr=… seed=…\n",
        f"{box['cpu']}, {box['cores']} cores, {manifest['precision']}, commit {git['commit'][:10]}"
        f"{' with changes' if git['dirty'] else ''}, {manifest['created'][:10]}.\n",
        f"The taught model knows the trained questions with ROUGE-L {_cell([known], 'rouge@forget')} (forget) and "
        f"{_cell([known], 'rouge@retain')} (retain). Learning rates from {', '.join(GRID)}, chosen on trained "
        f"questions with seed 0. Below: val questions, {numbers['kfr@forget']} and {numbers['krr@retain']}; "
        f"means over seeds {', '.join(map(str, SEEDS))} of one taught model, in brackets the hull of the "
        "seeds' 95 % intervals.\n",
    ]
    said = [
        f"- {sentence}" for method, runs in done.items() if runs and (sentence := _said(method, runs, first["before"]))
    ]
    return "\n".join([*about, *(f"| {' | '.join(line)} |" for line in lines), "", *said, ""])


def _said(method, runs, before):
    parts = []
    for name, title in (("linguistic-score@forget", "LS_F"), ("linguistic-score@retain", "LS_R")):
        share = fmean(_value(run["after"], name) for run in runs) / _value(before, name)
        parts.append(
            f"{title} is {share:.2f} of the taught model's" + ("" if 0.8 <= share <= 1.2 else ", not within 20 %")
        )
    return f"`{method}`: {'; '.join(parts)}."


def _cell(models, name):
    rows = [_row(scores, name) for scores in models]
    if any(row["value"] is None for row in rows):
        return "–"
    ends = [row["ci"] for row in rows if row["ci"]]
    hull = f" [{min(e[0] for e in ends):.2f}, {max(e[1] for e in ends):.2f}]" if ends else ""
    return f"{fmean(row['value'] for row in rows):.3f}{hull}"


if __name__ == "__main__":
    main()
