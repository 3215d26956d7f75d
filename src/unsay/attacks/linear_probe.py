"""Linear probe: can a simple reader, trained on other entities, tell the answer's class from the hidden states?

    ŷ = ȳ + h (HᵀH + λI)⁻¹ Hᵀ (Y − ȳ)                        h_l at the place that predicts the fact, Y one-hot classes
    v_i = 1[argmax ŷ_i = y_i] − mean_s 1[argmax ŷ_i^s = y_i^s]        row i's entity held out; s: shuffled labels

Paper    Hewitt, Liang (2019). Designing and Interpreting Probes with Control Tasks. arXiv:1909.03368 (selectivity);
         the ridge regression has a closed form, so that nothing is tuned on the rows that are asked.
Given    The classes of the other entities' answers (forget and retain rows), and the answer's words before the fact.
Limits   A probe can learn what the question gives away, such as which kind of answer it asks for: only what is left
         after the retrained model counts. Classes that one entity alone has cannot be asked and are left out.
Differs  The control shuffles labels over rows; Hewitt and Liang give each word type a random one. Guards and offsets
         are dropped first.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch

from ..data.example import Example, ForgetData
from ..errors import MethodError, PlanError
from ..mechanism.inside import opened
from ..mechanism.linear import folds_of, held_out
from ..mechanism.texts import Text, texts
from ..models.patches import unpatched
from ..naming import derive_seed
from ._attack import Finding

if TYPE_CHECKING:
    from ..models.lm import LM
    from ..runs.run import Run

_KEYS = ("answer_class", "class")


@dataclass(frozen=True, kw_only=True)
class LinearProbe:
    """Predict the class of an answer from the states of each layer, by ridge regression."""

    label: str = ""
    """Column of the rows that has the classes; "" takes `answer_class` or `class`, else the first token of what the
    answer reveals. A class that the question gives away, such as the attribute it asks for, says nothing."""
    folds: int = 5
    ridge: float = 1.0
    """λ, in units of the mean squared length of a training row's states."""
    shuffles: int = 20
    """Shuffled labellings of the control."""
    every: int = 3
    """Every how many layers, counted from the last."""

    axis: ClassVar[str] = "layer, accuracy above that on shuffled labels"

    def __post_init__(self) -> None:
        for name, least in (("folds", 2), ("shuffles", 1), ("every", 1)):
            if getattr(self, name) < least:
                raise PlanError(f"{name}: should be at least {least}, got {getattr(self, name)!r}")
        if not self.ridge > 0:
            raise PlanError(f"ridge: should be greater than 0, got {self.ridge!r}")

    def inspect(self, lm: LM, data: ForgetData, run: Run, *, before: LM | None = None) -> Iterator[Finding]:
        """Selectivity at each forget row that could be asked, in [−1, 1], shallow layers first. `before` is not used.

        Raises:
            MethodError: fewer than two classes have two entities, or no forget row is of one of them.
            ModelError: the layers cannot be told apart.
        """
        lm = unpatched(lm)
        rows = [*data.forget, *data.retain]
        every = texts(lm, rows, run.plan.data.max_length)
        chosen, labels, classes = self._labelled(rows, every)
        asked = {row.id for row in data.forget}
        mine = [number for number, i in enumerate(chosen) if rows[i].id in asked]
        if len(classes) < 2 or not mine:
            raise MethodError(
                f"linear-probe found {len(classes)} classes of answers with two entities each, and {len(mine)} forget "
                "rows of such a class; two and one are needed",
                "give the rows a column answer_class that entities share, or set label= to such a column",
            )
        groups = [rows[i].entity or rows[i].id for i in chosen]
        seed = derive_seed(run.seed, "linear-probe")
        folds = folds_of(labels, groups, folds=self.folds, shuffles=self.shuffles, seed=seed)
        few = f"{len(classes)} classes, {len(chosen)} of {len(rows)} rows, {len(set(groups))} entities"
        with opened(lm) as inside, run.progress("linear probe", len(chosen), "texts") as bar:
            layers = list(range(inside.depth, 0, -self.every))[::-1]
            members = [every[i] for i in chosen]
            states: dict[int, np.ndarray] = {}
            for group, found in inside.batches([text.ids[: text.fact[0]] for text in members]):
                run.check_stop()
                last = torch.tensor([members[i].fact[0] - 1 for i in group], device=found.device)
                here = found[torch.arange(len(group), device=found.device), :, last][:, layers]
                states.update(zip(group, here.double().cpu().numpy(), strict=True))
                run.spend(sum(members[i].fact[0] for i in group))
                bar.advance(len(group))
        features = np.stack([states[i] for i in range(len(chosen))])
        for number, layer in enumerate(layers):
            run.check_stop()
            right = held_out(features[:, number], folds, ridge=self.ridge)
            control = right[1:].mean(0)
            values = {rows[chosen[i]].id: float(right[0, i] - control[i]) for i in mine}
            said = f"accuracy {right[0, mine].mean():.2f}, on shuffled labels {control[mine].mean():.2f}; {few}"
            yield Finding(f"layer-{layer}", layer, values, said)

    def _labelled(self, rows: Sequence[Example], found: Sequence[Text]) -> tuple[list[int], list[int], list[str]]:
        """Numbers of the rows whose class another entity shares, their classes' numbers, and the classes' names."""
        named = [self._label(row, text) for row, text in zip(rows, found, strict=True)]
        entities: defaultdict[str, set[str]] = defaultdict(set)
        for row, name in zip(rows, named, strict=True):
            if name:
                entities[name].add(row.entity or row.id)
        chosen = [i for i, name in enumerate(named) if len(entities.get(name, ())) > 1]
        classes = sorted(Counter(named[i] for i in chosen))
        return chosen, [classes.index(named[i]) for i in chosen], classes

    def _label(self, row: Example, text: Text) -> str:
        for key in (self.label,) if self.label else _KEYS:
            if row.meta.get(key) not in (None, ""):
                return f"{key}={row.meta[key]}"
        return "" if self.label else f"token {text.ids[text.fact[0]]}"
