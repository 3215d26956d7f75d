r"""Logit offset (δ-unlearning): a small model is trained to steer the logits of a large one, which stays as it is.

    z(·|x) = z_M(·|x) + a·( z_o(·|x) − z_o0(·|x) ),      L = L_base on softmax(z),  gradient into M_o alone
    M the model, M_o a small model with the same vocabulary, M_o0 its frozen copy: z = z_M at the start

Paper    Huang, Zhou, Wang, Morstatter, Zhang, Poon, Chen (2025). Offset Unlearning for Large Language Models. TMLR;
         arXiv:2404.11045
Limits   The weights of M are unchanged: the knowledge is still in the checkpoint. Every token costs the forwards of
         M, M_o and M_o0. A small model that does not know the forget rows can steer away from them but crudely.
Differs  Without `small`, M_o is M with a new LoRA adapter and M_o0 is M: no second set of weights, but with a = 1 the
         behaviour is that of the adapter alone (z = z_o). L_base is any loss on log-probabilities, NPO unless given;
         the paper tries gradient ascent, KL minimisation and relabelling.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..config.plan import Adapter, ModelSpec
from ..data.example import ForgetData
from ..errors import MethodError, PlanError
from ..models.patches import with_offset
from ..registry import name_of
from ..training.gradient import GradientMethod
from ._protocol import Method
from .npo import NPO

if TYPE_CHECKING:
    from ..models.lm import LM
    from ..runs.run import Run


@dataclass(frozen=True, kw_only=True)
class LogitOffset:
    """Train the difference of two small models, which is added to the logits of the large one."""

    small: str = ""
    """Folder, hub id or alias of the small model; empty takes the model itself with a LoRA adapter."""
    a: float = 1.0
    """How much of the difference is added."""
    base: Method = field(default_factory=NPO)
    """The loss, read on the sum's log-probabilities: a gradient method, such as ``{name: grad-diff}``."""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.a) and self.a >= 0):
            raise PlanError(f"a: should be a number from 0 up, got {self.a!r}", "1.0 is the paper's")

    def unlearn(self, lm: LM, data: ForgetData, run: Run) -> LM:
        """`lm` with a trained offset in `LM.patches`.

        The adapter, where there is one (`small` empty, or a new adapter on `lm`), is shaped by `model.adapter`.

        Raises:
            MethodError: `base` is no loss on log-probabilities, the small model has another vocabulary, or `lm` has an
                offset or a trained adapter already.
            ModelError: the small model cannot be loaded.
        """
        name = name_of(type(self.base)) or type(self.base).__name__
        if not isinstance(self.base, GradientMethod):
            raise MethodError(f"logit-offset trains by a loss, and {name} has none", "method.base=npo, grad-diff, …")
        if self.base.layers:
            raise MethodError(
                f"logit-offset knows logits only, and {name} reads hidden states", "method.base=npo, grad-diff, …"
            )
        from ..models.lm import LM

        small = LM.load(ModelSpec(path=self.small, template="plain")) if self.small else None
        start = with_offset(lm, self.a, run.plan.model.adapter or Adapter(), small)
        return self.base.unlearn(start, data, run)
