"""``unsay probe topk``: the likeliest next tokens of several models, and which stage of the seesaw each has reached."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import PlanError
from ..mechanism.seesaw import STAGES, entropy, seesaw, top
from ..runs.reporter import Reporter
from .case import At, Case, estimate, places, save, token_text, visit

if TYPE_CHECKING:
    from ..mechanism.texts import Text
    from ..models.lm import LM

_MEANS = ("suppression", "hand_over", "entropy_change", "total_variation", "jaccard")


def topk(
    case: Case,
    *,
    k: int = 5,
    at: At = "first",
    reporter: Reporter | None = None,
) -> Path:
    """Next-token distributions side by side.

    Args:
        case: Models and rows.
        k: How many tokens are shown, and count as the likeliest before.
        at: Before the answer's ``first`` token, before what it reveals (``fact``), or before ``all`` of them.
        reporter: Shows progress.

    Returns:
        The folder, with topk.json, topk.md and topk.svg.

    Raises:
        UnsayError: bad settings, or models that cannot be compared; nothing is written then.
    """
    from ..mechanism.texts import texts

    if not 2 <= k <= 50:
        raise PlanError(f"--k {k}: should be from 2 to 50", "--k 5")
    if at not in ("first", "fact", "all"):
        raise PlanError(f"--at {at}: should be first, fact or all", "--at first")
    document = case.document("topk", {"k": k, "at": at}) | {"stages": STAGES}
    before: list[NDArray[np.float32]] = []
    for name, lm in visit(case, "topk", reporter):
        asked = texts(lm, case.rows)
        found = distributions(lm, asked, at)
        document["models"][name] |= {"fingerprint": lm.fingerprint(), "patches": len(lm.patches)}
        before = before or found
        for row, text, logp, old in zip(document["rows"], asked, found, before, strict=True):
            rest = [] if name == case.reference else [seesaw(v, u, k).row() for v, u in zip(old, logp, strict=True)]
            wanted = [text.ids[place] for place in places(text, at)]
            row.setdefault("wanted", [token_text(lm, token) for token in wanted])
            said = [_said(lm, u, token, k) for u, token in zip(logp, wanted, strict=True)]
            row.setdefault("models", {})[name] = [a | ({"seesaw": b} if b else {}) for a, b in _paired(said, rest)]
        del lm
    document["summary"] = {name: _summary(case, document, name) for name in list(case.models)}
    return save(case, document)


def distributions(lm: LM, asked: Sequence[Text], at: At) -> list[NDArray[np.float32]]:
    """[places, V] log-probabilities of what comes next, text by text; works on patched models, too."""
    import torch

    from ..data.batch import groups
    from ..measure.working import working
    from ..mechanism.lens import next_tokens
    from ..models.layers import padded

    out: list[NDArray[np.float32]] = [np.zeros((0, 0), np.float32)] * len(asked)
    with working(lm, "fp32") as model:
        for group in groups([len(text.ids) for text in asked], 2048):
            ids = padded([asked[i].ids for i in group], lm.template.pad_id).to(lm.device)
            states = model.states(input_ids=ids, use_cache=False)
            for row, number in enumerate(group):
                before = torch.tensor([place - 1 for place in places(asked[number], at)], device=states.device)
                out[number] = next_tokens(model.logits(states[row, before]))
    return out


def _said(lm: LM, logp: NDArray[np.float32], wanted: int, k: int) -> dict[str, Any]:
    p = np.exp(logp.astype(np.float64))
    return {
        "top": [[token_text(lm, int(token)), float(p[token])] for token in top(p, k)],
        "entropy": entropy(p),
        "wanted": {"p": float(p[wanted]), "rank": int((logp > logp[wanted]).sum())},
    }


def _paired(said: list[dict[str, Any]], rest: list[dict[str, Any]]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    return list(zip(said, rest or [{}] * len(said), strict=True))


def _summary(case: Case, document: dict[str, Any], name: str) -> dict[str, Any]:
    rows = {row["id"]: row["models"][name] for row in document["rows"]}

    def mean(read: Any) -> dict[str, Any]:
        return estimate({i: sum(map(read, said)) / len(said) for i, said in rows.items()}, case.entities)

    found: dict[str, Any] = {"wanted": mean(lambda place: place["wanted"]["p"])}
    if name != case.reference:
        found |= {key: mean(lambda place, key=key: place["seesaw"][key]) for key in _MEANS}
        stages = [place["seesaw"]["stage"] for said in rows.values() for place in said]
        found["stages"] = {stage: stages.count(stage) for stage in STAGES}
    return found
