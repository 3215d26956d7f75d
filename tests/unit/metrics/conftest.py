"""Measurements by hand: rows, answers with given token log-probabilities, generations."""

import numpy as np
import pytest
from hypothesis import settings

from unsay.data.example import Example
from unsay.metrics.have import AnswerStats, Measurements

# A busy machine is no fault of what is tested.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")


def _answer(logp, rank=None, mean=None, std=None, text="text"):
    logp = np.atleast_1d(np.asarray(logp, dtype=np.float32))
    return AnswerStats(
        logp=logp,
        rank=np.zeros(len(logp), np.int32) if rank is None else np.asarray(rank, np.int32),
        vocab_mean=np.zeros_like(logp) if mean is None else np.asarray(mean, np.float32),
        vocab_std=np.ones_like(logp) if std is None else np.asarray(std, np.float32),
        text=text,
    )


@pytest.fixture(scope="session")
def answer():
    """answer(logp, rank, mean, std, text) → AnswerStats."""
    return _answer


@pytest.fixture(scope="session")
def with_loss():
    """with_loss(0.7) → an answer of one token with that loss, with_loss([…]) → a tuple of them."""
    return lambda loss: tuple(_answer([-x]) for x in np.atleast_1d(loss))


@pytest.fixture(scope="session")
def rows():
    """rows("forget", 3, per=2): three rows named forget0… of entities of `per` rows; per=0: no entity."""

    def build(split, n, per=0):
        return tuple(
            Example("q", "a", id=f"{split}{i}", meta={"entity": f"{split} person {i // per}"} if per else {})
            for i in range(n)
        )

    return build


@pytest.fixture(scope="session")
def measured():
    """measured({"forget": rows}, {need: [per row]}) → Measurements, tables keyed by the rows' ids in order."""

    def build(splits, tables, missing=None):
        answers = {
            need: {row.id: entry for row, entry in zip(splits[need.split], table, strict=True)}
            for need, table in tables.items()
        }
        return Measurements(splits, answers, missing or {})

    return build
