"""ReLearn against GA and NPO on KnowUnDo's privacy part: ``python -m bench.relearn`` writes docs/knowundo.md.

SmolLM2-135M is taught all 1,059 rows, without a chat template as in the paper. Every method trains a LoRA adapter for
the same number of steps of as many rows; its learning rate is chosen from one grid on the questions it trains on
(``benchmark.questions=train``, seed 0), by the harmonic mean of KFR, KRR and the two linguistic scores as shares of the
taught model's, and not chosen before the whole grid is there. What is reported is measured on the other questions
(val), three seeds. Every run is a folder of the command line under ``runs/relearn``; finished ones are not repeated,
unfinished ones are named on the page and make the exit code 1.

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
STEPS = 60
BATCH = 8
"""Forget rows a step, or those in their place; the retain rows come besides."""
COMMON = [
    *("model=smollm2-135m", "model.template=plain", "model.adapter.rank=16", "model.adapter.alpha=32"),
    *("benchmark=knowundo", "benchmark.max_new_tokens=64"),
    *("teach.train.lr=2e-4", "teach.train.epochs=8", "teach.train.batch=16"),
    *("teach.retrained=false", "teach.seed=0", f"train.max_steps={STEPS}", f"train.batch={BATCH}"),
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
                _run(tuned(RUNS, method, lr), tuning(method, lr))
        for seed in SEEDS:
            for method in METHODS:
                if lr := chosen(RUNS, method):
                    _run(RUNS / f"{method}-{seed}", words(method, lr, seed))
    (ROOT / "docs" / "knowundo.md").write_text(page(RUNS), encoding="utf-8")
    if left := unfinished(RUNS):
        sys.exit("not finished:\n" + "\n".join(left))


def words(method, lr, seed):
    """What a run is started with, but for its folder."""
    return [*COMMON, *METHODS[method], f"train.lr={lr}", f"seed={seed}"]


def tuning(method, lr):
    """The same for a run that the learning rate is chosen by."""
    return [*words(method, lr, 0), "benchmark.questions=train"]


def tuned(runs, method, lr):
    """Its folder."""
    return runs / "tune" / f"{method}-{lr}"


def _run(out, given):
    if read(out, given) is None:
        print("unsay run", *given, f"out={out}", flush=True)
        subprocess.run([sys.executable, "-m", "unsay", "run", *given, f"out={out}"], check=False)
    if read(out, given) is not None:
        shutil.rmtree(out / "model", ignore_errors=True)  # 0.5 GB each; the scores and answers stay


def read(folder, given):
    """Model → metric → row of scores.json; None unless the folder holds the finished run of these words."""
    about = _manifest(folder)
    command = [word for word in about.get("command", ()) if not word.startswith("out=")]
    if about.get("status") != "done" or command != ["unsay", "run", *given] or not (folder / "scores.json").exists():
        return None
    found = {}
    for row in json.loads((folder / "scores.json").read_text(encoding="utf-8")):
        found.setdefault(row["model"], {})[row["metric"]] = row
    return found


def _manifest(folder):
    path = folder / "manifest.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def chosen(runs, method):
    """The learning rate with the best balance on the trained questions; None while the grid has gaps."""
    found = {lr: read(tuned(runs, method, lr), tuning(method, lr)) for lr in GRID}
    if None in found.values():
        return None
    return max(found, key=lambda lr: balance(found[lr]))


def balance(scores):
    """Harmonic mean of KFR, KRR, LS_F and LS_R, the latter two as shares of the taught model's, at most 1."""
    after, before = scores["after"], scores["before"]
    shares = [
        _value(after, name) / _value(before, name) for name in ("linguistic-score@forget", "linguistic-score@retain")
    ]
    return harmonic_mean([_value(after, "kfr@forget"), _value(after, "krr@retain"), *(min(1.0, s) for s in shares)])


def unfinished(runs):
    """Every run that is missing or failed, with what it said."""
    wanted = {tuned(runs, method, lr): tuning(method, lr) for method in METHODS for lr in GRID}
    left = []
    for method in METHODS:
        lr = chosen(runs, method)
        if lr is None:
            left.append(f"{', '.join(f'{method}-{seed}' for seed in SEEDS)}: no learning rate before its grid is whole")
        else:
            wanted |= {runs / f"{method}-{seed}": words(method, lr, seed) for seed in SEEDS}
    for folder, given in wanted.items():
        if read(folder, given) is None:
            about = _manifest(folder)
            state = "another run is there" if about.get("status") == "done" else about.get("status", "nothing is there")
            left.append(f"{folder.relative_to(runs)}: {about.get('error') or state}")
    return left


def _row(scores, name):
    return next((row for metric, row in scores.items() if metric == name or metric.startswith(f"{name}[")), {})


def _value(scores, name):
    return _row(scores, name).get("value") or 0.0


def page(runs):
    """The page, from the folders that are there."""
    rates = {method: chosen(runs, method) for method in METHODS}
    done = {method: [] for method in METHODS}
    for method, lr in rates.items():
        for seed in SEEDS if lr else ():
            folder = runs / f"{method}-{seed}"
            scores = read(folder, words(method, lr, seed))
            done[method] += [(folder, scores)] if scores is not None else []
    parts = [HEAD]
    if any(done.values()):
        parts += [_about(runs, next(found[0] for found in done.values() if found)), _table(rates, done)]
    if left := unfinished(runs):
        parts.append("Not finished, and missing above:\n")
        parts.append("\n".join(f"- {line}" for line in left) + "\n")
    return "\n".join(parts)


def _about(runs, example):
    folder, scores = example
    manifest = _manifest(folder)
    box, git = manifest["machine"], manifest["git"]
    numbers = {name: _row(scores["before"], name)["n"] for name in ("kfr@forget", "krr@retain")}
    tunings = (read(tuned(runs, method, lr), tuning(method, lr)) for method in METHODS for lr in GRID)
    known = next(found["before"] for found in tunings if found is not None)
    return "\n".join(
        [
            f"    unsay run {' '.join(COMMON)} method=… train.lr=… seed=…\n",
            f"{box['cpu']}, {box['cores']} cores, {manifest['precision']}, commit {git['commit'][:10]}"
            f"{' with changes' if git['dirty'] else ''}, {manifest['created'][:10]}.\n",
            f"The taught model knows the trained questions with ROUGE-L {_cell([known], 'rouge@forget')} (forget) and "
            f"{_cell([known], 'rouge@retain')} (retain). Learning rates from {', '.join(GRID)}, chosen on trained "
            f"questions with seed 0. Below: val questions, {numbers['kfr@forget']} and {numbers['krr@retain']}; "
            f"means over seeds of one taught model ({', '.join(map(str, SEEDS))}), in brackets the hull of the seeds' "
            "95 % intervals.\n",
            f"Every method makes {STEPS} gradient steps of {BATCH} rows. Equal steps are not equal passes: ReLearn "
            "trains on ten rows in the place of each forget row, and on everyday rows, so that the same steps are a "
            "smaller part of what it has to learn.\n",
        ]
    )


def _table(rates, done):
    before = next(found[0][1]["before"] for found in done.values() if found)
    head = ["", "lr", "seeds", "rows", "passes", *COLUMNS.values()]
    rows = [["taught", "", "", "", "", *(_cell([before], name) for name in COLUMNS)]]
    said = []
    for method, found in done.items():
        line = [method, rates[method] or "–", f"{len(found)} of {len(SEEDS)}"]
        if not found:
            rows.append([*line, *["–"] * (2 + len(COLUMNS))])
            continue
        trained = _trained_rows(found[0][0])
        after = [scores["after"] for _, scores in found]
        line += [f"{trained:,}", f"{STEPS * BATCH / trained:.2f}"]
        rows.append([*line, *(_cell(after, name) for name in COLUMNS)])
        said.append(f"- {_said(method, after, before)}")
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join([*(f"| {' | '.join(line)} |" for line in lines), "", *said, ""])


def _trained_rows(folder):
    """Rows of one pass: the forget rows, or those in their place."""
    made = folder / "augmented.jsonl"
    file = made if made.exists() else folder / "data" / "forget.jsonl"
    return sum(bool(line) for line in file.read_text(encoding="utf-8").split("\n"))


def _said(method, after, before):
    parts = []
    for name, title in (("linguistic-score@forget", "LS_F"), ("linguistic-score@retain", "LS_R")):
        share = fmean(_value(scores, name) for scores in after) / _value(before, name)
        parts.append(
            f"{title} is {share:.2f} of the taught model's" + ("" if 0.8 <= share <= 1.2 else ", not within 20 %")
        )
    return f"`{method}`: {'; '.join(parts)}."


def _cell(models, name):
    rows = [_row(scores, name) for scores in models]
    if any(row.get("value") is None for row in rows):
        return "–"
    ends = [row["ci"] for row in rows if row["ci"]]
    hull = f" [{min(e[0] for e in ends):.2f}, {max(e[1] for e in ends):.2f}]" if ends else ""
    return f"{fmean(row['value'] for row in rows):.3f}{hull}"


if __name__ == "__main__":
    main()
