"""What DPO, AltPO and ReLearn share."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from ..training.step import View


def preference(winner: View, loser: View, beta: float, *, mean: bool = False) -> Tensor:
    """[B] −(2/β) · log σ(β · [(S_θ − S_θ0)(winner) − (S_θ − S_θ0)(loser)]), row by row (``paired`` keeps rows aligned).

    Args:
        winner: B rows.
        loser: B rows, of the same questions in the same order.
        beta: Inverse temperature.
        mean: S is the mean over an answer's tokens, not their sum.
    """
    if mean:
        gain, loss = winner.mean_logps - winner.ref.mean_logps, loser.mean_logps - loser.ref.mean_logps
    else:
        gain, loss = winner.logps - winner.ref.logps, loser.logps - loser.ref.logps
    margin = gain - loss  # [B]
    return -2 / beta * F.logsigmoid(beta * margin)
