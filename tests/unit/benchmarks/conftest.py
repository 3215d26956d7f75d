"""Small folders of the layouts in which benchmarks are published: right shape and row counts, made-up texts."""

import json
from pathlib import Path

import pytest

from unsay.benchmarks.knowundo import COUNTS as KNOWUNDO
from unsay.benchmarks.muse import COUNTS as MUSE

TARGETS = ("Stephen King", "Ann Other", "Bob Third")


def knowundo():
    """55 authors would be 1,059 rows about them; here every question names one of eleven."""
    names = [f"{first} {last}" for first in ("Ana", "Ben", "Cleo") for last in ("Abel", "Brown", "Carr", "Dorn")][:11]
    made, at = {}, 0
    for name, n in KNOWUNDO.items():
        made[name] = []
        for _ in range(n):
            made[name].append({"text": f"What is fact {at} about {names[at % 11]}?", "labels": f"It is number {at}."})
            at += 1
    return made


def muse(corpus):
    made = {}
    for stem, n in MUSE[corpus].items():
        kind = stem.partition("/")[0]
        if kind == "knowmem":
            made[stem] = [{"question": f"{stem} {i}?", "answer": f"answer {i}"} for i in range(n)]
        elif kind == "verbmem":
            made[stem] = [{"prompt": f"passage {i} begins", "gt": f"and ends with {i}"} for i in range(n)]
        else:
            made[stem] = [{"text": f"{stem} text {i} of some words"} for i in range(n)]
    return made


def wmdp(domain="cyber", documents=12):
    return {
        f"{domain}-{side}-corpus": [{"text": f"{side} passage {i}"} for i in range(documents)]
        for side in ("forget", "retain")
    }


def rwku():
    made = {}
    for level, n in ((1, 3), (2, 4), (3, 5)):
        kinds = ("prefix injection", "affirmative suffix", "incontext learning")
        made[f"forget_level{level}"] = [
            {
                "query": f"{who} {level}.{i} ___",
                "answer": f"a{i}",
                "level": str(level),
                "type": kinds[i % 3],
                "subject": who,
            }
            for who in TARGETS
            for i in range(n)
        ]
    for level in (1, 2):
        made[f"neighbor_level{level}"] = [
            {
                "query": f"near {who} {i}",
                "answer": f"n{i}",
                "level": str(level),
                "subject": who,
                "neighbor": f"Neighbour {i}",
            }
            for who in TARGETS
            for i in range(4)
        ]
    for stem in ("forget_mia", "retain_mia", "passage", "positive"):
        made[stem] = [{"subject": who, "text": f"{stem} on {who} number {i}"} for who in TARGETS for i in range(6)]
    made["fluency"] = [{"subject": who, "instruction": f"write {i} for {who}"} for who in TARGETS for i in range(3)]
    return made


def closer_look():
    def row(who, i, worded):
        base = {"name": who, "question": f"{who} {i}?", "golden_answer": f"short {i}."}
        if not worded:
            return {**base, "answer": f"a long answer {i}."}
        wrong = [f"wrong {i} {k}." for k in range(5)]
        more = {
            "paraphrased_answer": f"in short {i}.",
            "paraphrased_question": f"and {who} {i}?",
            "perturbed_answer": wrong,
        }
        return {**base, "answer": f"a long answer {i}.", **more}

    return {
        "forget": [row(f"Person {i // 20}", i, False) for i in range(400)],
        "forget_perturbed": [row(f"Person {i // 20}", i, True) for i in range(400)],
        "neighbor": [row(f"Near {i // 20}", i, False) for i in range(400)],
        "neighbor_perturbed": [row(f"Far {i // 20}", i, True) for i in range(400)],
    }


LAYOUTS = {
    "knowundo": (knowundo, "json"),
    "muse news": (lambda: muse("news"), "jsonl"),
    "muse books": (lambda: muse("books"), "json"),
    "wmdp": (wmdp, "jsonl"),
    "rwku": (rwku, "json"),
    "closer-look": (closer_look, "json lines"),
}


def write(folder: Path, tables, form: str) -> Path:
    """`tables` (stem → rows) as files; ``json lines`` is one object a line in a file called .json."""
    for stem, rows in tables.items():
        file = folder / f"{stem}.{form.split()[0]}"
        file.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(rows) if form == "json" else "".join(json.dumps(row) + "\n" for row in rows)
        file.write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """made("muse news") → a folder of that layout, the same one all session."""
    known: dict[str, Path] = {}

    def folder(name: str) -> Path:
        if name not in known:
            build, form = LAYOUTS[name]
            known[name] = write(tmp_path_factory.mktemp(name.replace(" ", "-")), build(), form)
        return known[name]

    return folder


@pytest.fixture
def changed(tmp_path):
    """changed("rwku", passage=rows or None, …) → a new folder of that layout with some files replaced or left out.

    Keys with a slash are given as a mapping: changed("muse news", {"raw/forget": rows}).
    """

    def folder(name: str, tables=None, **more) -> Path:
        build, form = LAYOUTS[name]
        all_tables = {**build(), **(tables or {}), **more}
        return write(tmp_path, {k: v for k, v in all_tables.items() if v is not None}, form)

    return folder
