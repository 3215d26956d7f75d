r"""Efficient unlearning (EUL): one adapter per request against a frozen teacher, fused in closed form.

    L_i = α·KL_retain − KL_forget + λ·nll_retain − γ·nll_forget      KL = E_t[ KL(p_θ0 ‖ p_θ) ], forget: request i
    W   = Σ_i W_i Ĝ_i (Σ_j Ĝ_j)⁻¹      Ĝ_i = X_iᵀX_i + ρ_i I, X_i: inputs of the layer on the forget rows of i

Paper    Chen, Yang (2023). Unlearn What You Want to Forget: Efficient Unlearning for LLMs. arXiv:2310.20150
Limits   Every request is a training of its own. The fusion holds one Gram matrix per adapted layer, and the fused
         adapter has the summed rank of all requests.
Differs  LoRA instead of layers inserted after each feed-forward. The paper's forget terms are unbounded; here a token
         counts up to `limit` nats in each, and beyond it no longer pulls. Both roles meet in every step, where the
         paper alternates epochs; terms are means over answer tokens, not sums. For a causal model the masked-language
         term is the NLL. The fusion has a ridge (see `unsay.models.fusion`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from torch import Tensor

from ..config.plan import Adapter
from ..data.example import Example, ForgetData
from ..errors import PlanError
from ..models.adapters import attach, merged
from ..models.fusion import AdapterFusion, settings_of
from ..naming import derive_seed
from ..training.batch import encode_rows
from ..training.gradient import GradientMethod
from ..training.reference import adapter_is_fresh
from ..training.step import Step

if TYPE_CHECKING:
    from ..models.lm import LM
    from ..runs.run import Run


@dataclass(frozen=True, kw_only=True)
class EUL(GradientMethod):
    """Train an adapter away from the teacher on each request, and fuse the adapters."""

    retain_kl: float = 0.8
    """α."""
    retain_weight: float = 1.0
    """λ."""
    forget_weight: float = 0.2
    """γ."""
    limit: float = 5.0
    """Nats per token up to which the two forget terms count."""
    requests_by: str = "entity"
    """Key of the rows' `meta`: its values are the requests, trained apart; "" makes all rows one request."""
    ridge: float = 1e-3
    """Of the fusion."""
    adapter: Adapter = field(default_factory=Adapter)
    """What to train; not read when the model brings a new one (``model.adapter``). Its `merge` is not read."""
    uses_reference = True

    def __post_init__(self) -> None:
        for name in ("limit", "ridge"):
            if getattr(self, name) <= 0:
                raise PlanError(f"{name}: should be positive, got {getattr(self, name)!r}")

    def loss(self, step: Step) -> dict[str, Tensor]:
        """The four terms of one request."""
        forget, retain = step.forget, step.retain
        return {
            "forget_kl": -forget.token_mean(forget.token_kl.clamp(max=self.limit)),
            "forget": -self.forget_weight * forget.token_mean((-forget.token_logps).clamp(max=self.limit)),
            "retain_kl": self.retain_kl * retain.kl,
            "retain": self.retain_weight * retain.nll,
        }

    def unlearn(self, lm: LM, data: ForgetData, run: Run) -> LM:
        """Every request from `lm` as given; plain weights when it brings no new adapter, else a fused adapter."""
        fresh = adapter_is_fresh(lm.model)
        plain = lm if fresh else merged(lm)
        adapter = settings_of(lm) if fresh else self.adapter
        requests = self.requests(data)
        fusion = AdapterFusion(self.ridge)
        for number, rows in enumerate(requests):
            start = lm if fresh else attach(plain, adapter, derive_seed(run.seed, "eul", number))
            tuned = super().unlearn(start, replace(data, forget=rows), run.sub(f"request-{number}"))
            if len(requests) == 1:
                return tuned if fresh else merged(tuned)
            fusion.add(tuned, self._inputs(tuned, rows, run))
        fused = fusion.result(plain, adapter)
        return fused.fork() if fresh else merged(fused)

    def requests(self, data: ForgetData) -> list[list[Example]]:
        """The forget rows by request, in order of appearance; rows without the key make one request."""
        found: dict[str, list[Example]] = {}
        for row in data.forget:
            found.setdefault(str(row.meta.get(self.requests_by, "")), []).append(row)
        return list(found.values()) or [[]]

    def _inputs(self, lm: LM, rows: list[Example], run: Run) -> Iterator[list[int]]:
        """Token ids of every row."""
        with run.progress("fusion", len(rows), "rows") as bar:
            for row in encode_rows(rows, lm.template, run.plan.data.max_length):
                run.check_stop()
                yield list(row.tokens.input_ids)
                bar.advance()
