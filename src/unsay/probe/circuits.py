"""``unsay probe circuits``: the heads and MLPs that an answer needs, and the routes it takes through several models."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import PlanError
from ..runs.reporter import Reporter
from .case import At, Case, estimate, places, save, visit

if TYPE_CHECKING:
    from ..data.example import Example
    from ..mechanism.inside import Inside
    from ..mechanism.texts import Text
    from ..models.lm import LM

TAUS = (0.06, 0.08)
"""Of ReLearn's figure 11."""


def circuits(
    case: Case,
    *,
    taus: Sequence[float] = TAUS,
    exact: int = 10,
    at: At = "fact",
    reporter: Reporter | None = None,
) -> Path:
    """Attribution to heads and MLPs, and information-flow routes, side by side.

    Args:
        case: Models and rows.
        taus: Thresholds of the routes.
        exact: How many of the parts with the largest slopes are turned off one by one.
        at: The routes end before the answer's ``first`` token, or before what it reveals (``fact``). Parts are always
            judged by all tokens of that.
        reporter: Shows progress.

    Returns:
        The folder, with circuits.json, circuits.md and circuits.svg.

    Raises:
        UnsayError: bad settings, or models that cannot be compared; nothing is written then.
    """
    from ..editing.subjects import subjects
    from ..mechanism.inside import opened
    from ..mechanism.texts import texts
    from ..models.patches import underlying

    if not taus or min(taus) <= 0 or max(taus) >= 1:
        raise PlanError(f"--tau {','.join(map(str, taus))}: should be numbers between 0 and 1", "--tau 0.06,0.08")
    if exact < 0:
        raise PlanError(f"--exact {exact}: should be at least 0", "--exact 10")
    if at not in ("first", "fact"):
        raise PlanError(f"--at {at}: should be first or fact", "--at fact")
    about = subjects(case.rows)
    document = case.document("circuits", {"taus": list(taus), "exact": exact, "at": at})
    gates: dict[str, dict[str, np.ndarray]] = {}
    for name, patched in visit(case, "circuits", reporter):
        lm = underlying(patched)
        gates[name] = {}
        document["models"][name] |= {"fingerprint": patched.fingerprint(), "patches": len(patched.patches)}
        with opened(lm) as inside:
            for row, example, subject, text in zip(
                document["rows"], case.rows, about, texts(lm, case.rows), strict=True
            ):
                kinds = token_kinds(lm, example, subject, text)
                found, gates[name][row["id"]] = _looked(inside, text, kinds, places(text, at)[0], taus, exact)
                row["subject"] = subject
                row.setdefault("models", {})[name] = found
        del patched, lm, inside
    document["summary"] = {name: _summary(case, document, gates, name, taus) for name in case.models}
    return save(case, document)


def token_kinds(lm: LM, row: Example, subject: str, text: Text) -> list[str]:
    """What each token of `text` belongs to: the question's ``subject``, the rest of the ``question``, the ``template``
    around it, or the ``answer``.
    """
    _, written, spans = lm.template.prompt_offsets(row.prompt)
    question = row.question.strip()
    begin = written.rfind(question) if question else -1
    end = begin + len(question)
    low, name = written.lower(), subject.lower()
    mentions = [at for at in range(max(begin, 0), end) if name and low.startswith(name, at)]
    kinds = []
    for a, b in spans:
        inside = begin >= 0 and a < end and b > begin and b > a
        named = any(a < at + len(name) and b > at for at in mentions)
        kinds.append("template" if not inside else "subject" if named else "question")
    return [*kinds, *["answer"] * (len(text.ids) - len(kinds))]


def _looked(
    inside: Inside, text: Text, kinds: Sequence[str], place: int, taus: Sequence[float], exact: int
) -> tuple[dict[str, Any], np.ndarray]:
    from ..mechanism.attribution import ablated, gradients
    from ..mechanism.routes import flow, routes

    logp, slopes = gradients(inside, text)
    flat = slopes.abs().flatten()
    largest = [divmod(int(i), slopes.shape[1]) for i in flat.argsort(descending=True)[:exact]]
    lost = ablated(inside, text, largest) if largest else []
    found = flow(inside, text.ids[:place])
    drawn = {}
    for tau in taus:
        kept = routes(found, tau)
        drawn[f"{tau:g}"] = {
            "edges": kept.edges,
            "attention_edges": len(kept.attention),
            "mlps": kept.mlps,
            "from": dict(Counter(kinds[source] for _, source, _, _ in kept.attention)),
            "reached": dict(Counter(kinds[source] for source in kept.sources)),
            "attention": [[layer, a, b, round(weight, 4)] for layer, a, b, weight in kept.attention],
        }
    parts = [
        {"layer": layer + 1, "part": _part(part, slopes.shape[1]), "slope": float(slopes[layer, part]), "lost": off}
        for (layer, part), off in zip(largest, lost, strict=True)
    ]
    return {"logp": logp, "gates": slopes.tolist(), "parts": parts, "routes": drawn}, slopes.double().numpy()


def _part(number: int, width: int) -> str:
    return "MLP" if number == width - 1 else f"head {number + 1}"


def _summary(
    case: Case, document: dict[str, Any], gates: dict[str, dict[str, np.ndarray]], name: str, taus: Sequence[float]
) -> dict[str, Any]:
    rows = {row["id"]: row["models"][name] for row in document["rows"]}
    mean = np.mean(list(gates[name].values()), axis=0)
    like = {i: _cosine(own, gates[case.reference][i]) for i, own in gates[name].items()}
    found: dict[str, Any] = {
        "logp": estimate({i: row["logp"] for i, row in rows.items()}, case.entities),
        "total": estimate({i: float(np.abs(own).sum()) for i, own in gates[name].items()}, case.entities),
        "like_reference": estimate(like, case.entities),
        "gates": mean.tolist(),
        "routes": {},
    }
    for tau in taus:
        drawn = {i: row["routes"][f"{tau:g}"] for i, row in rows.items()}
        shares = {
            i: one["from"].get("subject", 0) / one["attention_edges"] if one["attention_edges"] else float("nan")
            for i, one in drawn.items()
        }
        found["routes"][f"{tau:g}"] = {
            "edges": estimate({i: float(one["edges"]) for i, one in drawn.items()}, case.entities),
            "attention_edges": estimate({i: float(one["attention_edges"]) for i, one in drawn.items()}, case.entities),
            "from_subject": estimate(shares, case.entities),
        }
    return found


def _cosine(one: np.ndarray, other: np.ndarray) -> float:
    if one.shape != other.shape:
        return float("nan")
    size = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float((one * other).sum() / size) if size else float("nan")
