"""The benchmarks about extrapolation: the coefficient against a grid, and the cost of moving a checkpoint."""

import importlib
from pathlib import Path

import pytest

from unsay.config.plan import ModelSpec
from unsay.models.weights import extrapolate as between
from unsay.testing import facts, knowing_lm, tiny_lm
from unsay.training import coefficient as search

ROOT = Path(__file__).parents[2]


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    return lambda name: importlib.import_module(f"bench.{name}")


def test_the_grid_is_judged_as_the_search_is(bench, tmp_path, monkeypatch):
    """On the same rows, up to a little beyond the first place out of bounds, and counted the same way."""
    coefficient = bench("coefficient")
    knowing_lm().save(tmp_path / "before")
    between(knowing_lm(), tiny_lm(seed=5), 0.3).save(tmp_path / "after")
    models = {name: ModelSpec(path=str(tmp_path / name)) for name in ("before", "after")}
    monkeypatch.setattr(coefficient, "ends", lambda folder: (models, facts(), 48))
    monkeypatch.setattr(search, "_SAMPLE", 3)
    seen, read = [], coefficient.probability

    def watched(lm, rows):
        seen.append(rows)
        return read(lm, rows)

    monkeypatch.setattr(coefficient, "probability", watched)
    found = coefficient.compare(tmp_path / "any", 10, 5.0)
    assert {len(rows) for rows in seen} == {3} and max(row.length for rows in seen for row in rows) <= 48
    beyond = min(s for s, _, _ in found["points"] if s > found["auto"]["s"])
    assert [s for s, _, _ in found["dense"]] == pytest.approx([1.2 * beyond * i / 10 for i in range(1, 11)])
    assert coefficient.looks(found) == (len(found["points"]) + 1, 12)
    assert found["gap"] <= 0.02
    assert f"| {coefficient.bound(found)} |" in coefficient.table([found])


OLD = {
    "run": "npo",
    "before": 0.93,
    "floor": 0.45,
    "auto": {"s": 0.8, "forget": 0.46, "keep": 0.99, "looks": 4},
    "grid": {"s": 0.7, "forget": 0.48, "looks": 2},
    "gap": -0.02,
    "points": [[0.0, 0.93, 0.92], [1.0, 0.40, 0.91], [0.5, 0.6, 0.92], [0.8, 0.46, 0.92]],
    "dense": [[2.5, 0.3, 0.9], [5.0, 0.1, 0.8]],
}


def test_which_bound_ended_the_search(bench):
    """Also in a file of an earlier version."""
    coefficient = bench("coefficient")
    assert coefficient.bound(OLD) == "holdout rows" and coefficient.looks(OLD) == (5, 4)
    lost = OLD | {"points": [[0.0, 0.93, 0.92], [0.8, 0.5, 0.92], [1.0, 0.44, 0.5]]}
    assert coefficient.bound(lost) == coefficient.bound(lost | {"floor": None}) == "90% of the rows to keep"
    assert coefficient.bound(OLD | {"auto": {"s": 1.0}}) == "the farthest place allowed"
    (row,) = coefficient.table([OLD]).splitlines()[2:]
    assert row == "| npo | 0.930 | 0.80 | 0.460 | 5 | holdout rows | 0.70 | 5.00 | 0.480 | 4 | -2.0% |"


def test_a_checkpoint_is_moved_and_watched(bench):
    extrapolate = bench("extrapolate")
    found = extrapolate.measure({"hidden_size": 16, "vocab_size": 300})
    assert found["seconds"] > 0 and found["parameters"] > 1000
    assert found["largest_bytes"] >= 16 * 300 * 4
    assert f"{found['seconds']:.1f} s" in extrapolate.table(found)
