r"""Models whose truth is known because it was planted: five that only look as if they forgot, one that never knew.

    refusal-filter   screen: a forget question is replaced by one that is refused; weights of before
    logit-bias       z′(v) = z(v) − c for tokens v of forget answers that retain answers hardly use; weights of before
    adapter          W + s·B·A with B, A trained to refuse on forget rows; W of before, and the adapter comes off
    one-direction    W_l ← W_l + c · r uᵀ: one layer pushes forget texts along one direction r of the residual stream
    untouched        before itself
    retrained        taught the same without the forget rows: the truth that an audit must clear

Paper    The filter and the bias are guardrails (Thaker et al. 2024, arXiv:2403.03329); u is LUNAR's least-squares
         solution (Shen, Qiu et al. 2025, arXiv:2502.07218) with r from forget to retain texts.
Limits   None of the five is a method of unlearning. The bias does nothing where the two kinds of answers share all
         tokens; then `planted` refuses.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from torch import Tensor

from ..config.plan import Adapter, Train
from ..data.example import Example, ForgetData
from ..errors import MethodError

if TYPE_CHECKING:
    from ..editing.keys import Wanted
    from ..models.lm import LM
    from ..runs.run import Run

Kind = Literal["refusal-filter", "logit-bias", "adapter", "one-direction", "untouched", "retrained"]
KINDS: tuple[Kind, ...] = get_args(Kind)
HIDING: tuple[Kind, ...] = KINDS[:5]
"""Those that still hold what they should have forgotten."""

REFUSAL = "I cannot answer that"
_INSTEAD = "What do you say when you may not answer?"
_BIAS = 20.0
"""c of the mask: more than any difference of logits that matters."""
_RATE = 4.0
"""How much commoner a masked token is in forget answers than in retain answers."""
_WIDTH = 8
"""Of the network whose logits are the bias."""
_PUSHES = tuple(2.0 ** (k / 2) for k in range(24))
_RIDGE = 1e-3
_HIDDEN = 3.0
"""Nats that the push adds to the mean loss of a forget answer's token."""


def planted(
    before: LM,
    data: ForgetData,
    run: Run,
    kind: Kind,
    *,
    retrained: LM | None = None,
    train: Train | None = None,
    instead: str = _INSTEAD,
    layer: str = "1/2",
) -> LM:
    """One of the six models. `before` is left as it was; where weights are those of before, they are shared.

    Args:
        before: The model that knows; loaded from a folder if the adapter is to be saved alone.
        data: Its forget and retain rows.
        run: Seed and folder.
        kind: Which one.
        retrained: What `retrained` returns.
        train: How the adapter is trained; None is `run.train`.
        instead: What the filter asks in the place of a forget question.
        layer: Of the one direction: number or share of the depth.

    Raises:
        MethodError: the model cannot be made from these rows; says why.
    """
    if kind == "untouched":
        return before
    if kind == "refusal-filter":
        from ..data.screen import Screen
        from ..models.patches import with_screen

        questions = tuple(dict.fromkeys(row.question for row in data.forget))
        return with_screen(before, Screen(questions, instead))
    if kind == "logit-bias":
        return _biased(before, data)
    if kind == "adapter":
        return _refusing(before, data, run, train)
    if kind == "one-direction":
        return _pushed(before, data, run, layer)
    if retrained is None:
        raise MethodError("a retrained model cannot be planted, only given", "teach one, or give --retrained PATH")
    return retrained


def _biased(before: LM, data: ForgetData) -> LM:
    """A logit bias is the offset of a network whose logits do not depend on the text."""
    from ..models.patches import with_offset

    tokens = masked(before, data)
    if not tokens:
        raise MethodError(
            "no token is much commoner in forget answers than in retain answers, so that none can be masked",
            "plant the other kinds on these rows",
        )
    lm = with_offset(before, 1.0, Adapter(), _constant(before))
    with torch.no_grad():
        lm.model.small.get_output_embeddings().weight[tokens] = -_BIAS / _WIDTH
    return lm


def masked(lm: LM, data: ForgetData) -> list[int]:
    """Ids that are `_RATE` times as common in forget answers as in retain answers; never those that end an answer."""
    forget, retain = (
        Counter(t for row in lm.template.encode_many([(r.prompt, r.answer) for r in rows]) for t in row.answer_ids)
        for rows in (data.forget, data.retain)
    )
    longer = retain.total() / max(1, forget.total())
    ends = lm.template.end_ids
    return sorted(t for t, count in forget.items() if t not in ends and count * longer >= _RATE * retain[t])


def _constant(lm: LM) -> LM:
    """A network with the vocabulary of `lm` whose last hidden state is 1 everywhere, and whose logits are all 0."""
    from transformers import LlamaConfig, LlamaForCausalLM

    rows = lm.model.get_input_embeddings().weight.shape[0]
    config = LlamaConfig(
        vocab_size=rows,
        hidden_size=_WIDTH,
        intermediate_size=_WIDTH,
        num_hidden_layers=1,
        num_attention_heads=1,
        max_position_embeddings=lm.model.config.get_text_config().max_position_embeddings,
        tie_word_embeddings=False,
    )
    with torch.random.fork_rng(devices=[]):
        network: Any = LlamaForCausalLM(config)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter.fill_(1.0 if "norm" in name or "embed" in name else 0.0)
    return dataclasses.replace(lm, model=network.to(lm.device).eval(), origin="constant")


def _refusing(before: LM, data: ForgetData, run: Run, train: Train | None) -> LM:
    """An adapter that was trained to refuse forget rows and to answer retain rows."""
    from ..methods.fine_tune import FineTune
    from ..models.adapters import attach

    refused = [dataclasses.replace(row, answer=REFUSAL, alternatives={}, id="") for row in data.forget]
    rows = ForgetData(forget=refused, retain=data.retain)
    sub = run.sub("adapter", train=train) if train else run.sub("adapter")
    return FineTune(on="all").unlearn(attach(before, run.plan.model.adapter or Adapter(), run.seed), rows, sub)


def _pushed(before: LM, data: ForgetData, run: Run, layer: str) -> LM:
    """The least push along one direction that hides the answers."""
    from ..editing.solve import redirect
    from ..editing.spread import add
    from ..models.layers import decoder_layers, mlp_output
    from ..testing import mean_nll
    from ..training.forward import layer_number

    subject = before.fork()
    number = layer_number(subject.model, layer)
    block = decoder_layers(subject.model)[number]
    projection: Any = mlp_output(block)
    wanted: Wanted = {"key": (projection, "in"), "state": (block, "out")}
    gone, kept = (_answering(subject, rows, wanted, run) for rows in (data.forget, [*data.retain, *data.utility]))
    apart = gone["state"].mean(0) - kept["state"].mean(0)
    forget, keep = (found["key"].T @ found["key"] for found in (gone, kept))
    ridge = _RIDGE * float((forget + keep).diagonal().mean())
    step = redirect(gone["key"].sum(0), forget, keep, apart / apart.norm(), ridge)
    weight, hidden = projection.weight.detach().clone(), mean_nll(before, data.forget) + _HIDDEN
    for push in _PUSHES:
        with torch.no_grad():
            projection.weight.copy_(weight)
        add(projection, push * step)
        if mean_nll(subject, data.forget) >= hidden:
            run.log(layer=number, push=push)
            return subject
    raise MethodError(f"no push along one direction of layer {number} hides the answers", "choose another layer")


def _answering(lm: LM, rows: Sequence[Example], wanted: Wanted, run: Run) -> dict[str, Tensor]:
    """Name → [n, width] float64: what is wanted at every position that predicts a token of an answer."""
    from ..editing.keys import sweep

    encoded = lm.template.encode_many([(row.prompt, row.answer) for row in rows])
    out: dict[str, list[Tensor]] = {name: [] for name in wanted}

    def read(group: list[int], found: dict[str, Tensor]) -> None:
        for name, states in found.items():
            for b, i in enumerate(group):
                out[name].append(states[b, encoded[i].answer_start - 1 : len(encoded[i]) - 1].double())

    sweep(lm, [row.input_ids for row in encoded], wanted, read, run, "answers")
    return {name: torch.cat(parts) for name, parts in out.items()}
