"""What the trade-off's page counts, and how it takes walks that failed."""

import json
import re

import pytest

from unsay.report.trade_off import counted, page, said, write_trade_off


def scores(quality, probability, utility):
    names = ("forget-quality@forget", "probability@forget", "model-utility", "extraction-strength@forget")
    values = (quality, probability, utility, 0.1)
    found = {n: {"value": v, "ci": None, "n": 4, "clusters": 2} for n, v in zip(names, values, strict=True)}
    return found | {"probability@retain": found["probability@forget"]}


def failed(seed, epochs=(), method="npo"):
    points = [{"epoch": i, "scores": s} for i, s in enumerate(epochs, 1)]
    return {"method": method, "seed": seed, "epochs": points, "note": "it broke the model"}


def walk(seed, more, uipe):
    epochs = [{"epoch": i, "scores": s} for i, s in enumerate((scores(0.1, 0.5, 0.4), more), 1)]
    return {
        "method": "npo",
        "seed": seed,
        "epoch": 1,
        "keep": 1.0,
        "epochs": epochs,
        "uipe": [{"alpha": 1.0, "automatic": False, "scores": uipe}],
    }


FOUND = {
    "keep": 0.9,
    "before": scores(0.01, 0.9, 0.4),
    "retrained": scores(1.0, 0.2, 0.4),
    "walks": [
        walk(0, scores(0.2, 0.3, 0.39), scores(0.3, 0.1, 0.38)),  # better forgotten, and too far
        walk(1, scores(0.2, 0.1, 0.39), scores(0.3, 0.3, 0.39)),  # the same utility: a tie
        walk(2, scores(0.2, 0.3, 0.39), scores(0.1, 0.4, 0.40)),
    ],
}


def test_walks_are_counted_by_sign():
    of_alpha, caveat = counted(FOUND)
    assert "UIPE, α = 1, against one more epoch, 3 walks: forget quality is higher in 2 and lower in 1" in of_alpha
    assert "utility is higher in 1 and lower in 1" in of_alpha
    assert "than under the retrained model in 1 of 3, after one more epoch in 1" in of_alpha
    assert "no p-value" in caveat and "not independent" in caveat
    assert of_alpha in page(FOUND) and caveat in page(FOUND)


def test_wins_are_counted_among_walks_where_both_keep_the_bound():
    """The bound is 0.36: UIPE loses it twice, one more epoch once; one walk is left, which UIPE does not win."""
    walks = [
        walk(0, scores(0.2, 0.3, 0.40), scores(0.9, 0.1, 0.30)),
        walk(1, scores(0.2, 0.3, 0.35), scores(0.9, 0.1, 0.30)),
        walk(2, scores(0.2, 0.3, 0.37), scores(0.1, 0.1, 0.39)),
    ]
    text = counted(FOUND | {"walks": walks})[0]
    assert "forget quality is higher in 2 and lower in 1" in text
    assert "90% of the utility before are kept by UIPE in 1, by one more epoch in 2, by both in 1" in text
    assert "Among these 1, forget quality is higher in 0 and lower in 1; utility is higher in 1 and lower in 0" in text


def test_the_page_says_what_the_choice_of_the_base_epoch_does():
    assert "This choice puts one more epoch at a disadvantage" in page(FOUND)
    assert "no holdout rows" not in page(FOUND) and "no holdout rows" not in page(FOUND | {"two_sided": True})
    assert "nothing stops it from over-forgetting" in page(FOUND | {"two_sided": False})


def test_value_and_interval_have_the_same_decimals():
    first = scores(0.123456, 0.3, 0.4)
    first["model-utility"] = first["model-utility"] | {"ci": [0.1, 0.2]}
    text = page(FOUND | {"before": first, "walks": [*FOUND["walks"], walk(3, first, first)]})
    assert "0.400 [0.100, 0.200]" in text
    assert "[0.123, 0.2]" in text, "of the seeds' forget quality after one more epoch"


def test_walks_that_failed_are_said_and_counted_nowhere(tmp_path):
    auto = {"alpha": None, "automatic": True, "note": "even the smallest step breaks a bound"}
    half = walk(1, scores(0.2, 0.3, 0.39), scores(0.3, 0.1, 0.39))
    half["uipe"].append(auto)
    walks = [failed(0, [scores(0.1, 0.5, 0.2)]), half, failed(2)]
    text = said("npo", walks)
    assert text.startswith("`npo`: base epoch 1. From there, forget quality 0.1 → 0.2")
    assert "Seed 0 has no base epoch: it broke the model." in text and "found:" not in text
    assert "Seed 1 has no automatic α: even the smallest step breaks a bound." in text
    (tmp_path / "trade-off.json").write_text(json.dumps(FOUND | {"walks": walks}))
    write_trade_off(tmp_path)
    written = (tmp_path / "trade-off.md").read_text()
    assert "1 walk:" in written and "| npo | UIPE, α auto |" not in written
    alone = FOUND | {"walks": [failed(0)]}
    assert "`npo`: Seed 0 has no base epoch: it broke the model." in page(alone)
    assert counted(alone) == []
    (tmp_path / "trade-off.json").write_text(json.dumps(alone))
    write_trade_off(tmp_path)
    assert "<svg" in (tmp_path / "trade-off.svg").read_text()


@pytest.mark.parametrize("alphas", [(0.5, 1.0), (0.5, 1.0, "auto"), ("auto",)])
def test_the_legend_names_everything_once(tmp_path, alphas):
    """Also when the first walk of the first method has nothing to name."""
    own = walk(1, scores(0.2, 0.3, 0.39), scores(0.3, 0.1, 0.38))
    own["uipe"] = [
        {"alpha": 0.7 if a == "auto" else a, "automatic": a == "auto", "scores": scores(0.3, 0.1, 0.38)} for a in alphas
    ]
    walks = [failed(0, method="grad-ascent"), own, own | {"seed": 2}]
    (tmp_path / "trade-off.json").write_text(json.dumps(FOUND | {"walks": walks}))
    write_trade_off(tmp_path)
    legend = re.findall(r'id="(legend_\d+)"', (tmp_path / "trade-off.svg").read_text())
    drawn = re.findall(r"<!-- (.+?) -->", (tmp_path / "trade-off.svg").read_text())
    named = [name for name in drawn if name.startswith("UIPE")]
    expected = ["UIPE"] * (0.5 in alphas) + ["UIPE, α auto"] * ("auto" in alphas)
    assert len(legend) == 1 and sorted(named) == expected
    assert drawn.count("base epoch") == drawn.count("one more epoch") == drawn.count("utility bound") == 1
