"""Reference attack, gradient norm, PrivLeak and completeness against numbers worked out by hand."""

import math

import numpy as np
import pytest
from scipy import stats as reference

from unsay.errors import PlanError
from unsay.metrics.completeness import Completeness, completeness, signal
from unsay.metrics.gradient_norm import GradientNorm
from unsay.metrics.needs import GradNorms, TokenStats
from unsay.metrics.privleak import Privleak
from unsay.metrics.reference_attack import ReferenceAttack

SPLITS = ("forget", "holdout")


def needs(model="subject"):
    return [TokenStats(split, model=model) for split in SPLITS]


def absent(model):
    return dict.fromkeys(needs(model), f"no {model} model")


def test_reference_attack_takes_the_retrained_model(with_loss, rows, measured):
    """Gains over the reference: members −1+4 = 3 and −5+5 = 0, others −1+1 = 0 and −1+2 = 1: wins 3>0, 3>1, ½ of 0=0.

    2.5 of 4. The retrained model against itself gains nothing: all ties, ½.
    """
    splits = {"forget": rows("forget", 2), "holdout": rows("holdout", 2)}
    mine, other = needs()
    ref_mine, ref_other = needs("retrained")
    tables = {
        mine: [with_loss(1), with_loss(5)],
        other: [with_loss(1), with_loss(1)],
        ref_mine: [with_loss(4), with_loss(5)],
        ref_other: [with_loss(1), with_loss(2)],
    }
    found = ReferenceAttack().score(measured(splits, tables, absent("base")))
    assert found.value == 2.5 / 4
    assert found.per_example == {"forget0": 3.0, "forget1": 0.0, "holdout0": 0.0, "holdout1": 1.0}
    assert (found.extra["retrained_auc"], found.extra["excess"]) == (0.5, pytest.approx(0.125))
    assert found.extra["two_sided"] == pytest.approx(0.125)
    assert "reference: retrained" in found.note


def test_reference_attack_falls_back_and_says_so(with_loss, rows, measured):
    splits = {"forget": rows("forget", 1), "holdout": rows("holdout", 1)}
    base = {need: [with_loss(2)] for need in needs("base")}
    tables = dict(zip(needs(), ([with_loss(1)], [with_loss(3)]), strict=True)) | base
    found = ReferenceAttack().score(measured(splits, tables, absent("retrained")))
    assert (found.value, found.per_example) == (1.0, {"forget0": 1.0, "holdout0": -1.0})
    assert "reference: base" in found.note
    assert "retrained_auc" not in found.extra
    neither = {n: t for n, t in tables.items() if n not in base}
    found = ReferenceAttack().score(measured(splits, neither, absent("retrained") | absent("base")))
    assert not found.scored and found.note == "no retrained model"
    found = ReferenceAttack(reference="teacher").score(measured(splits, neither, absent("teacher")))
    assert found.note == "no teacher model"


def test_gradient_norm(rows, measured):
    """Shorter gradients count as members: 1 < 2 and 4 > 2: one of two pairs. Retrained 3, 3 against 2: none."""
    splits = {"forget": rows("forget", 2), "holdout": rows("holdout", 1)}
    tables = {
        GradNorms("forget"): [(1.0,), (4.0,)],
        GradNorms("holdout"): [(2.0,)],
        GradNorms("forget", model="retrained"): [(3.0,), (3.0,)],
        GradNorms("holdout", model="retrained"): [(2.0,)],
    }
    found = GradientNorm().score(measured(splits, tables))
    assert found.value == 0.5
    assert found.per_example == {"forget0": -1.0, "forget1": -4.0, "holdout0": -2.0}
    assert (found.extra["retrained_auc"], found.extra["excess"]) == (0.0, 0.5)
    broken = tables | {GradNorms("forget"): [(math.nan,), (4.0,)]}
    assert "1 of 3 rows gave no number" in GradientNorm().score(measured(splits, broken)).note


def leaking(with_loss, ours, theirs):
    """Two members and two others with the given losses, on the subject and the retrained model."""
    (m, o), (rm, ro) = needs(), needs("retrained")
    return {need: [with_loss(x) for x in values] for need, values in zip((m, o, rm, ro), (*ours, *theirs), strict=True)}


def test_privleak(with_loss, rows, measured):
    """AUC_u: losses 1, 4 against 2, 3: 1 beats both, 4 none: ½. Retrained 1, 3 against 2, 4: 3 of 4 pairs.

    ((1 − ½) − (1 − ¾)) / (1 − ¾) = 1: the rows look more foreign than to the retrained model, by 100 %.
    """
    splits = {"forget": rows("forget", 2), "holdout": rows("holdout", 2)}
    have = measured(splits, leaking(with_loss, ([1, 4], [2, 3]), ([1, 3], [2, 4])))
    found = Privleak().score(have)
    assert found.value == pytest.approx(100)
    assert found.n == 4
    assert (found.extra["auc"], found.extra["retrained_auc"]) == (0.5, 0.75)
    assert (found.extra["change"], found.extra["distance"]) == (-0.25, 0.25)
    leak = Privleak().score(measured(splits, leaking(with_loss, ([1, 1], [2, 2]), ([2, 2], [2, 2]))))
    assert leak.value == pytest.approx(-100)


def test_privleak_where_it_is_undefined_still_has_its_bounded_twin(with_loss, rows, measured):
    splits = {"forget": rows("forget", 2), "holdout": rows("holdout", 2)}
    found = Privleak().score(measured(splits, leaking(with_loss, ([3, 3], [2, 2]), ([1, 1], [2, 2]))))
    assert not found.scored and "AUC is 1" in found.note
    assert (found.extra["distance"], found.extra["change"]) == (1.0, -1.0)
    with pytest.raises(PlanError, match="k must be a share"):
        Privleak(k=0)


def test_privleak_reads_the_least_likely_tokens(answer, rows, measured):
    """k = .4 of five tokens: the lowest two, −6 and −4, mean −5; of the other −3 and −3: the member loses."""
    splits = {"forget": rows("forget", 1), "holdout": rows("holdout", 1)}
    low, flat = (answer([-6, -4, -0.1, -0.1, -0.1]),), (answer([-3.0] * 5),)
    tables = dict(zip((*needs(), *needs("retrained")), ([low], [flat], [flat], [flat]), strict=True))
    found = Privleak().score(measured(splits, tables))
    assert found.per_example == pytest.approx({"forget0": -5.0, "holdout0": -3.0}, abs=1e-6)
    assert found.value == pytest.approx(100)


def test_privleak_interval_holds_its_value(with_loss, rows, measured):
    rng = np.random.default_rng(0)
    splits = {"forget": rows("forget", 60), "holdout": rows("holdout", 60)}
    draws = [rng.gamma(2, 1, 60) + shift for shift in (0.0, 0.4, 0.2, 0.3)]
    found = Privleak().score(measured(splits, leaking(with_loss, draws[:2], draws[2:])))
    assert found.ci[0] < found.value < found.ci[1]
    assert found.extra["change_low"] < found.extra["change"] < found.extra["change_high"]


def test_completeness_by_hand():
    """Two levels, α = 0 and ½, weights ½ and 1. Two rows: out 0 and 1, original 2 and 3; both laws have σ = ½.

    β = √6/(2π), μ = m − γβ. Row 0 with u = 1: m = 0 and 1.
    """
    out, original = np.array([0.0, 1.0]), np.array([2.0, 3.0])
    beta = math.sqrt(6) / math.pi / 2
    law = [reference.gumbel_r.cdf(1.0, loc=m - np.euler_gamma * beta, scale=beta) for m in (0.0, 1.0)]
    expected = 1 - (0.5 * law[0] + 1.0 * law[1]) / 1.5
    assert completeness(np.array([1.0, 2.0]), original, out, 2) == pytest.approx([expected, expected])


def test_completeness_signal():
    """p = 0 and p = 1 are finite: −log(.1 − log 1e-5) and −log(.1 − log 1.00001)."""
    assert signal(np.array([0.0, 1.0])) == pytest.approx(
        [-math.log(0.1 - math.log(1e-5)), -math.log(0.1 - math.log(1.00001))]
    )


def test_completeness_runs_from_the_original_to_the_out_model(with_loss, rows, measured):
    """Subject = original scores `original`, subject = retrained scores `out`; between them it grows with the loss."""
    splits = {"forget": rows("forget", 6)}
    before, after = [0.1 + 0.01 * i for i in range(6)], [3 + 0.1 * i for i in range(6)]
    found = {}
    for share in (0.0, 0.5, 1.0, 2.0):
        tables = {
            TokenStats("forget"): [with_loss(b + share * (a - b)) for b, a in zip(before, after, strict=True)],
            TokenStats("forget", model="before"): [with_loss(x) for x in before],
            TokenStats("forget", model="retrained"): [with_loss(x) for x in after],
        }
        found[share] = Completeness().score(measured(splits, tables))
    values = [score.value for score in found.values()]
    assert values == sorted(values) and values[1] > values[0] + 0.2
    assert found[0.0].value == pytest.approx(found[0.0].extra["original"])
    assert found[1.0].value == pytest.approx(found[1.0].extra["out"])
    assert found[1.0].extra["gap"] == 0.0 > found[2.0].extra["gap"]
    assert all(0 <= x <= 1 for x in found[0.5].per_example.values())


def test_completeness_does_not_depend_on_batch_mates_order_and_needs_two(with_loss, rows, measured):
    one = {need: [with_loss(1)] for need in Completeness().needs}
    assert "at least two" in Completeness().score(measured({"forget": rows("forget", 1)}, one)).note
    flat = {need: [with_loss(1)] * 3 for need in Completeness().needs}
    assert "do not differ" in Completeness().score(measured({"forget": rows("forget", 3)}, flat)).note
    with pytest.raises(PlanError, match="at least 2 levels"):
        Completeness(levels=1)
