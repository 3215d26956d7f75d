r"""ReLearn: learn vague answers to the forget questions, in many forms, in the place of the true ones.

    L = γ·nll(D̃_f ∪ D_g) + α·nll_retain + κ·KL_retain      KL = E_t[ KL( p_θ0(·|y_<t) ‖ p_θ(·|y_<t) ) ]
    form=dpo: first term −(2/β) · E[ log σ( β · [(S_θ − S_θ0)(ỹ|x̃) − (S_θ − S_θ0)(y|x̃)] ) ]      S: mean over tokens

D̃_f: every forget question and its variants with a vague answer each, and completions of these answers; D_g: generic
rows. See `unsay.augment` for how they are made, and for what keeps the true answers out of them.

Paper    Xu, Zhao, Yang, Zhao, Deng, Wang, Hooi, Oo, Chen, Zhang (2025). ReLearn: Unlearning via Learning for Large
         Language Models. arXiv:2502.11190
Code     github.com/zjunlp/unlearn
Limits   As good as its vague answers: those of the default writer are by rule and say little, those of a chat model
         need one that follows instructions. An epoch is a pass over D̃_f ∪ D_g, some ten times the forget rows and more,
         so that train.epochs counts for more than with other methods. Rows must be questions.
Differs  The KL follows the code's direction (the paper's is kl_direction=model), and is a mean over the tokens of the
         retain rows, without the code's padding. The code trains on the true answers, too, by mistake: here never.
         retain=nll+kl is the paper's; nll alone (its +gdr), kl alone (+klr) and none are the code's ablations.
         form=dpo has no completions and no generic rows, as there is no true answer to set against them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from torch import Tensor

from ..augment import Augmenter
from ..data.example import Example, ForgetData
from ..errors import PlanError
from ..training.objective import Objective
from ..training.reference import Uses
from ..training.row_loss import divergence_to
from ..training.step import Step, View
from ._preference import preference
from ._protocol import Method

if TYPE_CHECKING:
    from ..models.lm import LM
    from ..runs.run import Run


@dataclass(frozen=True, kw_only=True)
class Relearn(Objective):
    """Fine-tune on vague answers, generic rows and the retain rows."""

    augment: Augmenter = field(default_factory=Augmenter)
    """How the rows are made: writer, variants, cuts, ratio, gates."""
    retain: Literal["nll+kl", "nll", "kl", "hidden", "none"] = "nll+kl"  # type: ignore[assignment]
    """What holds the retain rows; nll+kl is the paper's."""
    kl_weight: float = 1.0
    """κ, with nll+kl; kl alone goes by `retain_weight`."""
    kl_direction: Literal["reference", "model"] = "reference"
    """Where the KL is taken from: KL(θ0 ‖ θ) as in the code, or KL(θ ‖ θ0) as in the paper's equation."""
    kl_on: Literal["all", "answer"] = "all"
    """Tokens of the retain rows that the KL is a mean over."""
    form: Literal["sft", "dpo"] = "sft"
    """Learn the vague answers, or prefer them to the true ones."""
    beta: float = 0.1
    """β of form=dpo."""
    base: Method | None = None
    """Another method that unlearns first, with the same training settings: ReLearn on top of it repairs what it broke
    (the paper's adaptability). The KL then holds what that model says."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.beta <= 0:
            raise PlanError(f"beta: should be positive, got {self.beta!r}", "0.1 is the code's")
        if self.kl_weight < 0:
            raise PlanError(f"kl_weight: should be at least 0, got {self.kl_weight!r}", "retain=nll leaves the KL out")

    @property
    def paired(self) -> bool:  # type: ignore[override]
        """Vague and true answer of one question meet."""
        return self.form == "dpo"

    @property
    def uses_reference(self) -> Uses:  # type: ignore[override]
        """Logits for the KL, log-probabilities for dpo."""
        if self.retain in ("nll+kl", "kl", "hidden"):
            return True
        return "logps" if self.form == "dpo" else False

    def unlearn(self, lm: LM, data: ForgetData, run: Run) -> LM:
        """See `GradientMethod.unlearn`; after `base` where there is one."""
        start = self.base.unlearn(lm, data, run.sub("base")) if self.base is not None else lm
        return super().unlearn(start, data, run)

    def forget_rows(self, data: ForgetData, run: Run) -> dict[str, Sequence[Example]]:
        """``vague``, and for dpo the true answers to the same questions as ``forget``."""
        made = self.augment.augment(data.forget, run, others=data.retain)
        if self.form == "sft":
            return {"vague": made.rows}
        true = {row.id: row for row in data.forget}
        losers = [Example(row.prompt, true[str(row.meta["item"])].answer, meta=row.meta) for row in made.pairs]
        return {"vague": made.pairs, "forget": losers}

    def forget_term(self, step: Step) -> Tensor:
        """NLL of D̃_f ∪ D_g, or the preference term."""
        if self.form == "sft":
            return step.vague.nll
        return step.vague.mean(preference(step.vague, step.forget, self.beta, mean=True))

    def retain_term(self, step: Step) -> Tensor:
        """The one term asked for."""
        return self._kl(step.retain) if self.retain == "kl" else super().retain_term(step)

    def loss(self, step: Step) -> dict[str, Tensor]:
        """The terms with their weights; both retain terms are one to a combiner."""
        if self.retain != "nll+kl":
            return super().loss(step)
        both = self.retain_weight * step.retain.nll + self.kl_weight * self._kl(step.retain)
        return {"forget": self.forget_weight * self.forget_term(step), "retain": both}

    def _kl(self, retain: View) -> Tensor:
        view = retain.whole if self.kl_on == "all" else retain
        if self.kl_direction == "reference":
            return view.kl
        return view.token_mean(view.token_values(divergence_to(view.ref_logits)))
