import math

import pytest

from unsay.errors import MethodError
from unsay.selection import Choice, choose_epoch


def test_best_quality_among_those_that_keep_enough():
    # MU_0 = 0.5, κ·MU_0 = 0.45: the third and fourth epochs are out, whatever they forget
    found = choose_epoch([0.1, 0.6, 0.9, 1.0], [0.50, 0.46, 0.44, 0.10], before=0.5)
    assert found == Choice(epoch=2, keep=0.9)


def test_the_bound_is_met_by_equality():
    assert choose_epoch([0.1, 0.2], [1.0, 0.9], before=1.0).epoch == 2


def test_ties_go_to_the_earlier_epoch():
    assert choose_epoch([0.2, 0.7, 0.7], [1.0, 1.0, 1.0], before=1.0).epoch == 2


def test_the_bound_is_relaxed_by_steps_of_a_twentieth():
    # 0.9, 0.85, 0.8 fail; at 0.75 epoch 1 alone fits although epoch 2 forgets more
    assert choose_epoch([0.3, 0.9], [0.78, 0.72], before=1.0) == Choice(epoch=1, keep=0.75)


def test_nothing_left_of_utility_still_gives_an_epoch():
    assert choose_epoch([0.3, 0.4], [0.0, 0.0], before=1.0) == Choice(epoch=2, keep=0.0)


def test_epochs_without_a_number_are_passed_over():
    assert choose_epoch([math.nan, 0.4, math.inf], [1.0, 1.0, 1.0], before=1.0).epoch == 2
    assert choose_epoch([0.9, 0.4], [math.nan, 1.0], before=1.0).epoch == 2


@pytest.mark.parametrize(
    ("quality", "utility", "before", "keep"),
    [
        ([], [], 1.0, 0.9),
        ([math.nan], [1.0], 1.0, 0.9),
        ([0.5], [1.0, 1.0], 1.0, 0.9),
        ([0.5], [1.0], math.nan, 0.9),
        ([0.5], [1.0], 1.0, 0.0),
    ],
)
def test_what_cannot_be_chosen_from(quality, utility, before, keep):
    with pytest.raises(MethodError):
        choose_epoch(quality, utility, before, keep)
