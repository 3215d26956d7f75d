"""Which rows a step sees."""

import collections

import pytest

from unsay.data.template import Encoded
from unsay.errors import DataError
from unsay.training.batch import Row
from unsay.training.schedule import Schedule


def rows(role, lengths):
    return [Row(Encoded(list(range(3, n + 3)), n // 2), f"{role}{i}") for i, n in enumerate(lengths)]


def schedule(forget=20, retain=9, **settings):
    made = {"forget": rows("f", [20 + 3 * (i % 11) for i in range(forget)])}
    if retain:
        made["retain"] = rows("r", [18 + 5 * (i % 7) for i in range(retain)])
    return Schedule(made, **{"seed": 1, "batch": 8, "micro_tokens": 150, "epochs": 2, "pad_id": 0, **settings})


def keys(batch, role):
    return [key for micro in batch.micros for key in micro.keys[micro.roles[role]]]


def test_an_epoch_is_one_pass_over_the_first_role():
    made = schedule()
    assert made.steps_per_epoch == 3 and len(made) == 6
    for epoch in (0, 1):
        seen = [key for at in range(3) for key in keys(made[3 * epoch + at], "forget")]
        assert sorted(seen) == sorted(f"f{i}" for i in range(20))
    assert [len(keys(made[i], "forget")) for i in range(3)] == [8, 8, 4]
    assert keys(made[0], "forget") != keys(made[3], "forget")


def test_a_step_does_not_depend_on_what_was_asked_before():
    made = schedule()
    backwards = [made[i] for i in reversed(range(6))][::-1]
    for number, batch in enumerate(backwards):
        assert [m.keys for m in batch.micros] == [m.keys for m in schedule()[number].micros]


def test_retain_partners_are_drawn_anew_each_epoch_and_cover_the_rows():
    made = schedule(epochs=20)
    drawn = collections.Counter(key for step in range(len(made)) for key in keys(made[step], "retain"))
    assert set(drawn) == {f"r{i}" for i in range(9)}
    assert max(drawn.values()) < 2.5 * min(drawn.values())
    assert len(keys(made[0], "retain")) == 8


def test_counts_are_those_of_the_whole_batch():
    batch = schedule()[0]
    assert batch.counts["forget"].sequences == 8
    found = sum(int((m.lengths - m.answer_start)[m.roles["forget"]].sum()) for m in batch.micros)
    assert batch.counts["forget"].answer_tokens == found
    assert batch.real_tokens == sum(int(m.lengths.sum()) for m in batch.micros)
    assert batch.padded_tokens == sum(m.padded_tokens for m in batch.micros)


@pytest.mark.parametrize("micro_tokens", [60, 150, 400, 10_000])
def test_memory_budget_and_padding(micro_tokens):
    made = schedule(forget=64, retain=40, batch=16, micro_tokens=micro_tokens)
    for step in range(len(made)):
        batch = made[step]
        assert max(m.padded_tokens for m in batch.micros) <= max(1.5 * micro_tokens, 53)
    real = sum(made[i].real_tokens for i in range(len(made)))
    padded = sum(made[i].padded_tokens for i in range(len(made)))
    assert 1 - real / padded <= (0.08 if micro_tokens < 10_000 else 0.2)


def test_paired_rows_meet_in_one_micro_batch():
    made = {"forget": rows("f", [10, 40, 12, 44, 11, 39]), "refusal": rows("a", [30, 9, 31, 8, 29, 7])}
    made["retain"] = rows("r", [20, 21])
    batch = Schedule(made, seed=0, batch=6, micro_tokens=100, epochs=1, paired=True, pad_id=0)[0]
    assert len(batch.micros) > 1
    for micro in batch.micros:
        forget, refusal = (micro.keys[micro.roles[role]] for role in ("forget", "refusal"))
        assert [k[1:] for k in forget] == [k[1:] for k in refusal]
        assert micro.roles["retain"].stop - micro.roles["retain"].start == len(forget)


def test_companions_go_by_index():
    made = {"forget": rows("f", [10] * 5), "refusal": rows("a", [8] * 5)}
    batch = Schedule(made, seed=0, batch=3, micro_tokens=1000, epochs=1, pad_id=0)[0]
    assert sorted(k[1:] for k in keys(batch, "forget")) == sorted(k[1:] for k in keys(batch, "refusal"))


def test_max_steps_overrides_epochs_and_fractions_round_up():
    assert len(schedule(max_steps=7)) == 7
    assert len(schedule(epochs=0.5)) == 2
    assert len(schedule(epochs=0.01)) == 1


def test_roles_of_unequal_length_are_refused():
    with pytest.raises(DataError, match="2 refusal rows for 3 forget rows"):
        made = {"forget": rows("f", [10] * 3), "refusal": rows("a", [8] * 2)}
        Schedule(made, seed=0, batch=3, micro_tokens=1000, epochs=1, pad_id=0)
