"""What an objective sees: a `Step` of one `View` per role. Nothing is computed before it is read.

Letters: B sequences of the role, T tokens of the longest row, V vocabulary, D width, A answer tokens of the role.
A view may be empty in a micro-batch; every term built from it is then exactly zero.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import cached_property

import torch
from torch import Tensor

from ..errors import NeedError
from .batch import Counts, MicroBatch, answer_mask
from .forward import Forward
from .row_loss import Row, divergence_from, log_probability, row_values

Reweigh = Callable[[Tensor, Tensor], Tensor]
"""Token NLLs [B, T-1] without gradient and the answer mask [B, T-1] → token weights [B, T-1]."""


class Scores:
    """Per-token log-probabilities of one role's answers, and what follows from them."""

    def __init__(self, batch: MicroBatch, counts: Counts):
        self._batch = batch
        self._counts = counts

    @property
    def keys(self) -> tuple[str, ...]:
        """[B] content hash of each row."""
        return self._batch.keys

    @cached_property
    def mask(self) -> Tensor:
        """[B, T-1] bool: True where the next token belongs to the answer."""
        return answer_mask(self._batch)

    @cached_property
    def targets(self) -> Tensor:
        """[A] int64: the answer tokens, row by row."""
        return self._batch.input_ids[:, 1:][self.mask]

    def _answer_logps(self) -> Tensor:
        raise NotImplementedError

    @property
    def logits(self) -> Tensor:
        """[A, V] float32 logits at the positions that predict answer tokens, as `targets` goes.

        Raises:
            NeedError: only log-probabilities were kept.
        """
        raise _only_logps("logits")

    def hidden(self, layer: str) -> Tensor:
        """[B, T, D] output of a declared layer. Positions past a row's length hold noise: mask by `mask`.

        Raises:
            NeedError: the objective did not declare `layer`, or only log-probabilities were kept.
        """
        raise _only_logps(layer)

    @cached_property
    def token_logps(self) -> Tensor:
        """[B, T-1] float32: log p(next token), 0 off the answer."""
        values = self._answer_logps()
        flat = values.new_zeros(self.mask.numel()).index_put((self.mask.flatten().nonzero()[:, 0],), values)
        return flat.view(self.mask.shape)

    @cached_property
    def weights(self) -> Tensor | None:
        """[B, T-1] how much each token counts, 0 off the answer; None is 1 for every answer token."""
        return self._batch.weights

    @property
    def logps(self) -> Tensor:
        """[B] weighted sums over each answer: S(y|x)."""
        return (self.token_logps if self.weights is None else self.token_logps * self.weights).sum(-1)

    @property
    def mean_logps(self) -> Tensor:
        """[B] weighted means over the tokens of each answer."""
        if self.weights is None:
            return self.logps / (self._batch.lengths - self._batch.answer_start)
        return self.logps / self.weights.sum(-1)

    @property
    def nll(self) -> Tensor:
        """[] mean negative log-probability over the answer tokens of the whole accumulated batch."""
        return self.token_mean(-self.token_logps)

    def mean(self, per_sequence: Tensor) -> Tensor:
        """[] mean of [B] numbers over the role's sequences in the whole accumulated batch."""
        return per_sequence.sum() / max(self._counts.sequences, 1)

    def token_mean(self, per_token: Tensor) -> Tensor:
        """[] weighted mean of [A] or [B, T-1] numbers over the role's answer tokens in the whole accumulated batch.

        [B, T-1] numbers must be 0 off the answer.
        """
        if self.weights is not None:
            per_token = per_token * (self.weights if per_token.dim() == 2 else self.weights[self.mask])
        return per_token.sum() / (self._counts.answer_tokens or 1)

    def rest_mean(self, per_token: Tensor) -> Tensor:
        """[] mean of [A] numbers over what token weights m between 0 and 1 leave out: Σ (1−m)·x / Σ (1−m)."""
        if self.weights is None:
            return per_token.sum() * 0
        return ((1 - self.weights[self.mask]) * per_token).sum() / (self._counts.unweighted or 1)


class CachedScores(Scores):
    """The reference's log-probabilities, looked up instead of computed."""

    def __init__(self, batch: MicroBatch, counts: Counts, logps: Tensor):
        super().__init__(batch, counts)
        self._cached = logps

    def _answer_logps(self) -> Tensor:
        return self._cached


class View(Scores):
    """One role's rows seen through a model."""

    def __init__(
        self, forward: Forward, role: str, counts: Counts, ref: Ref | None = None, reweigh: Reweigh | None = None
    ):
        super().__init__(forward.batch.only(role), counts)
        self._forward = forward
        self._role = role
        self._ref = ref
        self._reweigh = reweigh

    @cached_property
    def weights(self) -> Tensor | None:
        """See `Scores.weights`; chosen by the present likelihoods where the plan says so."""
        if self._reweigh is None:
            return self._batch.weights
        return self._reweigh(-self.token_logps.detach(), self.mask)

    @cached_property
    def states(self) -> Tensor:
        """[A, D] hidden states that predict the answer tokens; logits where `Forward.head` is None."""
        start = self._forward.batch.roles[self._role].start
        row, position = self.mask.nonzero(as_tuple=True)
        return self._forward.at(row + start, position)

    def _answer_logps(self) -> Tensor:
        return self.token_values(log_probability(self.targets))

    def token_values(self, row: Row) -> Tensor:
        """[A] one number from the logits of each answer position, which are never kept whole; see `row_loss`."""
        if self.targets.numel() == 0:
            return torch.zeros(0, device=self.targets.device)
        return row_values(self.states, self._forward.head, row)

    @property
    def logits(self) -> Tensor:
        """See `Scores.logits`; all in memory at once."""
        return self._forward.logits(self.states)

    def hidden(self, layer: str) -> Tensor:
        """See `Scores.hidden`."""
        return self._forward.captured(layer)[self._forward.batch.roles[self._role]]

    @cached_property
    def ref(self) -> Scores:
        """The same rows through the frozen reference, without gradient.

        Raises:
            NeedError: the objective did not declare `uses_reference`.
        """
        if self._ref is None:
            raise NeedError(
                f"the objective reads step.{self._role}.ref without declaring it",
                "set uses_reference = True on the class",
            )
        found = self._ref.view(self._role, self._batch, self._counts)
        if self._reweigh is not None:
            found.weights = self.weights  # the same tokens on both sides of a ratio
        return found

    def ref_logits(self, rows: slice) -> Tensor:
        """[C, V] float32 logits of the reference at some of the answer positions, for `token_values`.

        Raises:
            NeedError: the reference cannot give logits.
        """
        ref = self.ref
        if not isinstance(ref, View):
            raise _only_logps("logits")
        with torch.no_grad():
            return ref._forward.logits(ref.states[rows])

    @property
    def token_kl(self) -> Tensor:
        """[A] KL(reference ‖ model) over the vocabulary at each answer position.

        Raises:
            NeedError: the reference cannot give logits.
        """
        return self.token_values(divergence_from(self.ref_logits))

    @cached_property
    def whole(self) -> View:
        """The same rows with every token counted that has another before it: prompt and answer."""
        return _Whole(self)

    @property
    def kl(self) -> Tensor:
        """[] KL(reference ‖ model) over the vocabulary, mean over the answer tokens of the whole accumulated batch.

        Raises:
            NeedError: the reference cannot give logits.
        """
        return self.token_mean(self.token_kl)

    def drift(self, layer: str) -> Tensor:
        """[] squared distance of a layer's output to the reference's: mean over width, answer tokens, then rows."""
        return self.hidden_mean((self.hidden(layer).float() - self.ref.hidden(layer).float()).square().mean(-1))

    def hidden_mean(self, per_position: Tensor) -> Tensor:
        """[] of numbers [B, T] at the positions of tokens: weighted mean over each row's answer tokens, then over rows.

        The positions are those of the answer tokens themselves, not of what predicts them.
        """
        weights = self.mask.to(per_position.dtype) if self.weights is None else self.weights
        return self.mean((per_position[:, 1:] * weights).sum(-1) / weights.sum(-1))


class _Whole(View):
    """A view whose rows are answer from their second token on; model and reference run no second time for it."""

    def __init__(self, view: View):
        batch = dataclasses.replace(view._batch, answer_start=torch.ones_like(view._batch.answer_start), weights=None)
        Scores.__init__(self, batch, Counts(view._counts.sequences, view._counts.predicted))
        self._forward, self._role, self._reweigh, self._view = view._forward, view._role, None, view

    @cached_property
    def ref(self) -> Scores:
        """See `View.ref`.

        Raises:
            NeedError: it was not declared, or only log-probabilities were kept.
        """
        ref = self._view.ref
        if not isinstance(ref, View):
            raise _only_logps("prompt tokens")
        return ref.whole


class Ref:
    """Where the frozen model's numbers come from; see `reference`."""

    def view(self, role: str, batch: MicroBatch, counts: Counts) -> Scores:
        """The reference's view of one role's rows (`batch` holds that role alone)."""
        raise NotImplementedError


class Step:
    """One micro-batch: a view per role, reached by name (``step.forget``, ``step.retain``, ``step.refusal``)."""

    def __init__(self, views: Mapping[str, View]):
        self._views = dict(views)

    def role(self, name: str) -> View:
        """The view of a role.

        Raises:
            NeedError: the method's `roles` does not give it.
        """
        try:
            return self._views[name]
        except KeyError:
            raise NeedError(
                f"the objective reads step.{name}, and the step has {', '.join(self._views) or 'no roles'}",
                "give the role in the method's roles(), and rows for it in the data",
            ) from None

    def __getattr__(self, name: str) -> View:
        if name.startswith("_"):
            raise AttributeError(name)
        return self.role(name)


def _only_logps(what: str) -> NeedError:
    return NeedError(
        f"the objective reads {what} of the reference, and only its log-probabilities are cached",
        "declare uses_reference = True, and train.reference=copy or auto",
    )
