"""EUL's four terms, from the networks' own logits.

Per answer token t:  kl_t = Σ_v q_v (log q_v − log p_v) with q the frozen model,  nll_t = −log p(y_t).  With a limit c:
L = −mean_f min(kl_t, c) − γ mean_f min(nll_t, c) + α mean_r kl_t + λ mean_r nll_t.
"""

import pytest
import torch

from unsay.methods.eul import EUL


def per_token(model, rows):
    """log p over the vocabulary [A, V] and the answer tokens [A], row by row without padding."""
    logps, targets = [], []
    for row in rows:
        ids = torch.tensor([list(row.tokens.input_ids)])
        start = row.tokens.answer_start
        logps.append(model(input_ids=ids).logits[0, start - 1 : -1].float().log_softmax(-1))
        targets.append(ids[0, start:])
    return torch.cat(logps), torch.cat(targets)


@pytest.mark.parametrize("limit", [100.0, 0.05])
def test_terms(losses, limit):
    current, frozen = losses.model("cur"), losses.model("ref")
    found = EUL(limit=limit, forget_weight=0.3, retain_kl=0.7, retain_weight=1.5).loss(losses.step(current, frozen))
    kl, nll = {}, {}
    for role in ("forget", "retain"):
        rows = losses.rows()[role]
        p, y = per_token(current, rows)
        q, _ = per_token(frozen, rows)
        kl[role] = (q.exp() * (q - p)).sum(-1)
        nll[role] = -p.gather(-1, y[:, None])[:, 0]
    assert kl["forget"].max() > 0.05 and (kl["forget"] < 100).all(), "one limit bites, the other does not"
    wanted = {
        "forget_kl": -kl["forget"].clamp(max=limit).mean(),
        "forget": -0.3 * nll["forget"].clamp(max=limit).mean(),
        "retain_kl": 0.7 * kl["retain"].mean(),
        "retain": 1.5 * nll["retain"].mean(),
    }
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        assert found[name].item() == pytest.approx(value.item(), rel=1e-4, abs=1e-6), name


def test_tokens_beyond_the_limit_have_no_gradient(losses):
    current, frozen = losses.model("cur"), losses.model("ref")
    terms = EUL(limit=1e-9).loss(losses.step(current, frozen))
    (terms["forget"] + terms["forget_kl"]).backward()
    assert losses.grad_norm(current) == 0
