r"""Retraining: the gold standard. Train a model that never saw the forget rows on everything else.

    θr = argmin_θ nll on D ∖ D_forget, from the weights θ_base that precede D

Paper    Cao, Yang (2015). Towards Making Systems Forget with Machine Unlearning. IEEE S&P, doi:10.1109/SP.2015.35;
         as the yardstick of unlearning, Bourtoule et al. (2021). Machine Unlearning. arXiv:1912.03817
Limits   Costs a whole training, and needs the weights from before the data was learned.
Differs  θ_base is the model given as `start`; started from a model that knows the forget rows, this would only be
         fine-tuning.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..data.example import ForgetData
from ..errors import MethodError
from .fine_tune import FineTune

if TYPE_CHECKING:
    from ..models.lm import LM
    from ..runs.run import Run


@dataclass(frozen=True, kw_only=True)
class Retrain:
    """Fine-tune a model that never knew the forget rows on the retain rows."""

    start: str = ""
    """Folder, hub id or alias of the weights from before the data was learned."""

    def unlearn(self, lm: LM, data: ForgetData, run: Run) -> LM:
        """Train `start` on the retain rows; `lm` gives the template and is not touched.

        Raises:
            MethodError: no `start`.
            ModelError: it cannot be loaded.
        """
        if not self.start:
            raise MethodError(
                "retrain needs the model from before the data was learned", "method.start=FOLDER_OR_HUB_ID"
            )
        from ..config.plan import ModelSpec
        from ..models.lm import LM

        base = LM.load(ModelSpec(path=self.start, template=lm.template.kind))
        return FineTune(on="retain").unlearn(base, data, run)
