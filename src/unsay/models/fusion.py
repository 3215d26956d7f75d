"""One layer out of several that were trained apart, in closed form.

    W = argmin Σ_i ‖X_i (W − W_i)ᵀ‖² + ρ_i ‖W − W_i‖²  =  Σ_i W_i Ĝ_i (Σ_j Ĝ_j)⁻¹,      Ĝ_i = X_iᵀ X_i + ρ_i I

X_i [tokens, in] are the inputs of the layer whose weight is W_i [out, in]; only their Gram matrices are kept.

Paper    Chen, Yang (2023). Unlearn What You Want to Forget: Efficient Unlearning for LLMs. arXiv:2310.20150
Differs  The ridge ρ_i = ridge · mean of the diagonal of X_iᵀX_i pulls W towards the W_i, not towards 0: a direction
         that no input has gets the mean of the W_i, and a single layer is returned as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..config.plan import Adapter
from ..errors import MethodError
from .adapters import adapted, attach, base_of

if TYPE_CHECKING:
    from .lm import LM


def fuse(weights: Sequence[Tensor], grams: Sequence[Tensor], ridge: float = 0.0) -> Tensor:
    """The weight closest to all of `weights` on the inputs of each.

    Args:
        weights: W_i [out, in].
        grams: X_iᵀ X_i [in, in], as many.
        ridge: Share of each Gram matrix's mean diagonal added to it; above 0 unless their sum has full rank.

    Returns:
        [out, in] float64.

    Raises:
        MethodError: no weights, or the system is singular.
    """
    whole = [with_ridge(gram, ridge) for gram in grams]
    moments = [weight.double() @ gram for weight, gram in zip(weights, whole, strict=True)]
    if not moments:
        raise MethodError("there is nothing to fuse")
    return solve(torch.stack(moments).sum(0), torch.stack(whole).sum(0))


def with_ridge(gram: Tensor, ridge: float) -> Tensor:
    """G + ridge · mean(diag G) · I, in float64."""
    wide = gram.double()
    return wide + ridge * wide.diagonal().mean() * torch.eye(len(wide), dtype=wide.dtype, device=wide.device)


def solve(moment: Tensor, total: Tensor) -> Tensor:
    """The product moment · total⁻¹ for a symmetric positive definite `total` [in, in], in float64.

    Raises:
        MethodError: it is singular.
    """
    factor, failed = torch.linalg.cholesky_ex(total.double())
    if bool(failed) or not bool(factor.isfinite().all()):
        raise MethodError("the inputs do not determine the fused layer", "give a ridge above 0, such as 0.001")
    return torch.cholesky_solve(moment.double().T, factor).T


class AdapterFusion:
    """Fuses LoRA adapters of one model, given one after the other; none of them is kept.

    W_i = W_0 + s·B_i·A_i, so the fused layer is W_0 + Σ_i s·B_i·A_i·Ĝ_i (Σ_j Ĝ_j)⁻¹: an adapter of the summed rank, in
    which only the A matrices have changed. Kept per layer: the sum of Ĝ, and of each adapter Â_i = A_i·Ĝ_i and B_i.

    Args:
        ridge: See `fuse`.
    """

    def __init__(self, ridge: float):
        self._ridge = ridge
        self._totals: dict[str, Tensor] = {}
        self._downs: dict[str, list[Tensor]] = {}
        self._ups: dict[str, list[Tensor]] = {}

    def add(self, lm: LM, inputs: Iterable[Sequence[int]]) -> None:
        """Take up the adapter of `lm`.

        Args:
            lm: With a trained adapter.
            inputs: Token ids of each row on which this adapter's behaviour counts.

        Raises:
            MethodError: no adapter, or one that changes more than linear layers.
        """
        found = lora_layers(lm)
        for name, gram in input_grams(lm, inputs).items():
            layer = found[name]
            whole = with_ridge(gram, self._ridge).float()  # rounded once, so that one adapter comes back as it was
            down, up = layer.lora_A["default"].weight.detach(), layer.lora_B["default"].weight.detach()
            self._totals[name] = self._totals[name].add_(whole) if name in self._totals else whole
            self._downs.setdefault(name, []).append(down.double() @ whole.double())
            self._ups.setdefault(name, []).append(up * layer.scaling["default"])

    def result(self, lm: LM, adapter: Adapter) -> LM:
        """`lm` with the fused adapter, its rank the sum of the ranks.

        Args:
            lm: The model all adapters started from, plain or with a fresh adapter; its frozen weights are shared.
            adapter: As each of them was made.
        """
        count = max(len(downs) for downs in self._downs.values())
        alpha = 2 * adapter.rank if adapter.alpha is None else adapter.alpha
        wide = Adapter(rank=adapter.rank * count, alpha=alpha * count, dropout=adapter.dropout, targets=adapter.targets)
        fused = attach(base_of(lm), wide)
        with torch.no_grad():
            for name, layer in lora_layers(fused).items():
                down = solve(torch.cat(self._downs[name]), self._totals[name])
                layer.lora_A["default"].weight.copy_(down)
                layer.lora_B["default"].weight.copy_(torch.cat(self._ups[name], dim=1) / layer.scaling["default"])
        return fused


def settings_of(lm: LM) -> Adapter:
    """How the adapter of `lm` was made, to make others like it.

    Raises:
        MethodError: it has no adapter, or one with settings that `Adapter` does not know.
    """
    if not adapted(lm.model):
        raise MethodError(f"{lm.origin} has no adapter", "set model.adapter")
    found = lm.model.peft_config["default"]
    more = [found.modules_to_save, found.use_dora, found.use_rslora, found.rank_pattern, found.alpha_pattern]
    if any(more) or found.bias != "none" or isinstance(found.target_modules, str):
        raise MethodError(
            "the adapter is more than A and B of one rank on listed modules, so adapters like it cannot be fused",
            "merge it, and let the method attach its own",
        )
    return Adapter(
        rank=found.r, alpha=found.lora_alpha, dropout=found.lora_dropout, targets=tuple(sorted(found.target_modules))
    )


def lora_layers(lm: LM) -> dict[str, Any]:
    """Name → linear layer that carries the adapter of `lm`.

    Raises:
        MethodError: there is none, or another kind of layer carries one too.
    """
    if not adapted(lm.model):
        raise MethodError(f"{lm.origin} has no adapter", "set model.adapter")
    from peft.tuners.lora import LoraLayer

    found = {name: module for name, module in lm.model.named_modules() if isinstance(module, LoraLayer)}
    odd = [name for name, module in found.items() if "default" not in module.lora_A]
    if odd or not found:
        raise MethodError(f"only adapters of linear layers can be fused: {', '.join(odd[:3])}", "adapter.targets")
    return found


@torch.no_grad()
def input_grams(lm: LM, inputs: Iterable[Sequence[int]]) -> dict[str, Tensor]:
    """XᵀX [in, in] float32 of the inputs of every adapted layer, over all tokens of all rows.

    Rows go through by themselves, so that no padding is counted. Layers with the same input are computed apart.

    Args:
        lm: With an adapter, which is on.
        inputs: Token ids, row by row.
    """
    grams: dict[str, Tensor] = {}

    def hook(name: str) -> Any:
        def collect(module: Any, given: tuple[Tensor, ...]) -> None:
            x = given[0].detach().flatten(0, -2).float()
            gram = x.T @ x
            grams[name] = grams[name].add_(gram) if name in grams else gram

        return collect

    mode = lm.model.training
    lm.model.eval()
    with ExitStack() as stack:
        stack.callback(lm.model.train, mode)
        for name, layer in lora_layers(lm).items():
            stack.callback(layer.register_forward_pre_hook(hook(name)).remove)
        for ids in inputs:
            lm.model(input_ids=torch.tensor([list(ids)], device=lm.device), use_cache=False)
    if not grams:
        raise MethodError("no row reached the layers to fuse", "give at least one row")
    return grams
