"""The verdict on run folders whose truth is known."""

import pytest

from unsay.report.folder import read_run
from unsay.report.verdict import judge


def numbers(metrics, n=200):
    """scores.json from {metric: {tag: value}} with intervals of ±.02."""
    return [
        {"model": tag, "metric": metric, "split": metric.partition("@")[2], "value": value, "n": n, "note": ""}
        | {"ci": None if value is None else [value - 0.02, value + 0.02]}
        for metric, by_tag in metrics.items()
        for tag, value in by_tag.items()
    ]


GOOD = {
    "probability@forget": {"before": 0.9, "after": 0.1, "retrained": 0.1},
    "model-utility": {"before": 0.8, "after": 0.78, "retrained": 0.8},
    "repetition@forget": {"before": 0.02, "after": 0.03, "retrained": 0.02},
    "loss-attack@forget": {"before": 0.9, "after": 0.5, "retrained": 0.49},
}


def bench(*metrics):
    kinds = {"probability@forget": ("down", "forget"), "model-utility": ("up", "utility")}
    kinds |= {"repetition@forget": ("down", "fluency"), "loss-attack@forget": ("match", "privacy")}
    kinds |= {"forget-quality@forget": ("up", "forget"), "truth-ratio@forget": ("match", "forget")}
    kinds |= {"forgotten-rows@forget": ("match", "forget"), "privleak@forget": ("match", "privacy")}
    kinds |= {m: ("up", "utility") if "@forget" in m else ("down", "forget") for m in metrics if "token-rate" in m}
    rows = [{"id": m, "title": m.partition("@")[0], "split": m.partition("@")[2]} for m in metrics]
    rows = [r | dict(zip(("wanted", "kind"), kinds[r["id"]], strict=True)) for r in rows]
    return {"name": "b", "cite": "", "headline": list(metrics), "metrics": rows}


@pytest.fixture
def verdict(run_folder):
    def made(changes=None, attacks=(), drop=(), samples=()):
        values = {m: dict(v) for m, v in GOOD.items()} | {m: GOOD.get(m, {}) | v for m, v in (changes or {}).items()}
        values = {m: {t: x for t, x in v.items() if t not in drop} for m, v in values.items()}
        folder = run_folder(
            scores=numbers(values), samples=list(samples), attacks=list(attacks), benchmark=bench(*values)
        )
        return judge(read_run(folder))

    return made


def curve(after, retrained=None, spread=0.02):
    ends = {"after": after, "retrained": retrained}
    points = [
        {"target": t, "at": 10, "label": "step-10", "metric": "probability@forget", "value": v, "n": 40}
        | {"ci": [v - spread, v + spread]}
        for t, v in ends.items()
        if v is not None
    ]
    return {"attack": "relearn", "axis": "steps", "points": points, "note": ""}


def by_status(found, status):
    return [f for f in found.findings if f.status == status]


def test_nothing_wrong(verdict):
    found = verdict(attacks=[curve(0.2, 0.19)])
    assert found.status == "good", found.findings
    assert "No leak and no damage found by these tests" in found.headline
    assert found.grade == "A"
    assert {f.status for f in found.findings} == {"good"}


def test_a_leak_is_sized_by_the_distance_to_retrained(verdict):
    found = verdict({"probability@forget": {"after": 0.5}})
    leak = by_status(found, "leak")[0]
    assert leak.size == pytest.approx(0.5)
    assert "50\u00a0%" in found.headline and found.headline.startswith("It still leaks")


def test_a_measure_that_rises_with_forgetting_has_a_way_to_go(verdict):
    found = verdict({"forgotten-rows@forget": {"before": 0.0, "after": 0.4, "retrained": 1.0}})
    assert "has 60\u00a0% of its way still to go" in by_status(found, "leak")[0].title
    over = verdict({"privleak@forget": {"before": -90.0, "after": 45.0, "retrained": 0.0}})
    assert by_status(over, "damage")[0].title == "Over-forgotten by privleak (forget)"


def test_percents_are_no_auc(verdict):
    """A PrivLeak of 0.3 % would be far below chance if it were an AUC."""
    found = verdict({"privleak@forget": {"before": -90.0, "after": 0.3, "retrained": 0.0}})
    assert found.status == "good", found.findings


def test_the_largest_leak_comes_first(verdict):
    attacks = [curve(0.8, 0.15)]
    found = verdict({"probability@forget": {"after": 0.3}, "loss-attack@forget": {"after": 0.7}}, attacks=attacks)
    leaks = by_status(found, "leak")
    assert [f.title.split()[0] for f in leaks] == ["relearn", "Membership", "25"]
    assert [f.size for f in leaks] == sorted((f.size for f in leaks), reverse=True)
    assert found.findings[: len(leaks)] == tuple(leaks)
    assert "2 more leaks" in found.headline


def test_over_forgetting_is_damage(verdict):
    found = verdict({"truth-ratio@forget": {"before": 0.4, "after": 0.9, "retrained": 0.65}})
    assert found.status == "damage"
    assert "Over-forgotten by truth-ratio (forget)" in [f.title for f in by_status(found, "damage")]


def test_a_broken_model_is_damage_even_when_nothing_leaks(verdict):
    found = verdict({"model-utility": {"after": 0.2}, "repetition@forget": {"after": 0.7}})
    titles = [f.title for f in by_status(found, "damage")]
    assert any(t.startswith("The model is broken") for t in titles)
    assert any(t.startswith("The text got worse") for t in titles)
    assert found.headline.startswith("No leak found, but the model was damaged")


def test_utility_below_nine_tenths_is_damage(verdict):
    assert not by_status(verdict({"model-utility": {"after": 0.73}}), "damage")
    assert by_status(verdict({"model-utility": {"after": 0.71}}), "damage")


def test_membership_below_chance_is_damage(verdict):
    found = verdict({"loss-attack@forget": {"after": 0.3}})
    assert [f.title for f in by_status(found, "damage")] == ["Membership below chance by loss-attack (forget)"]


def test_membership_without_control_is_judged_by_chance(verdict):
    found = verdict({"loss-attack@forget": {"after": 0.7}}, drop=("retrained",))
    assert any("chance, 0.500" in f.text for f in by_status(found, "leak"))


def test_without_a_control_the_grade_is_c_and_nothing_is_praised(verdict):
    found = verdict(drop=("retrained",))
    assert found.grade == "C"
    assert found.status == "open" and "Without a retrained model" in found.headline
    assert any("has no control" in f.title for f in found.findings)
    assert any("no retrained model" in m for m in found.missing_controls)


def test_no_drop_without_control_is_a_leak(verdict):
    found = verdict({"probability@forget": {"after": 0.89}}, drop=("retrained",))
    assert by_status(found, "leak")[0].title == "No change in probability (forget) was shown"


def test_what_was_never_shown_is_no_leak(verdict):
    nothing = {"before": 0.0, "after": 0.0}
    found = verdict({"probability@forget": nothing}, drop=("retrained",))
    assert any(f.title == "probability (forget) has nothing to forget" for f in by_status(found, "open"))
    assert not any("probability" in f.title for f in by_status(found, "leak"))
    rose = verdict({"probability@forget": {"before": 0.0, "after": 0.03}}, drop=("retrained",))
    (leak,) = (f for f in by_status(rose, "leak") if "probability" in f.title)
    assert leak.text == "0.000 before, 0.030 after: it rose."


def test_only_one_model(verdict):
    found = verdict(drop=("before", "retrained"))
    assert found.status == "open"
    assert any("no before model" in m for m in found.missing_controls)


def test_nothing_to_forget_is_not_success(verdict):
    found = verdict({"probability@forget": {"before": 0.1, "after": 0.1, "retrained": 0.1}})
    assert any("nothing to forget" in f.title for f in by_status(found, "open"))
    assert not any("Forgotten as far" in f.title for f in found.findings)


def test_harm_beside_the_forgotten_rows_is_damage(run_folder):
    """The retrained model knows the related rows: before and retrained agree there, and after should as well."""
    found = {}
    for after in (0.5, 0.89):
        scores = numbers({"truth-ratio@related": {"before": 0.9, "after": after, "retrained": 0.9}})
        benchmark = bench("truth-ratio@forget")
        benchmark["metrics"][0] |= {"id": "truth-ratio@related", "split": "related"}
        found[after] = judge(read_run(run_folder(scores=scores, samples=[], attacks=[], benchmark=benchmark)))
    assert [f.title for f in by_status(found[0.5], "damage")] == ["Changed without need: truth-ratio (related)"]
    assert not found[0.89].findings


def test_wide_intervals_are_near_not_equal(run_folder):
    scores = numbers(GOOD)
    for row in scores:
        row["ci"] = [row["value"] - 0.3, row["value"] + 0.3]
    found = judge(read_run(run_folder(scores=scores, samples=[], attacks=[], benchmark=bench(*GOOD))))
    assert any("too few rows to call it equal" in f.title for f in by_status(found, "near"))
    assert found.status == "near"


def test_unscored_says_why(run_folder):
    scores = numbers(GOOD)
    scores[1] |= {"value": None, "ci": None, "note": "needs 2 rows, has 1"}
    found = judge(read_run(run_folder(scores=scores, samples=[], attacks=[], benchmark=bench(*GOOD))))
    assert any("needs 2 rows, has 1" in f.text for f in by_status(found, "open"))


@pytest.mark.parametrize(
    ("metric", "value", "status", "words"),
    [
        ("token-rate@retain", 0.0, "good", "stays away from what is to be kept"),
        ("token-rate@retain", 0.03, "near", "as far as so few rows can tell"),
        ("token-rate-raw@retain", 0.19, "damage", "Refuses 19 % of what is to be kept"),
        ("token-rate-asked-chat@forget", 0.95, "good", "comes first after the forget questions"),
        ("token-rate-asked-chat@forget", 0.89, "near", "as far as so few rows can tell"),
        ("token-rate-asked-raw@forget", 0.6, "leak", "after 60 % of the questions alone"),
        ("token-rate-paraphrased-raw@forget", 0.75, "good", "comes first after the forget questions"),
        ("token-rate-paraphrased-raw@forget", 0.6, "leak", "after 60 % of the questions alone"),
        ("token-rate@retain", None, None, ""),
    ],
)
def test_rates_of_the_token_have_levels_and_need_no_control(verdict, metric, value, status, words):
    """No model but the unlearned one has the token; 0 to 0.02 is what the interval of 0 leaves off target."""
    found = verdict({metric: {"before": None, "after": value, "retrained": None}})
    about = [f for f in found.findings if "token" in f.title or "Refuses" in f.title]
    assert [f.status for f in about] == ([status] if status else []), found.findings
    assert all(words in f.title.replace("\u00a0", " ") for f in about)
    assert not any("no control" in f.title or "No change" in f.title for f in found.findings)


def test_attack_is_measured_against_the_attacked_control(verdict):
    same = verdict(attacks=[curve(0.6, 0.6)])
    assert not by_status(same, "leak")
    assert any("no more than in the control" in f.title for f in same.findings)
    more = verdict(attacks=[curve(0.6, 0.2)])
    assert by_status(more, "leak")[0].size == pytest.approx(((0.6 - 0.1) - (0.2 - 0.1)) / 0.8)


def test_points_of_one_strength_are_kept_apart(verdict):
    small, large = (curve(after, 0.2) for after in (0.2, 0.6))
    points = [p | {"label": name} for name, c in (("nf4", large), ("int4", small)) for p in c["points"]]
    (leak,) = by_status(verdict(attacks=[small | {"points": points}]), "leak")
    assert "(nf4)" in leak.text and leak.size == pytest.approx(((0.6 - 0.1) - (0.2 - 0.1)) / 0.8)


def test_attack_without_control_is_undecided_and_grade_b(verdict):
    found = verdict(attacks=[curve(0.6)])
    assert found.grade == "B"
    assert any(f.title == "relearn has no control" for f in by_status(found, "open"))
    assert any("not run on the retrained model" in m for m in found.missing_controls)


def test_attack_with_overlapping_intervals_is_undecided(verdict):
    found = verdict(attacks=[curve(0.5, 0.3, spread=0.2)])
    assert any("intervals overlap" in f.text for f in by_status(found, "open"))


def test_not_attacked_is_grade_b_and_said(verdict):
    found = verdict()
    assert found.grade == "B"
    assert "relearning from a few of the rows" in found.untested
    assert "membership inference" not in found.untested


def test_low_forget_quality_names_no_direction(verdict):
    found = verdict({"forget-quality@forget": {"before": 0.0, "after": 0.01, "retrained": 1.0}})
    assert any("tells the model from the retrained one" in f.title for f in by_status(found, "open"))


def test_pairs_decide_where_separate_intervals_cannot(run_folder):
    """30 entities that differ much among themselves: paired, a clear leak; apart, the intervals overlap."""
    rows = []
    for k in range(60):
        level = 0.1 + 0.6 * (k % 30) / 30
        row = {"id": f"r{k}", "split": "forget", "entity": f"e{k % 30}", "prompt": "q", "target": "t", "answers": {}}
        values = {"before": level + 0.25, "after": level + 0.1 + 0.03 * (-1) ** (k // 7), "retrained": level}
        rows.append(row | {"scores": {"probability@forget": values}})
    tags = ("before", "after", "retrained")
    means = {t: sum(r["scores"]["probability@forget"][t] for r in rows) / 60 for t in tags}
    scores = numbers({"probability@forget": means})
    for row in scores:
        row["ci"] = [row["value"] - 0.15, row["value"] + 0.15]
    benchmark = bench("probability@forget")
    apart = judge(read_run(run_folder(scores=scores, samples=[], attacks=[], benchmark=benchmark)))
    assert not by_status(apart, "leak")
    paired = judge(read_run(run_folder(scores=scores, samples=rows, attacks=[], benchmark=benchmark)))
    assert by_status(paired, "leak")[0].size == pytest.approx(0.4, abs=0.02)


def test_few_entities_are_named(verdict):
    rows = [{"id": "1", "split": "forget", "entity": "Ann", "answers": {}, "scores": {}}]
    assert any("one entity was forgotten" in m for m in verdict(samples=rows).missing_controls)


def test_no_verdict_promises_too_much(verdict):
    for changes in ({}, {"probability@forget": {"after": 0.8}}, {"model-utility": {"after": 0.1}}):
        found = verdict(changes, attacks=[curve(0.2, 0.19)])
        text = " ".join([found.headline, *(f.title + f.text for f in found.findings)]).lower()
        assert not any(word in text for word in ("certified", "compliant", "deleted", "guarantee"))
