"""What the related-knowledge page says, on made-up numbers."""

import pytest

from unsay.report.related_figures import plateau
from unsay.report.related_knowledge import _from_plateau, _mean, _over_epochs, flagged, helps


def point(quality, utility, below=False, **more):
    return {
        "forget-quality@k1": {"value": quality},
        "utility": {"value": utility},
        "options@k1": {"below": below, "chance": 0.2},
        **more,
    }


def found(alpha, more, uipe, random=(0.1, 0.9)):
    epochs = [point(0.1, 0.95), point(*more)]
    walk = {"before": point(0.0, 1.0), "retrained": point(1.0, 1.0), "epochs": epochs, "choice": {"epoch": 1}}
    points = [point(*uipe, kind="uipe", alpha=0.5), point(*random, kind="random", alpha=0.5)]
    return {"variants": {"theta1": walk}, "uipe": {"points": points, "chosen": {"alpha": alpha, "keep": 0.9}}}


def test_no_better_alpha_is_said():
    assert helps(found(0.0, (0.2, 0.9), (0.05, 0.9))).startswith("UIPE does not help here: from epoch 1")


def test_one_more_epoch_as_good_is_said():
    text = helps(found(0.5, (0.4, 0.92), (0.3, 0.93)))
    assert "from 0.1 to 0.3 at 93" in text and "nothing here speaks for UIPE" in text


def test_one_more_epoch_that_costs_too_much_does_not_count():
    text = helps(found(0.5, (0.4, 0.5), (0.3, 0.93)))
    assert "nothing here speaks" not in text and "A random step of the same length has 0.1 at 90" in text


def test_below_chance_is_flagged_by_name():
    numbers = found(0.5, (0.2, 0.9), (0.3, 0.9))
    assert flagged(numbers) == ""
    numbers["uipe"]["points"][0]["options@k1"]["below"] = True
    assert "less than 20" in flagged(numbers) and "UIPE, α = 0.5." in flagged(numbers)


def test_variants_are_compared_fact_by_fact():
    ids = [f"{person}.{fact}.k1" for person in ("ada", "bo") for fact in ("job", "pet", "city")]

    def walk(*epochs):
        first = {"rows": {"probability@k1": dict.fromkeys(ids, 0.8)}}
        later = [{"rows": {"probability@k1": dict(zip(ids, epoch, strict=True))}} for epoch in epochs]
        return {"before": first, "epochs": later}

    one = walk([0.8, 0.8, 0.8, 0.4, 0.4, 0.4], [0.8, 0.8, 0.4, 0.4, 0.4, 0.4])
    other = walk([0.4] * 6, [0.4] * 6, [0.0] * 6)  # the third epoch has no partner
    persons = {i: i.split(".")[0] for i in ids}
    difference = _over_epochs({"variants": {"a": one, "b": other}, "about": {"persons": persons}}, "a", "b")
    # kept on average: ada 1, 1, .75, bo .5 thrice, against .5 everywhere
    assert difference.n == 6 and difference.value == pytest.approx((0.5 + 0.5 + 0.25) / 6)


def test_a_plateau_whose_weights_are_gone_is_said():
    def seen(p):
        return point(0.1, 1.0) | {"probability@k2": {"value": p, "ci": None}}

    walk = {"before": seen(0.9), "epochs": [seen(0.8), seen(0.2), seen(0.2)], "choice": {"epoch": 1}}
    (said,) = _from_plateau({"variants": {"theta1": walk}})  # no "plateau": a folder of an earlier version
    assert said.startswith("UIPE from epoch 2") and "not measured" in said
    assert list(_from_plateau({"variants": {"theta1": walk | {"choice": {"epoch": 2}}}, "plateau": None})) == []


def test_value_and_interval_have_the_same_decimals():
    assert _mean({"p": {"value": 0.12345, "ci": [0.1, 0.2]}}, "p") == "0.123 [0.100, 0.200]"


@pytest.mark.parametrize(
    ("before", "values", "epoch"),
    [
        (0.0, [0.5, 0.96, 0.97, 1.0], 2),
        (0.0, [0.2, 0.4, 0.6, 0.8], None),  # rises up to the last epoch
        (0.0, [1.0, 0.5, 1.0, 0.99], 3),  # fell back after the first
        (0.5, [0.5, 0.4], None),
        (0.0, [], None),
    ],
)
def test_plateau(before, values, epoch):
    assert plateau(before, values) == epoch
