"""From made-up measurements to verdicts: what is flagged, what is not, and what stays open without controls."""

import numpy as np
import pytest

from unsay.audit.excess import controls_of
from unsay.audit.verdict import conclude

IDS = [f"r{i}" for i in range(40)]
ENTITIES = {i: f"e{n % 20}" for n, i in enumerate(IDS)}
METRIC = "probability@forget"
KNOWN, GONE = 0.8, 0.1


def values(rng, level, spread=0.03):
    return {i: float(np.clip(level + rng.normal(0, spread), 0, 1)) for i in IDS}


def point(rng, level, label="four", at=4.0, kind="weights"):
    found = {METRIC: values(rng, level)}
    said = [{"id": "r0", "prompt": "Ask?", "text": "Told."}]
    return {"label": label, "at": at, "kind": kind, "values": found, "said": said, "seed": 0}


def record(base, attacked, *, axis="bits", from_run=True, attack="made-up"):
    """`base` and `attacked`: tag → level, or a list of levels with one point each."""
    rng = np.random.default_rng(7)
    every = {tag: levels if isinstance(levels, list) else [levels] for tag, levels in attacked.items()}
    runs = {
        tag: {
            "axis": axis,
            "points": [
                point(rng, level, f"p{k}", 1.0 + k, "questions" if axis.startswith("number") else "weights")
                for k, level in enumerate(levels)
            ],
        }
        for tag, levels in every.items()
    }
    return {
        **{"profile": "quick", "target": "model", "from_run": from_run, "entities": ENTITIES, "refused": {}},
        **{"members": IDS, "others": [], "membership": {}},
        "models": {tag: {"origin": tag, "fingerprint": tag} for tag in base},
        "base": {tag: {METRIC: values(rng, level)} for tag, level in base.items()},
        "attacks": [{"attack": attack, "kind": attack, "settings": {}, "given": "nothing", "runs": runs}],
    }


def attacked(found, attack="made-up"):
    return [row for row in found["rows"] if row["attack"] == attack]


def as_it_is(found):
    return next(row for row in found["rows"] if row["attack"] == "none")


def test_an_untouched_model_is_flagged_and_a_retrained_one_is_not():
    models = {"after": KNOWN, "before": KNOWN, "retrained": GONE}
    found = conclude(record(models, models))
    row = as_it_is(found)
    assert found["status"] == row["status"] == "leak" and row["share"] == pytest.approx(1, abs=0.05)
    assert row["primary"] and row["p_holm"] == row["p"] == pytest.approx(1e-4)
    assert found["relative"]["p"] > 0.9
    good = {**models, "after": GONE}
    found = conclude(record(good, good))
    assert {row["status"] for row in found["rows"]} == {"none"} and found["status"] == "clear"
    assert found["relative"]["p"] < 0.01 and found["grade"] == "A"


def test_what_comes_back_is_a_leak_though_nothing_shows_without_the_attack():
    base = {"after": GONE, "before": KNOWN, "retrained": GONE}
    found = conclude(record(base, {**base, "after": 0.5}))
    assert as_it_is(found)["status"] == "none"
    row = attacked(found)[0]
    assert row["status"] == "leak" and found["rows"][0] is row
    assert row["excess"] == pytest.approx(0.4, abs=0.03) and row["share"] == pytest.approx(0.4 / 0.7, abs=0.05)
    assert row["ci"][0] < row["excess"] < row["ci"][1] and (row["n"], row["clusters"]) == (40, 20)
    assert len(row["entities"]) == 20


def test_a_model_pushed_too_low_that_comes_back_to_the_control_is_no_leak():
    base = {"after": 0.0, "before": KNOWN, "retrained": 0.3}
    row = attacked(conclude(record(base, {**base, "after": 0.3})))[0]
    assert row["excess"] > row["margin"] and row["ci"][0] > 0 and row["status"] == "none"
    assert attacked(conclude(record(base, {**base, "after": 0.5})))[0]["status"] == "leak"


def test_what_was_left_and_what_the_attack_adds_count_together():
    base = {"after": GONE + 0.05, "before": KNOWN, "retrained": GONE}
    found = conclude(record(base, {**base, "after": GONE + 0.1}))
    row = attacked(found)[0]
    assert as_it_is(found)["status"] == "none" and row["excess"] < row["margin"]
    assert row["status"] == found["status"] == "leak" and row["recovered"] == pytest.approx(0.1 / 0.7, abs=0.02)
    assert row["recovered_ci"][0] < row["recovered"] < row["recovered_ci"][1]
    assert attacked(conclude(record(base, {**base, "after": GONE + 0.065})))[0]["status"] == "none"


def test_what_comes_back_in_the_control_as_well_is_none():
    base = {"after": GONE, "before": KNOWN, "retrained": GONE}
    row = attacked(conclude(record(base, {"after": 0.3, "before": KNOWN, "retrained": 0.3})))[0]
    assert row["status"] == "none" and row["verdict"] == "equivalent"


@pytest.mark.parametrize(
    ("levels", "why"),
    [
        ({"after": 0.1, "before": 0.15, "retrained": 0.1}, "does not find"),
        ({"after": 0.7, "before": 0.75, "retrained": 0.7}, "teaches rather than finds"),
    ],
)
def test_an_attack_that_tells_nobody_apart_decides_nothing(levels, why):
    base = {"after": GONE, "before": KNOWN, "retrained": GONE}
    row = attacked(conclude(record(base, levels)))[0]
    assert row["status"] == "inconclusive" and why in row["why"]
    found = conclude(record(base, levels))
    assert as_it_is(found)["status"] == "none" and found["status"] == "partly", "inconclusive is no pass"


def test_without_controls_nothing_is_decided():
    alone = conclude(record({"after": KNOWN}, {"after": KNOWN}, from_run=False))
    assert alone["grade"] == "C" and alone["status"] == "open"
    assert {row["status"] for row in alone["rows"]} == {"inconclusive"}
    no_before = {"after": KNOWN, "retrained": GONE}
    found = conclude(record(no_before, no_before))
    assert found["grade"] == "B" and {row["status"] for row in found["rows"]} == {"inconclusive"}
    assert as_it_is(found)["excess"] == pytest.approx(0.7, abs=0.05)  # said, but it is no verdict


def test_a_control_that_the_attack_broke_decides_nothing():
    base = {"after": GONE, "before": KNOWN, "retrained": GONE}
    made = record(base, base)
    made["attacks"][0]["runs"]["retrained"]["points"][0]["values"] = {METRIC: {}}
    row = attacked(conclude(made))[0]
    assert row["status"] == "inconclusive" and row["why"] == "the control gave no number"
    made["attacks"][0]["runs"]["retrained"]["points"][0]["values"] = {METRIC: {"other": 1.0}}
    assert "no row" in attacked(conclude(made))[0]["why"]


def test_grades():
    models = {"after": GONE, "before": KNOWN, "retrained": GONE}
    assert conclude(record(models, models))["grade"] == "A"
    assert conclude(record(models, models, from_run=False))["grade"] == "B"
    assert conclude({**record(models, models), "replaced": ["after"]})["grade"] == "A"
    found = conclude({**record(models, models), "replaced": ["before"]})
    assert found["grade"] == "B" and "another before model" in found["grade_reason"]
    base = {"after": GONE, "before": KNOWN, "base": GONE}
    found = conclude(record(base, base))
    assert found["grade"] == "B" and "base model" in found["grade_reason"] and found["status"] == "clear"
    assert controls_of(["after", "base", "retrained-2"]) == ["retrained-2"]


def test_forgetting_too_much_is_a_failure_too():
    models = {"after": 0.0, "before": KNOWN, "retrained": 0.3}
    found = conclude(record(models, models))
    assert as_it_is(found)["status"] == "over" and found["status"] == "over"
    assert attacked(found)[0]["status"] == "none"  # the attack changed nothing


def test_the_largest_of_several_questionings_counts_on_every_model_alike():
    base = {"after": GONE, "before": KNOWN, "retrained": GONE}
    levels = {"after": [0.1] * 8, "before": [0.7] * 8, "retrained": [0.1] * 8}
    rows = attacked(conclude(record(base, levels, axis="number of the template")))
    assert len(rows) == 1 and rows[0]["count"] == 8 and rows[0]["label"] == "largest of 8"
    # Both rise by chance alone; against the control nothing is left.
    assert rows[0]["levels"]["after"] > 0.13 and rows[0]["status"] == "none"
    assert len(attacked(conclude(record(base, levels)))) == 8  # strengths have a row each


def test_other_answers_are_compared_with_the_control_alone_and_hide_nothing():
    base = {"after": GONE, "before": KNOWN, "retrained": GONE}
    made = record(base, {**base, "after": [0.5, 0.4], "before": [0.5, KNOWN], "retrained": [0.5, GONE]}, axis="number")
    for run in made["attacks"][0]["runs"].values():
        run["points"][0]["other"] = True
    rows = {row["label"]: row for row in attacked(conclude(made))}
    assert rows["p1"]["status"] == "leak" and rows["p1"]["excess"] == pytest.approx(0.3, abs=0.03)
    assert rows["p0"]["status"] == "inconclusive" and rows["p0"]["of_the_control_alone"]


def test_what_is_read_in_two_ways_at_one_place_has_two_rows():
    base = {"after": GONE, "before": KNOWN, "retrained": GONE}
    made = record(base, {"after": [0.1, 0.5], "before": [0.8, 0.8], "retrained": [0.1, 0.1]})
    for run in made["attacks"][0]["runs"].values():
        run["axis"] = "k answers drawn, probability"
        for one in run["points"]:
            one.update(kind="inside", at=1.0)
    assert {row["label"]: row["status"] for row in attacked(conclude(made))} == {"p0": "none", "p1": "leak"}


def test_models_of_one_strength_are_taken_together():
    base = {"after": GONE, "before": KNOWN, "retrained": GONE}
    made = record(base, {**base, "after": [0.3, 0.1, 0.1], "before": [0.8] * 3, "retrained": [0.1] * 3})
    for run in made["attacks"][0]["runs"].values():
        run["points"][1]["at"] = run["points"][0]["at"]
    rows = {row["label"]: row for row in attacked(conclude(made))}
    assert set(rows) == {"bits 1, largest of 2", "p2"}
    assert rows["bits 1, largest of 2"]["status"] == "leak" and rows["p2"]["status"] == "none"


def test_states_that_are_patched_are_averaged_over_layers():
    base = {"after": GONE, "before": KNOWN, "retrained": GONE}
    made = record(base, {"after": [-1, -3], "before": [0, 0], "retrained": [-2, -6]})
    for run in made["attacks"][0]["runs"].values():
        run["axis"] = "layer, log-probability kept (nats)"
        for one in run["points"]:
            one["kind"] = "inside"
    for tag, levels in {"after": (-1, -3), "before": (0, 0), "retrained": (-2, -6)}.items():
        for one, level in zip(made["attacks"][0]["runs"][tag]["points"], levels, strict=True):
            one["values"] = {"reading": dict.fromkeys(IDS, float(level))}
    row = attacked(conclude(made))[0]
    assert (row["label"], row["unit"]) == ("mean of 2", "log-probability kept (nats)")
    assert row["share"] == pytest.approx(0.5) and row["status"] == "leak"  # 1 − UDS


def test_a_control_that_others_differ_from_as_much_takes_the_leak_back():
    models = {"after": 0.3, "before": KNOWN, "retrained": 0.05, "retrained-2": 0.35, "retrained-3": 0.1}
    row = as_it_is(conclude(record(models, models)))
    assert row["excess"] >= row["margin"] and row["ci"][0] > 0
    assert row["status"] == "undecided" and max(row["band"]) > row["excess"]
    alike = {"after": KNOWN, "before": KNOWN, "retrained": 0.1, "retrained-2": 0.12, "retrained-3": 0.15}
    found = conclude(record(alike, alike))
    assert as_it_is(found)["status"] == "leak" and found["relative"]["band"]["z"] > 3


def test_few_entities_are_no_population():
    few = record({"after": KNOWN, "before": KNOWN, "retrained": GONE}, {})
    few["entities"] = {i: f"e{n % 3}" for n, i in enumerate(IDS)}
    row = as_it_is(conclude(few))
    assert row["clusters"] == 3 and "no population inference" in row["note"]
    assert row["p"] == 0.25 and len(row["entities"]) == 3  # exact: two of eight sign patterns


def test_seeds_are_averaged_and_unattacked_points_are_starts():
    rng = np.random.default_rng(0)
    base = {"after": GONE, "before": KNOWN, "retrained": GONE}
    made = record(base, {})
    half = IDS[:20]

    def seeded(level, seed):
        points = [point(rng, level, "step-0", 0, "questions"), point(rng, level + 0.1 * seed, "step-2", 2)]
        for one in points:
            one["values"] = {METRIC: {i: one["values"][METRIC][i] for i in half}}
        return [{**one, "seed": seed} for one in points]

    runs = {t: {"axis": "steps", "points": seeded(v, 0) + seeded(v, 1)} for t, v in {**base, "after": 0.5}.items()}
    made["attacks"] = [{"attack": "relearn", "kind": "relearn", "settings": {}, "given": "", "runs": runs}]
    rows = attacked(conclude(made), "relearn")
    assert [row["label"] for row in rows] == ["step-2"] and rows[0]["n"] == 20
    assert rows[0]["excess"] == pytest.approx(0.4, abs=0.03)


def test_membership_is_compared_with_the_control():
    rng = np.random.default_rng(1)
    models = {"after": KNOWN, "before": KNOWN, "retrained": GONE}
    made = record(models, {})
    made["others"] = [f"o{i}" for i in range(40)]
    made["membership"] = {
        tag: {
            "loss-attack@forget": {
                i: rng.normal(3 * (i in IDS and tag != "retrained"), 1) for i in IDS + made["others"]
            }
        }
        for tag in models
    }
    row = next(r for r in conclude(made)["rows"] if r["kind"] == "membership")
    for by in made["membership"].values():
        by |= {f"{name}@forget": by["loss-attack@forget"] for name in ("zlib", "min-k", "min-k-pp")}
    wider = next(r for r in conclude(made)["rows"] if r["kind"] == "membership")
    assert wider["ci"][0] < row["ci"][0] < row["ci"][1] < wider["ci"][1], "four signals would each do for a verdict"
    assert row["status"] == "leak" and row["levels"]["after"] > 0.9 and row["share"] == pytest.approx(1, abs=0.1)
    assert row["share_ci"][0] < row["share"] < row["share_ci"][1]


def test_no_answer_came_out_is_never_zero():
    made = record({"after": GONE, "before": KNOWN, "retrained": GONE}, {})
    for by in made["base"].values():
        by["extraction-strength@forget"] = dict.fromkeys(IDS, 0.0)
    row = next(r for r in conclude(made)["rows"] if r["metric"] == "extraction-strength@forget")
    assert row["whole"]["seen"] == 0 and row["whole"]["upper"] == pytest.approx(1 - 0.05 ** (1 / 20))
    assert row["status"] == "inconclusive" and "nothing to find" in row["why"]


def test_what_was_not_tested_is_listed():
    made = record({"after": GONE}, {})
    made["refused"] = {"multi-hop": "the rows have no schema"}
    names = {one["name"]: one["why"] for one in conclude(made)["not_tested"]}
    assert names["multi-hop"] == "the rows have no schema"
    assert "standard" in names["full-relearn"] and "full" in names["pruning"] and "membership inference" in names
    assert names["removal"] == names["quantisation"] == "other attacks were asked for"
    chosen = record({"after": GONE}, {"after": GONE}, attack="full-relearn")
    assert "full-relearn" not in {one["name"] for one in conclude(chosen)["not_tested"]}


def test_true_retrains_are_rarely_flagged():
    """Pure chance between two models that never saw the rows, under five attacks and four tests of membership."""
    flagged = 0
    others = [f"o{i}" for i in range(40)]
    for seed in range(60):
        rng = np.random.default_rng(seed)
        levels = {"after": 0.3, "before": 0.7, "retrained": 0.3}
        made = record({"after": GONE, "before": KNOWN, "retrained": GONE}, {})
        made["others"] = others
        own = {tag: values(rng, level, 0.2) for tag, level in levels.items()}
        made["base"] = {tag: {METRIC: own[tag]} for tag in levels}
        made["attacks"] = [
            {
                **{"attack": f"a{k}", "kind": "a", "settings": {}, "given": ""},
                "runs": {tag: {"axis": "bits", "points": [noisy(rng, own[tag])]} for tag in levels},
            }
            for k in range(5)
        ]
        shared = {tag: {i: rng.normal(i in IDS and tag == "before", 1) for i in IDS + others} for tag in levels}
        made["membership"] = {
            tag: {f"m{k}": {i: x + rng.normal(0, 0.3) for i, x in by.items()} for k in range(4)}
            for tag, by in shared.items()
        }
        flagged += conclude(made)["status"] == "leak"
    assert flagged <= 3


def noisy(rng, by):
    found = {METRIC: {i: float(np.clip(value + rng.normal(0, 0.05), 0, 1)) for i, value in by.items()}}
    return {"label": "four", "at": 4.0, "kind": "weights", "values": found, "said": [], "seed": 0}
