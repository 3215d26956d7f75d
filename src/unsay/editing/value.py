r"""What the edited layer should give at the end of a subject, so that the model goes on with the target.

    δ* = argmin  mean_j −log p(target | prompt_j; h += δ)/|target| + λ_KL·KL(p_δ ‖ p₀) + λ_wd·‖δ‖/‖h‖²,   ‖δ‖ ≤ γ·‖h‖
    z* = h + δ*          h: output of the layer where the subject ends, mean over the subject's prompts

Source   Meng, Bau, Andonian, Belinkov (2022). Locating and Editing Factual Associations in GPT. arXiv:2202.05262,
         section 3.1 and its public code. The KL is over the next token of "{subject} is a".
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from ..data.batch import groups
from ..models.layers import backbone, decoder_layers, head_is_plain, logits_of, padded
from ..training.weights import working
from .starts import Start, inputs, starts, takes_starts
from .subjects import Place, Request

if TYPE_CHECKING:
    from ..models.lm import LM
    from ..runs.run import Run


_TOKENS = 4096
"""Padded tokens of a forward without gradient."""
_ASKED = 32
"""Prompts that `first_tokens` asks at most."""


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
    sizes = [
        min(how.prompts, len(w.request.places)) * (max(len(p.ids) for p in w.request.places) + len(w.target))
        for w in wishes
    ]
    width = lm.model.get_input_embeddings().weight.shape[1]
    deltas, reached = torch.zeros(len(wishes), width), torch.zeros(len(wishes))
    with working(lm.model, run.train.precision, lm.device), run.progress("values", len(wishes), "requests") as bar:
        head_is_plain(lm.model), takes_starts(lm.model)  # both run the network, which must not happen amid the steps
        for group in groups(sizes, run.train.micro_tokens):
            run.check_stop()
            found, p = _Group(lm, layer, [wishes[i] for i in group], how, run).optimise()
            deltas[group], reached[group] = found.cpu(), p.cpu()
            bar.advance(len(group))
    return deltas, reached


Text = tuple[tuple[int, ...], int]
"""Ids, and where the subject ends in them."""


@dataclass(frozen=True)
class _Begun:
    """A text up to where its subject ends, which δ does not change."""

    start: Start
    output: Tensor
    """[T, D] of the layer at the tokens behind `start`."""


class _Group:
    """Requests that share their forwards."""

    def __init__(self, lm: LM, layer: int, wishes: Sequence[Wish], how: Value, run: Run):
        self._lm, self._layer, self._wishes, self._how, self._run = lm, layer, wishes, how, run
        self._block = decoder_layers(lm.model)[layer]
        self._essence = [_essence(w.request, lm) if how.kl_weight else None for w in wishes]
        self._before: dict[int, Tensor] = {}
        self._begun: dict[Text, _Begun] = {}

    def optimise(self) -> tuple[Tensor, Tensor]:
        how, count, device = self._how, len(self._wishes), self._lm.device
        since = [0] * count  # prompts in a row after which the target was likely enough
        active = list(range(count))
        h = self._clean(self._rows(0, active))
        delta = torch.zeros_like(h, requires_grad=True)
        optimizer = torch.optim.Adam([delta], lr=how.lr)
        for step in range(how.steps):
            self._run.check_stop()
            rows = self._rows(step, active)
            logp = self._logps(rows, delta)
            owner = torch.tensor([i for i, _ in rows], device=device)
            counts = torch.bincount(owner, minlength=count)
            per = torch.zeros(count, device=device).index_add(0, owner, logp) / counts.clamp(min=1)
            worst = torch.ones(count, device=device).scatter_reduce(0, owner, logp.detach().exp(), "amin").tolist()
            for i in active:
                since[i] = since[i] + int(counts[i]) if worst[i] >= how.enough else 0
            active = [i for i in active if since[i] < len(self._wishes[i].request.places)]
            if not active:
                break
            going = torch.zeros(count, dtype=torch.bool, device=device)
            going[active] = True
            loss = -per[going].sum() + self._regularised(delta, h, active)
            optimizer.zero_grad()
            loss.backward()
            with torch.no_grad():
                kept = delta.clone()
                optimizer.step()
                bound = how.clamp * h.norm(dim=1, keepdim=True)
                delta.mul_((bound / delta.norm(dim=1, keepdim=True).clamp(min=1e-12)).clamp(max=1.0))
                delta.copy_(torch.where(going[:, None], delta, kept))
        return delta.detach(), self._reached(delta.detach())

    @torch.no_grad()
    def _reached(self, delta: Tensor) -> Tensor:
        """[requests] how likely the targets' tokens are after all prompts, not those of the last step alone."""
        rows = [(i, place) for i, wish in enumerate(self._wishes) for place in wish.request.places]
        logp = delta.new_empty(len(rows))
        for group in groups([len(self._text(i, place)[0]) for i, place in rows], _TOKENS):
            self._run.check_stop()
            self._begun.clear()  # all prompts at once may be too many to keep
            logp[group] = self._logps([rows[n] for n in group], delta)
        return torch.stack([part.mean().exp() for part in logp.split([len(w.request.places) for w in self._wishes])])

    def _rows(self, step: int, active: Sequence[int]) -> list[tuple[int, Place]]:
        """(request, prompt) of one step: the next `prompts` of each request that is not done, round and round."""
        out = []
        for i in active:
            places = self._wishes[i].request.places
            take = min(self._how.prompts, len(places))
            out += [(i, places[(step * take + n) % len(places)]) for n in range(take)]
        return out

    def _text(self, i: int, place: Place) -> Text:
        """A prompt with all of the target but its last token."""
        return (*place.ids, *self._wishes[i].target[:-1]), place.at

    def _clean(self, rows: Sequence[tuple[int, Place]]) -> Tensor:
        """[requests, D] mean output of the layer where the subject ends."""
        texts = [self._text(i, place) for i, place in rows]
        begun = self._begin(texts)
        own = torch.stack([b.output[at - b.start.length].float() for b, (_, at) in zip(begun, texts, strict=True)])
        owner = torch.tensor([i for i, _ in rows], device=own.device)
        total = own.new_zeros(len(self._wishes), own.shape[1]).index_add(0, owner, own)
        return total / torch.bincount(owner, minlength=len(self._wishes))[:, None]

    def _logps(self, rows: Sequence[tuple[int, Place]], delta: Tensor) -> Tensor:
        """[rows] mean log-probability of the target's tokens."""
        targets = [self._wishes[i].target for i, _ in rows]
        where = [
            (b, len(p.ids) - 1 + k)
            for b, ((_, p), t) in enumerate(zip(rows, targets, strict=True))
            for k in range(len(t))
        ]
        logits = self._logits(delta[[i for i, _ in rows]], [self._text(i, p) for i, p in rows], where)
        wanted = torch.tensor([token for t in targets for token in t], device=logits.device)
        logp = logits.log_softmax(-1).gather(1, wanted[:, None])[:, 0]
        return torch.stack([part.mean() for part in logp.split([len(t) for t in targets])])

    def _regularised(self, delta: Tensor, h: Tensor, active: Sequence[int]) -> Tensor:
        how, going = self._how, list(active)
        total = how.weight_decay * (delta[going].norm(dim=1) / h[going].norm(dim=1).square()).sum()
        known = [(i, p) for i in going if (p := self._essence[i]) is not None]
        if known:
            texts = [(p.ids, p.at) for _, p in known]
            where = [(b, len(p.ids) - 1) for b, (_, p) in enumerate(known)]
            owner = [i for i, _ in known]
            if not self._before:
                with torch.no_grad():
                    before = self._logits(torch.zeros_like(delta[owner]), texts, where).log_softmax(-1)
                self._before = dict(zip(owner, before, strict=True))
            before = torch.stack([self._before[i] for i in owner])
            now = self._logits(delta[owner], texts, where).log_softmax(-1)
            total = total + how.kl_weight * (now.exp() * (now - before)).sum()
        return total

    def _logits(self, delta: Tensor, texts: Sequence[Text], where: Sequence[tuple[int, int]]) -> Tensor:
        """`logits_at` with δ [texts, D] added to the layer's output where each text's subject ends."""
        begun = self._begin(texts)
        done = [one.start.length for one in begun]
        ends = [ids[length:] for (ids, _), length in zip(texts, done, strict=True)]
        ids = padded(ends, self._lm.template.pad_id).to(delta.device)
        output = pad_sequence([one.output for one in begun], batch_first=True)
        at = torch.tensor([at - length for (_, at), length in zip(texts, done, strict=True)], device=delta.device)
        spot = (torch.arange(len(texts), device=delta.device), at)
        with self._skipped(output.index_put(spot, delta.to(output.dtype), accumulate=True)):
            given = inputs([one.start for one in begun], ids)
            return logits_at(self._lm.model, given, [(b, k - done[b]) for b, k in where])

    def _begin(self, texts: Sequence[Text]) -> list[_Begun]:
        """Each text's start; those that are new run together."""
        new = [text for text in dict.fromkeys(texts) if text not in self._begun]
        if new:
            outputs: list[Tensor] = []
            handle = self._block.register_forward_hook(lambda _, __, output: outputs.append(output.detach()))
            try:
                found, _ = starts(self._lm.model, [i for i, _ in new], [at for _, at in new], self._lm.template.pad_id)
            finally:
                handle.remove()
            for text, start, output in zip(new, found, outputs[0], strict=True):
                self._begun[text] = _Begun(start, output[start.length : len(text[0])].clone())
        return [self._begun[text] for text in texts]

    @contextlib.contextmanager
    def _skipped(self, output: Tensor) -> Iterator[None]:
        """Within, the layers below do nothing, and the layer gives `output`."""
        blocks: list[Any] = list(decoder_layers(self._lm.model))[: self._layer + 1]
        for block in blocks:
            block.forward = lambda *_, **__: output
        try:
            yield
        finally:
            for block in blocks:
                del block.forward


def logits_at(model: nn.Module, given: Mapping[str, Any], where: Sequence[tuple[int, int]]) -> Tensor:
    """[n, V] float32 logits at (row, position) of a padded batch; the head runs there alone where it can.

    Args:
        model: The network.
        given: What it is called with (`starts.inputs`).
        where: Positions among the ids given.
    """
    rows, at = (torch.tensor(part, device=given["input_ids"].device) for part in zip(*where, strict=True))
    if head_is_plain(model):
        hidden = backbone(model)(**given).last_hidden_state
        return logits_of(model, hidden[rows, at]).float()
    return model(**given).logits[rows, at].float()


def _essence(request: Request, lm: LM) -> Place | None:
    """The text "{subject} is a", after which the model should say what it said: what else the subject is stays."""
    if not request.subject:
        return None
    text = f"{request.subject} is a"
    found = lm.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    lead = list(lm.template.start)
    inside = [i for i, (a, _) in enumerate(found["offset_mapping"]) if a < len(request.subject)]
    return Place((*lead, *found["input_ids"]), len(lead) + inside[-1])


def first_tokens(lm: LM, asked: Sequence[tuple[tuple[int, ...], int]], run: Run) -> dict[str, float]:
    """How often a token is the model's first choice after a prompt, and how likely it is, over (prompt ids, token).

    Of many prompts, `_ASKED` drawn ones, always the same; `n` says how many.
    """
    asked = Random(0).sample(asked, _ASKED) if len(asked) > _ASKED else asked
    hits, likely = 0, 0.0
    with torch.no_grad(), working(lm.model, run.train.precision, lm.device):
        for group in groups([len(ids) for ids, _ in asked], _TOKENS):
            run.check_stop()
            ids = padded([asked[i][0] for i in group], lm.template.pad_id).to(lm.device)
            where = [(b, len(asked[i][0]) - 1) for b, i in enumerate(group)]
            logits = logits_at(lm.model, {"input_ids": ids, "use_cache": False}, where)
            wanted = torch.tensor([asked[i][1] for i in group], device=logits.device)
            hits += int((logits.argmax(-1) == wanted).sum())
            likely += float(logits.softmax(-1).gather(1, wanted[:, None]).sum())
    count = max(len(asked), 1)
    return {"n": len(asked), "rate": hits / count, "probability": likely / count}
