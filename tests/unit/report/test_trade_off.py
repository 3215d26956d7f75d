"""What the trade-off's page counts."""

from unsay.report.trade_off import counted, page


def scores(quality, probability, utility):
    names = ("forget-quality@forget", "probability@forget", "model-utility", "extraction-strength@forget")
    values = (quality, probability, utility, 0.1)
    found = {n: {"value": v, "ci": None, "n": 4, "clusters": 2} for n, v in zip(names, values, strict=True)}
    return found | {"probability@retain": found["probability@forget"]}


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
    (said,) = counted(FOUND)
    assert "UIPE, α = 1, against one more epoch, 3 walks" in said
    assert "forget quality is higher in 2 and lower in 1 (sign test p = 1)" in said
    assert "utility is higher in 1 and lower in 1" in said
    assert "than under the retrained model in 1 of them, after one more epoch in 1" in said
    assert said in page(FOUND)


def test_five_of_five():
    (said,) = counted(FOUND | {"walks": [walk(i, scores(0.2, 0.3, 0.4), scores(0.3, 0.3, 0.4)) for i in range(5)]})
    assert "forget quality is higher in 5 and lower in 0 (sign test p = 0.062)" in said
    assert "utility is higher in 0 and lower in 0 (sign test p = 1)" in said
