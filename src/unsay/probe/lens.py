"""``unsay probe lens``: what each layer of several models would say next."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import PlanError
from ..runs.reporter import Reporter
from .case import At, Case, estimate, places, save, token_text, visit

if TYPE_CHECKING:
    from ..mechanism.lens import Reading
    from ..models.lm import LM


def lens(
    case: Case,
    *,
    k: int = 5,
    at: At = "first",
    reporter: Reporter | None = None,
) -> Path:
    """The logit lens on all layers, side by side.

    Args:
        case: Models and rows.
        k: How many tokens of each layer are kept.
        at: Read before the answer's ``first`` token, or before what it reveals (``fact``).
        reporter: Shows progress.

    Returns:
        The folder, with lens.json, lens.md and lens.svg.

    Raises:
        UnsayError: bad settings, or models that cannot be compared; nothing is written then.
    """
    from ..mechanism.inside import opened
    from ..mechanism.lens import read_layers, summary
    from ..mechanism.texts import texts
    from ..models.patches import underlying

    if not 1 <= k <= 50:
        raise PlanError(f"--k {k}: should be from 1 to 50", "--k 5")
    if at not in ("first", "fact"):
        raise PlanError(f"--at {at}: should be first or fact", "--at first")
    document = case.document("lens", {"k": k, "at": at})
    document["summary"] = {}
    for name, patched in visit(case, "lens", reporter):
        lm = underlying(patched)
        asked = texts(lm, case.rows)
        cut = [places(text, at)[0] for text in asked]
        wanted = [text.ids[place] for text, place in zip(asked, cut, strict=True)]
        with opened(lm) as inside:
            found = read_layers(inside, [t.ids[:place] for t, place in zip(asked, cut, strict=True)], wanted, k)
        document["models"][name] |= {"fingerprint": patched.fingerprint(), "patches": len(patched.patches)}
        parts = {}
        for row, token, layers in zip(document["rows"], wanted, found, strict=True):
            row.setdefault("wanted", token_text(lm, token))
            parts[row["id"]] = summary(layers)
            said = [_row(lm, layer, row["question"]) for layer in layers]
            row.setdefault("models", {})[name] = {"layers": said, "summary": parts[row["id"]]}
        ids = [row["id"] for row in document["rows"]]
        document["summary"][name] = {
            key: estimate({i: part[key] for i, part in parts.items()}, case.entities)
            for key in ("best_rank", "largest_turn", "late_answers")
        } | {
            key: [
                estimate({i: getattr(f[layer], key) for i, f in zip(ids, found, strict=True)}, case.entities)
                for layer in range(len(found[0]))
            ]
            for key in ("logp", "fkl", "entropy")
        }
        del patched, lm, inside
    return save(case, document)


def _row(lm: LM, layer: Reading, question: str) -> dict[str, Any]:
    from ..mechanism.lens import said_again

    likeliest = [token_text(lm, token) for token in layer.top]
    return {
        "top": [list(pair) for pair in zip(likeliest, layer.probabilities, strict=True)],
        "entropy": layer.entropy,
        "fkl": layer.fkl,
        "logp": layer.logp,
        "rank": layer.rank,
        "question_words": said_again(likeliest, question),
    }
