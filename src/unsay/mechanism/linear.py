"""Linear questions to hidden states: can a class be read off them, and how alike are two sets of them? numpy only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Folds:
    """Who is predicted from whom, and the labels: the true ones, then shuffled ones."""

    tests: tuple[NDArray[np.intp], ...]
    """Rows of each fold; together all rows, once."""
    labels: NDArray[np.intp]
    """[1 + shuffles, n]; row 0 is true."""


def folds_of(labels: Sequence[int], clusters: Sequence[str], *, folds: int, shuffles: int, seed: int) -> Folds:
    """Whole clusters dealt to `folds` folds (as many as there are clusters at most), and shuffled labels.

    Args:
        labels: [n] class of each row.
        clusters: [n] entity of each row; its rows stay together.
        folds: At least 2.
        shuffles: Permutations of the labels over all rows.
        seed: Of the dealing and the permutations.
    """
    rng = np.random.default_rng(seed)
    names = np.array(sorted(set(clusters)))
    rng.shuffle(names)
    fold = {name: i % min(folds, len(names)) for i, name in enumerate(names)}
    of = np.array([fold[cluster] for cluster in clusters])
    true = np.asarray(labels, np.intp)
    every = np.stack([true, *(rng.permutation(true) for _ in range(shuffles))])
    return Folds(tuple(np.flatnonzero(of == i) for i in range(of.max() + 1)), every)


def held_out(features: Floats, folds: Folds, *, ridge: float = 1.0) -> NDArray[np.bool_]:
    """[1 + shuffles, n] whether ridge regression to one-hot classes, fitted without a row's fold, names its class.

        ŷ = ȳ + K_test,train (K_train + λI)⁻¹ (Y − ȳ),   K = X Xᵀ, X standardised on training rows, λ = ridge tr(K)/n

    Args:
        features: [n, D].
        folds: Of the same rows.
        ridge: λ in units of the mean squared length of a training row.
    """
    classes = int(folds.labels.max()) + 1
    right = np.zeros(folds.labels.shape, bool)
    for test in folds.tests:
        train = np.setdiff1d(np.arange(len(features)), test)
        middle, spread = features[train].mean(0), features[train].std(0)
        x = (features - middle) / np.where(spread > 1e-12 * max(1.0, float(spread.max())), spread, np.inf)
        own = x[train] @ x[train].T
        strength = ridge * max(float(np.trace(own)) / len(train), np.finfo(float).tiny)
        weights = np.linalg.solve(own + strength * np.eye(len(train)), x[train] @ x[test].T).T  # [test, train]
        for number, labels in enumerate(folds.labels):
            y = np.eye(classes)[labels[train]]
            said = y.mean(0) + weights @ (y - y.mean(0))
            right[number, test] = said.argmax(1) == labels[test]
    return right


def linear_cka(one: Floats, other: Floats) -> float:
    """Linear centred kernel alignment of two sets of states of the same rows [n, D] and [n, E], in [0, 1].

        ‖Yᵀ X‖²_F / (‖Xᵀ X‖_F ‖Yᵀ Y‖_F)        X, Y centred over the rows

    1 for states that agree up to rotation, scale and shift; NaN where one of them does not vary. As a test of
    unlearning it is weak: states can be alike without the fact, and differ with it. Kornblith et al. 2019,
    arXiv:1905.00414.
    """
    x, y = one - one.mean(0), other - other.mean(0)
    # [n, n] Gram matrices: far smaller than [D, E] for the few rows there are.
    kx, ky = x @ x.T, y @ y.T
    size = float(np.linalg.norm(kx) * np.linalg.norm(ky))
    return float((kx * ky).sum() / size) if size > 0 else float("nan")
