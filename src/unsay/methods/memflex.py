r"""MemFlex: train only the tensors on which forgetting depends and keeping does not.

    L = −γ · nll_forget + α · nll_retain      over the located tensors k alone:
    cos(ḡ_f,k , ḡ_r,k) < μ   and   mean|ḡ_f,k| ≥ σ,      ḡ: gradients of the NLL of answers half made of random tokens

Paper    Tian, Liang, Cheng, Liu, Wang, Sui, Chen, Chen, Zhang (2024). To Forget or Not? Towards Practical Knowledge
         Unlearning for Large Language Models. arXiv:2407.01920
Limits   Whole tensors are chosen; within one, what is kept and what goes may sit side by side.
Differs  σ is a quantile over the tensors, since an absolute size means nothing on another model. With a fresh LoRA
         adapter only the B matrices have a gradient to be located by.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..errors import MethodError, PlanError
from ..naming import derive_seed
from ..training.full_gradient import encode_roles, full_gradient, sample, working_copy
from ..training.objective import Objective
from ..training.plugs import Plugs
from ..training.row_loss import log_probability
from ..training.step import Step

if TYPE_CHECKING:
    from ..data.example import ForgetData
    from ..models.lm import LM
    from ..runs.run import Run


@dataclass(frozen=True, kw_only=True)
class MemFlex(Objective):
    """Gradient difference on located tensors."""

    forget_weight: float = 0.4
    """γ."""
    retain_weight: float = 2.0
    """α."""
    cosine: float = 0.96
    """μ, above which a tensor serves both; the authors' is 0.92 to 0.96."""
    quantile: float = 0.5
    """Quantile of the mean absolute gradient that a tensor must reach, σ."""
    repeats: int = 3
    """How often random tokens are drawn."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.quantile < 1 or self.repeats < 1:
            raise PlanError("quantile should be at least 0 and below 1, repeats at least 1")

    def plugs(self, lm: LM, data: ForgetData, run: Run) -> Plugs:
        """Locate the tensors.

        Raises:
            MethodError: none is located.
        """
        gradients: dict[str, dict[str, Tensor]] = {}
        for role, rows in (("forget", data.forget), ("retain", sample(data.retain, len(data.forget), run.seed))):
            encoded = encode_roles(lm, {role: rows}, run)
            size = lm.model.get_input_embeddings().weight.shape[0]
            with working_copy(lm, encoded) as subject:
                losses = [_Scrambled(role, size, derive_seed(run.seed, "memflex", n)) for n in range(self.repeats)]
                parts = [full_gradient(subject, encoded, loss, run, f"locate {role}") for loss in losses]
            gradients[role] = {name: torch.stack([part[name] for part in parts]).mean(0) for name in parts[0]}
        found = located(gradients["forget"], gradients["retain"], self.cosine, self.quantile)
        if not found:
            raise MethodError(
                "no tensor is located: the gradients of forget and retain rows point the same way everywhere",
                "raise method.cosine, or lower method.quantile",
            )
        run.log(located=len(found), of=len(gradients["forget"]))
        return replace(super().plugs(lm, data, run), only=found.__contains__)

    def forget_term(self, step: Step) -> Tensor:
        """Minus the NLL of the forget answers."""
        return -step.forget.nll


def located(forget: Mapping[str, Tensor], retain: Mapping[str, Tensor], cosine: float, quantile: float) -> set[str]:
    """Names of the tensors with a large forget gradient that does not point along the retain gradient."""
    sizes = {name: float(g.abs().mean()) for name, g in forget.items()}
    least = float(torch.tensor(list(sizes.values())).quantile(quantile))
    found = set()
    for name, g in forget.items():
        angle = float(torch.nn.functional.cosine_similarity(g.flatten(), retain[name].flatten(), dim=0))
        if angle < cosine and sizes[name] >= least and sizes[name] > 0:
            found.add(name)
    return found


class _Scrambled:
    """NLL of one role's answers with random tokens for half of the targets; a row's are the same in every batch."""

    def __init__(self, role: str, vocabulary: int, seed: int):
        self._role, self._size, self._seed = role, vocabulary, seed

    def __call__(self, step: Step) -> Tensor:
        view = step.role(self._role)
        own = view.targets.split(view.mask.sum(1).tolist())
        targets = [self._noisy(row, key) for row, key in zip(own, view.keys, strict=True)]
        if not targets:
            return view.nll
        return -view.token_mean(view.token_values(log_probability(torch.cat(targets))))

    def _noisy(self, targets: Tensor, key: str) -> Tensor:
        generator = torch.Generator().manual_seed(derive_seed(self._seed, key))
        swap = torch.rand(len(targets), generator=generator) < 0.5
        noise = torch.randint(self._size, (len(targets),), generator=generator)
        return torch.where(swap.to(targets.device), noise.to(targets.device), targets)
