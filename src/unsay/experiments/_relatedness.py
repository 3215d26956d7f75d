"""How far two facts pull the weights the same way.

    R_θ(k, k') = cos( ∇_θ ℓ(θ; k), ∇_θ ℓ(θ; k') )      ℓ: NLL of the answer; all weights, adapters merged

Paper    UIPE (arXiv:2503.04693), equation 2, which writes ∇P: P and ℓ = −ln P have parallel gradients, so the cosine
         is the same.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from random import Random
from typing import TYPE_CHECKING, Any

from .. import stats
from ..combiners._combiner import inner
from ..data.example import Example
from ..training.batch import encode_rows
from ..training.full_gradient import full_gradient, mean_nll, working_copy

if TYPE_CHECKING:
    from torch import Tensor

    from ..models.lm import LM
    from ..runs.run import Run

Triple = tuple[Example, Example, Example]
"""k1, the k2 it follows from, and a k3 of the same person."""


def triples(rows: Mapping[str, Sequence[Example]], most: int, seed: int) -> list[Triple]:
    """At most `most` of the persons' attributes, drawn by `seed`; the three rows of each."""
    found: dict[tuple[str, str], dict[str, Example]] = {}
    for kind in ("k1", "k2", "k3"):
        for row in rows[kind]:
            found.setdefault((row.entity, str(row.meta.get("attribute"))), {})[kind] = row
    whole = [(kinds["k1"], kinds["k2"], kinds["k3"]) for kinds in found.values() if len(kinds) == 3]
    return whole if len(whole) <= most else Random(seed).sample(whole, most)


def relatedness(lm: LM, members: Sequence[Triple], run: Run, label: str) -> dict[str, dict[str, float]]:
    """R of each k1 with its k2 and with its k3.

    Args:
        lm: A plain model.
        members: One gradient is taken for each of their rows, two are held at a time.
        run: Progress, signals.
        label: Of the progress bar.

    Returns:
        ``k2`` and ``k3``: id of the k1 row → cosine in [−1, 1].

    Raises:
        CollapseError: a gradient is not finite.
    """
    flat = [row for triple in members for row in triple]
    encoded = encode_rows(flat, lm.template, run.plan.data.max_length)
    rows = {row.id: tokens for row, tokens in zip(flat, encoded, strict=True)}
    found: dict[str, dict[str, float]] = {"k2": {}, "k3": {}}
    with working_copy(lm, {"rows": list(rows.values())}) as subject, run.progress(label, len(members), "pairs") as bar:

        def gradient(row: Example) -> list[Tensor]:
            named = full_gradient(subject, {"rows": [rows[row.id]]}, mean_nll("rows"), run, label="")
            return [named[name] for name in sorted(named)]

        for target, related, unrelated in members:
            ours = gradient(target)
            for kind, other in (("k2", related), ("k3", unrelated)):
                found[kind][target.id] = _cosine(ours, gradient(other))
            bar.advance()
    return found


def summary(cosines: Mapping[str, Mapping[str, Mapping[str, float]]], persons: Mapping[str, str]) -> dict[str, Any]:
    """Means and paired differences, with intervals clustered by person.

    Args:
        cosines: ``before`` and ``after`` → what `relatedness` returns.
        persons: Person by id of the k1 row.

    Returns:
        ``means``: tag → kind → estimate; ``differences``: ``before`` and ``after`` of k2 − k3, ``k2`` and ``k3`` of
        after − before.
    """
    bounds = (-1.0, 1.0)
    means = {
        tag: {kind: dataclasses.asdict(stats.mean(values, persons, bounds=bounds)) for kind, values in kinds.items()}
        for tag, kinds in cosines.items()
    }
    pairs = {tag: (kinds["k2"], kinds["k3"]) for tag, kinds in cosines.items()}
    pairs |= {kind: (cosines["after"][kind], cosines["before"][kind]) for kind in ("k2", "k3")}
    found = {name: dataclasses.asdict(stats.paired_difference(*pair, persons)) for name, pair in pairs.items()}
    return {"means": means, "differences": found}


def _cosine(one: Sequence[Tensor], other: Sequence[Tensor]) -> float:
    lengths = (inner(one, one) * inner(other, other)) ** 0.5
    return inner(one, other) / lengths if lengths else 0.0
