"""The yardstick of bench/train.py: unlearning as a plain loop writes it.

float32 weights under bfloat16 autocast, SDPA, batches in random order padded to their longest row with an attention
mask, logits of the whole sequence, the frozen model run again at every step, plain AdamW.
"""

import copy

import torch
import torch.nn.functional as F


def train(model, rows, retain, method, *, batch, steps, beta=0.1, lr=1e-5, pad_id=0, on_step=lambda real, padded: None):
    """Take `steps` optimiser steps of grad-diff or npo.

    Args:
        model: A float32 causal LM; trained in place.
        rows: Forget rows as (ids, answer_start).
        retain: Retain rows, likewise.
        method: ``grad-diff`` or ``npo`` (with the retain NLL, as ours).
        batch: Forget rows per step; as many retain rows are added.
        steps: Optimiser steps.
        beta: NPO's β.
        lr: Learning rate.
        pad_id: Fills the batches.
        on_step: Told the real and padded tokens of each step.
    """
    generator = torch.Generator().manual_seed(0)
    frozen = copy.deepcopy(model).eval() if method == "npo" else None
    optimiser = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.01)
    order, at = [], 0
    for _ in range(steps):
        if at + batch > len(order):
            order, at = torch.randperm(len(rows), generator=generator).tolist(), 0
        forget_batch = _pad([rows[i] for i in order[at : at + batch]], pad_id)
        at += batch
        drawn = torch.randint(len(retain), (batch,), generator=generator).tolist()
        retain_batch = _pad([retain[i] for i in drawn], pad_id)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            if method == "npo":
                now = _logps(model, forget_batch).sum(-1)
                with torch.no_grad():
                    before = _logps(frozen, forget_batch).sum(-1)
                forget_loss = -2 / beta * F.logsigmoid(-beta * (now - before)).mean()
            else:
                forget_loss = _logps(model, forget_batch).sum() / forget_batch["answer"][:, 1:].sum()
            retain_loss = -_logps(model, retain_batch).sum() / retain_batch["answer"][:, 1:].sum()
            loss = forget_loss + retain_loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
        loss.item()
        both = (forget_batch, retain_batch)
        on_step(sum(int(b["mask"].sum()) for b in both), sum(b["mask"].numel() for b in both))


def _logps(model, batch):
    """[B, T-1] log-probabilities, 0 off the answer, from the logits of every position."""
    logits = model(input_ids=batch["ids"], attention_mask=batch["mask"]).logits[:, :-1].float()
    targets = batch["ids"][:, 1:]
    return torch.log_softmax(logits, -1).gather(-1, targets[..., None])[..., 0] * batch["answer"][:, 1:]


def _pad(rows, pad_id):
    width = max(len(ids) for ids, _ in rows)
    out = {name: torch.zeros(len(rows), width, dtype=torch.long) for name in ("ids", "mask", "answer")}
    out["ids"] += pad_id
    for number, (ids, start) in enumerate(rows):
        out["ids"][number, : len(ids)] = torch.tensor(ids)
        out["mask"][number, : len(ids)] = 1
        out["answer"][number, start : len(ids)] = 1
    return out
