r"""What the edited layer should give at the end of a subject, so that the model goes on with the target.

    δ* = argmin  mean_j −log p(target | prompt_j; h += δ)/|target| + λ_KL·KL(p₀ ‖ p_δ) + λ_wd·‖δ‖/‖h‖²,   ‖δ‖ ≤ γ·‖h‖
    z* = h + δ*          h: output of the layer where the subject ends, mean over the subject's prompts

Source   Meng, Bau, Andonian, Belinkov (2022). Locating and Editing Factual Associations in GPT. arXiv:2202.05262,
         section 3.1 and its public code. The KL is over the next token of "{subject} is a".
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..data.batch import groups
from ..models.layers import backbone, decoder_layers, head_is_plain, logits_of
from .keys import padded
from .subjects import Place, Request

if TYPE_CHECKING:
    from ..models.lm import LM
    from ..runs.run import Run


_TOKENS = 4096
"""Padded tokens of a forward without gradient."""


@dataclass(frozen=True, kw_only=True)
class Value:
    """How δ is found."""

    steps: int = 25
    lr: float = 0.5
    clamp: float = 4.0
    """γ."""
    weight_decay: float = 0.0
    """λ_wd."""
    kl_weight: float = 0.0
    """λ_KL."""
    enough: float = 0.95
    """A request is done when the target's tokens are this likely after each of its prompts; 1 is never."""
    prompts: int = 4
    """Prompts of a request in one step; the steps go round all of them."""


@dataclass
class Wish:
    """A request with the ids that are to follow its prompts."""

    request: Request
    target: tuple[int, ...]


def values(lm: LM, layer: int, wishes: Sequence[Wish], how: Value, run: Run) -> tuple[Tensor, Tensor]:
    """δ* of every request: they are optimised side by side, and do not depend on each other.

    Args:
        lm: The model to be edited; its weights get no gradient and do not change.
        layer: Whose output δ is added to.
        wishes: Requests with targets.
        how: The settings.
        run: ``train.micro_tokens`` says how many requests share a forward.

    Returns:
        δ* [n, D], and [n] how likely the target's tokens are with it (geometric mean over tokens and prompts).
    """
    sizes = [max(len(p.ids) for p in w.request.places) + len(w.target) for w in wishes]
    budget = max(1, run.train.micro_tokens // how.prompts)
    width = lm.model.get_input_embeddings().weight.shape[1]
    deltas, reached = torch.zeros(len(wishes), width), torch.zeros(len(wishes))
    head_is_plain(lm.model)  # it runs the network once, which must not happen with hooks on it
    with _frozen(lm.model), run.progress("values", len(wishes), "requests") as bar:
        for group in groups(sizes, budget):
            run.check_stop()
            found, p = _Group(lm, layer, [wishes[i] for i in group], how, run).optimise()
            deltas[group], reached[group] = found.cpu(), p.cpu()
            bar.advance(len(group))
    return deltas, reached


class _Group:
    """Requests that share their forwards."""

    def __init__(self, lm: LM, layer: int, wishes: Sequence[Wish], how: Value, run: Run):
        self._lm, self._layer, self._wishes, self._how, self._run = lm, layer, wishes, how, run
        self._block = decoder_layers(lm.model)[layer]
        self._essence = [_essence(w.request, lm) if how.kl_weight else None for w in wishes]
        self._before: Tensor | None = None
        self._outputs: dict[tuple[tuple[int, ...], ...], Tensor] = {}

    def optimise(self) -> tuple[Tensor, Tensor]:
        how, count = self._how, len(self._wishes)
        delta: Tensor | None = None
        likely = torch.zeros(count)
        since = [0] * count  # prompts in a row after which the target was likely enough
        for step in range(how.steps + 1):  # the last one only looks
            self._run.check_stop()
            rows = self._rows(step)
            if delta is None:
                h = self._clean(rows)
                delta = torch.zeros_like(h, requires_grad=True)
                optimizer = torch.optim.Adam([delta], lr=how.lr)
            logp = self._logps(rows, delta)
            owner = torch.tensor([i for i, _ in rows], device=logp.device)
            per = torch.zeros(count, device=logp.device).index_add(0, owner, logp)
            counts = torch.bincount(owner, minlength=count)
            per = per / counts
            likely = per.detach().exp().cpu()
            worst = torch.ones(count, device=logp.device).scatter_reduce(0, owner, logp.detach().exp(), "amin").tolist()
            for i, wish in enumerate(self._wishes):
                if since[i] < len(wish.request.places):  # otherwise it is done
                    since[i] = since[i] + int(counts[i]) if worst[i] >= how.enough else 0
            todo = [n < len(wish.request.places) for n, wish in zip(since, self._wishes, strict=True)]
            active = torch.tensor(todo, device=logp.device)
            if step == how.steps or not bool(active.any()):
                break
            loss = -per.sum() + self._regularised(delta, h)
            optimizer.zero_grad()
            loss.backward()
            with torch.no_grad():
                kept = delta.clone()
                optimizer.step()
                bound = how.clamp * h.norm(dim=1, keepdim=True)
                delta.mul_((bound / delta.norm(dim=1, keepdim=True).clamp(min=1e-12)).clamp(max=1.0))
                delta.copy_(torch.where(active[:, None], delta, kept))
        assert delta is not None
        return delta.detach(), likely

    def _rows(self, step: int) -> list[tuple[int, Place]]:
        """(request, prompt) of one step: the next `prompts` of each request, round and round."""
        out = []
        for i, wish in enumerate(self._wishes):
            places = wish.request.places
            take = min(self._how.prompts, len(places))
            out += [(i, places[(step * take + n) % len(places)]) for n in range(take)]
        return out

    @torch.no_grad()
    def _clean(self, rows: Sequence[tuple[int, Place]]) -> Tensor:
        """[requests, D] mean output of the layer where the subject ends."""
        kept: list[Tensor] = []

        def keep(_: nn.Module, __: object, output: Tensor) -> None:
            at = torch.tensor([p.at for _, p in rows], device=output.device)
            kept.append(output[torch.arange(len(rows), device=output.device), at].float())

        handle = self._block.register_forward_hook(keep)
        try:
            ids = padded([p.ids for _, p in rows], self._lm.template.pad_id).to(self._lm.device)
            backbone(self._lm.model)(input_ids=ids, use_cache=False)
        finally:
            handle.remove()
        own = kept[0]
        owner = torch.tensor([i for i, _ in rows], device=own.device)
        total = own.new_zeros(len(self._wishes), own.shape[1]).index_add(0, owner, own)
        return total / torch.bincount(owner, minlength=len(self._wishes))[:, None]

    def _logps(self, rows: Sequence[tuple[int, Place]], delta: Tensor) -> Tensor:
        """[rows] mean log-probability of the target's tokens."""
        targets = [self._wishes[i].target for i, _ in rows]
        ids = [[*p.ids, *t[:-1]] for (_, p), t in zip(rows, targets, strict=True)]
        where = [
            (b, len(p.ids) - 1 + k)
            for b, ((_, p), t) in enumerate(zip(rows, targets, strict=True))
            for k in range(len(t))
        ]
        logits = self._logits(delta, [i for i, _ in rows], [p.at for _, p in rows], ids, where)
        wanted = torch.tensor([token for t in targets for token in t], device=logits.device)
        logp = logits.log_softmax(-1).gather(1, wanted[:, None])[:, 0]
        return torch.stack([part.mean() for part in logp.split([len(t) for t in targets])])

    def _regularised(self, delta: Tensor, h: Tensor) -> Tensor:
        how = self._how
        total = how.weight_decay * (delta.norm(dim=1) / h.norm(dim=1).square()).sum()
        known = [(i, p) for i, p in enumerate(self._essence) if p is not None]
        if known:
            ids = [p.ids for _, p in known]
            where = [(b, len(p.ids) - 1) for b, (_, p) in enumerate(known)]
            owner, at = [i for i, _ in known], [p.at for _, p in known]
            if self._before is None:
                with torch.no_grad():
                    self._before = self._logits(torch.zeros_like(delta), owner, at, ids, where).log_softmax(-1)
            now = self._logits(delta, owner, at, ids, where).log_softmax(-1)
            total = total + how.kl_weight * (self._before.exp() * (self._before - now)).sum()
        return total

    def _logits(
        self,
        delta: Tensor,
        owner: Sequence[int],
        at: Sequence[int],
        rows: Sequence[Sequence[int]],
        where: Sequence[tuple[int, int]],
    ) -> Tensor:
        """`logits_at` with each row's δ added to the layer's output at `at`. What lies below runs once a batch."""
        ids = padded(rows, self._lm.template.pad_id).to(self._lm.device)
        key = tuple(tuple(row) for row in rows)
        known = self._outputs.get(key)
        spot = (torch.arange(len(at), device=ids.device), torch.tensor(list(at), device=ids.device))

        def add(_: nn.Module, __: object, output: Tensor) -> Tensor:
            if known is None:
                self._outputs[key] = output.detach()
            return output.index_put(spot, delta[list(owner)].to(output.dtype), accumulate=True)

        handle = self._block.register_forward_hook(add)
        try:
            with self._skipped(known):
                return logits_at(self._lm.model, ids, where)
        finally:
            handle.remove()

    @contextlib.contextmanager
    def _skipped(self, output: Tensor | None) -> Iterator[None]:
        """Within, the layers below do nothing, and the layer gives `output`; None leaves them as they are."""
        blocks: list[Any] = list(decoder_layers(self._lm.model))[: self._layer + 1] if output is not None else []
        for block in blocks:
            block.forward = lambda *_, **__: output
        try:
            yield
        finally:
            for block in blocks:
                del block.forward


def logits_at(model: nn.Module, ids: Tensor, where: Sequence[tuple[int, int]]) -> Tensor:
    """[n, V] float32 logits at (row, position) of a padded batch [B, T]; the head runs there alone where it can."""
    rows, at = (torch.tensor(part, device=ids.device) for part in zip(*where, strict=True))
    if head_is_plain(model):
        hidden = backbone(model)(input_ids=ids, use_cache=False).last_hidden_state
        return logits_of(model, hidden[rows, at]).float()
    return model(input_ids=ids, use_cache=False).logits[rows, at].float()


def _essence(request: Request, lm: LM) -> Place | None:
    """The text "{subject} is a", after which the model should say what it said: what else the subject is stays."""
    if not request.subject:
        return None
    text = f"{request.subject} is a"
    found = lm.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    lead = list(lm.template.start)
    inside = [i for i, (a, _) in enumerate(found["offset_mapping"]) if a < len(request.subject)]
    return Place((*lead, *found["input_ids"]), len(lead) + inside[-1])


@contextlib.contextmanager
def _frozen(model: nn.Module) -> Iterator[None]:
    """Within, no parameter asks for a gradient."""
    asked = [p for p in model.parameters() if p.requires_grad]
    for parameter in asked:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in asked:
            parameter.requires_grad_(True)


def first_tokens(lm: LM, asked: Sequence[tuple[tuple[int, ...], int]], run: Run) -> dict[str, float]:
    """How often a token is the model's first choice after a prompt, and how likely it is, over (prompt ids, token)."""
    hits, likely = 0, 0.0
    with torch.no_grad():
        for group in groups([len(ids) for ids, _ in asked], _TOKENS):
            run.check_stop()
            ids = padded([asked[i][0] for i in group], lm.template.pad_id).to(lm.device)
            logits = logits_at(lm.model, ids, [(b, len(asked[i][0]) - 1) for b, i in enumerate(group)])
            wanted = torch.tensor([asked[i][1] for i in group], device=logits.device)
            hits += int((logits.argmax(-1) == wanted).sum())
            likely += float(logits.softmax(-1).gather(1, wanted[:, None]).sum())
    count = max(len(asked), 1)
    return {"n": len(asked), "rate": hits / count, "probability": likely / count}
