"""The pages of sequential and precise from files alone, broken models and missing numbers included."""

import json

from unsay.report.precise import write_precise
from unsay.report.sequential import write_sequential

BROKEN = {"collapsed": "NaN"}
EFFECT = {"extra": {"rouge": 0.5}, "note": "without cosine", "n": 2, "ci": [0.1, 0.3]}


def scores(effect, utility, **more):
    splits = ("forget", "subject", "request-1", "request-2")
    found = {f"forgetting-effect@{split}": EFFECT | {"value": effect} for split in splits}
    found |= {"model-utility": {"value": utility, "ci": None, "n": 7, "note": "", "extra": {}}}
    return found | {name.replace("_", "-") + "@retain": {"value": value, "ci": None} for name, value in more.items()}


def leaks(value):
    return {label: {"value": value, "ci": [0.1, 0.3], "n": 2} for label in ("asked", "banned", "own")}


def step(number, *, seconds=2.0, **more):
    return {"request": number, "seconds": seconds, **more}


def test_requests_with_and_without_breaks(tmp_path):
    walks = [
        {
            "method": "whole",
            "steps": [
                step(1, scores=scores(0.6, 0.5)),
                step(2, changed_share=0.0329, scores=scores(0.5, 0.4), leaks=leaks(0.125)),
            ],
            "batch": {"seconds": 70.0, "scores": scores(0.7, 0.1, token_rate=0.25), "leaks": leaks(0.375)},
        },
        {"method": "late", "steps": [step(1, scores=scores(0.6, 0.5)), BROKEN | {"request": 2}], "batch": BROKEN},
        {"method": "early", "steps": [BROKEN | {"request": 1}], "batch": BROKEN},
    ]
    found = {"requests": 2, "rows": 3, "utility": "model-utility", "before": scores(0.2, 0.5), "walks": walks}
    found |= {"leaks": leaks(0.75), "entities": 4, "without_subject": 3}
    (tmp_path / "sequential.json").write_text(json.dumps(found))
    assert write_sequential(tmp_path).name == "sequential.html"
    page = (tmp_path / "sequential.md").read_text()
    # 0.6 → 0.5 from 0.2: three quarters of what was gained are left
    assert "`whole`: after 2 requests, 0.750 of the first one's forgetting is left, and × 0.800 of the utility." in page
    assert "`late`: after 1 request, where the model broke (of 2), 1.000" in page
    assert "`early` broke the model at its first request." in page
    assert "| late, one after another (of 1) |" in page and "| late, batch" not in page and "| early," not in page
    assert "| whole, batch | 0.700 [0.10, 0.30] |  |  | 0.700 [0.10, 0.30] | – | × 0.200 | 1 min 10 s |  |" in page
    assert "3.29 %" in page and "without cosine" in page
    assert "| whole, batch | 0.250 |" in page, "the rate of the token, where there is one"
    assert "about 4 entities, and 3 of 6 (50 %) name no subject" in page
    assert "| | asked | tokens banned | begun in its own words |" in page.replace("|  |", "| |")
    for name, level in (("before", "0.750"), ("whole, one after another", "0.125"), ("whole, batch", "0.375")):
        assert f"| {name} | {level} [0.10, 0.30] | {level} [0.10, 0.30] | {level} [0.10, 0.30] |" in page
    found["before"] = scores(0.2, 0.0)
    (tmp_path / "sequential.json").write_text(json.dumps(found))
    write_sequential(tmp_path)
    assert "× – of the utility" in (tmp_path / "sequential.md").read_text()


def test_rows_with_and_without_breaks(tmp_path):
    known = (("a", 1, 0.5), ("b", 2, 0.4), ("c", 1, 0.0))
    rows = [{"id": name, "subject": number, "before": scores(0.1, left)} for name, number, left in known]
    rows = [row | {"leaks": leaks(0.75)} for row in rows]
    del rows[0]["leaks"]["own"]  # its answer begins with what it tells
    walks = [
        {
            "method": "whole",
            "trials": [step(0, changed_share=0.02, scores=scores(0.5, 0.25), leaks=leaks(0.5)) for _ in rows],
        },
        {"method": "torn", "trials": [BROKEN, step(0, scores=scores(0.1, 0.4)), BROKEN]},
        {"method": "broken", "trials": [BROKEN] * 3},
    ]
    found = {"utility": "model-utility", "rows": rows, "walks": walks, "entities": 2, "without_subject": 1}
    (tmp_path / "precise.json").write_text(json.dumps(found))
    write_precise(tmp_path)
    page = (tmp_path / "precise.md").read_text()
    assert "`whole`: the forgetting effect of the row rises by 0.400" in page and "(over-forgetting 1.000)" in page
    assert "(over-forgetting –)" in page, "nothing was gained on the row"
    assert "`broken` broke the model on every row." in page and "| broken" not in page
    assert "| torn (2 broke) |" in page
    assert "3 rows of 2 subjects" in page
    assert "about 2 entities, and 1 of 3 (33 %) name no subject" in page
    leaking = page.partition("first token cannot stand in their way")[2].splitlines()
    heads, before, whole = (next(line for line in leaking if line.startswith(name)) for name in ("|  |", "| b", "| w"))
    assert heads == "|  | asked | tokens banned | begun in its own words |"
    assert before.count("0.750") == 3 and whole.count("0.500") == 3
    assert not any(line.startswith("| torn") for line in leaking[:6]), "measured by an earlier version"
    line = next(line for line in page.splitlines() if line.startswith("| whole"))
    assert "0.562" in line and "2.00 %" in line, "the share of utility leaves out the row where there was none"
