"""What `unsay probe` found, as Markdown and pictures, from its JSON file alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..runs import atomic
from .mechanism_figures import DRAWN
from .text import number, shorten, visible

_SHOWN = 12
"""Rows with a table of their own; all are in the JSON file."""


def write(folder: Path, kind: str) -> None:
    """Write ``<kind>.md`` and ``<kind>.svg`` beside ``<kind>.json``.

    Args:
        folder: With the JSON file.
        kind: topk, lens or circuits.
    """
    found = json.loads((folder / f"{kind}.json").read_text(encoding="utf-8"))
    atomic.write_text(folder / f"{kind}.md", PAGES[kind](found))
    DRAWN[kind](found, folder / f"{kind}.svg")


def topk(found: Mapping[str, Any]) -> str:
    """The seesaw by model, then the likeliest tokens row by row."""
    names, reference = list(found["models"]), found["reference"]
    head = ["model", "p of the answer's token", "suppression", "hand-over", "ΔH (nats)", "TV", *found["stages"]]
    rows = []
    for name in names:
        said = found["summary"][name]
        means = [_estimate(said.get(key)) for key in ("suppression", "hand_over", "entropy_change", "total_variation")]
        counts = [str(said["stages"][stage]) if "stages" in said else "" for stage in found["stages"]]
        rows.append([_cell(name), _estimate(said["wanted"]), *means, *counts])
    lines = [
        f"# Next tokens, against {_cell(reference)}",
        *_notes(found),
        _table(head, rows),
        f"{_means(found)} t1 and t2 are the two likeliest tokens of the reference. Suppression is what t1 has lost, "
        "hand-over what t2 has won, ΔH the change of entropy, TV the total variation. Stages:",
        "\n".join(f"- {stage}: {said}" for stage, said in found["stages"].items()),
    ]
    for row in found["rows"][:_SHOWN]:
        lines += [f"## {_cell(shorten(row['question'], 200))}", f"Answer: {_cell(shorten(row['answer'], 200))}"]
        for number_, wanted in enumerate(row["wanted"][:_SHOWN]):
            said = [
                [
                    _cell(name),
                    one.get("seesaw", {}).get("stage", ""),
                    ", ".join(f"{_token(token)} {p:.2f}" for token, p in one["top"]),
                    number(one["wanted"]["p"]),
                ]
                for name, places in row["models"].items()
                for one in (places[number_],)
            ]
            lines.append(_table(["model", "stage", "likeliest tokens", f"p of {_token(wanted)}"], said))
    return _joined(lines, found)


def lens(found: Mapping[str, Any]) -> str:
    """What the layers say by model, then layer by layer for each row."""
    rows = [
        [
            _cell(name),
            *(_estimate(found["summary"][name][key]) for key in ("best_rank", "largest_turn", "late_answers")),
        ]
        for name in found["models"]
    ]
    lines = [
        "# What each layer would say next",
        *_notes(found),
        _table(["model", "best rank of the answer's token", "largest turn (nats)", "late answers"], rows),
        f"{_means(found)} A layer's state goes through the final norm and the head; 0 is the "
        "embedding. The best rank is over all layers (0 is the likeliest token), the largest turn the largest change "
        "of KL(last layer ‖ layer) from one layer to the next, late answers are the different likeliest tokens in the "
        "later half of the layers. Words of the question are in italics.",
    ]
    for row in found["rows"][:_SHOWN]:
        names = list(row["models"])
        depth = max(len(row["models"][name]["layers"]) for name in names)
        body = [
            [str(layer), *(_layer(row["models"][name]["layers"], layer) for name in names)] for layer in range(depth)
        ]
        lines += [
            f"## {_cell(shorten(row['question'], 200))}",
            f"Token of the answer: {_token(row['wanted'])}. Each cell: likeliest tokens, then p of the answer's token.",
            _table(["layer", *map(_cell, names)], body),
        ]
    return _joined(lines, found)


def circuits(found: Mapping[str, Any]) -> str:
    """Parts and routes by model, then the largest parts of each row."""
    names, taus = list(found["models"]), [f"{tau:g}" for tau in found["settings"]["taus"]]
    reference = found["reference"]
    parts = [
        [_cell(name), *(_estimate(found["summary"][name][key]) for key in ("logp", "total", "like_reference"))]
        for name in names
    ]
    routes = [
        [_cell(name), tau, *(_estimate(one[key]) for key in ("edges", "attention_edges", "from_subject"))]
        for name in names
        for tau in taus
        for one in (found["summary"][name]["routes"][tau],)
    ]
    lines = [
        "# Parts and routes",
        *_notes(found),
        _table(["model", "log p (nats)", "sum of the slopes' sizes", f"like {_cell(reference)} (cosine)"], parts),
        f"{_means(found)} log p is that of what the answer reveals, by token. A slope is "
        "its derivative by the gate of a head or an MLP: what turning the part off would cost, as far as a step tells.",
        _table(["model", "τ", "edges", "through attention", "of them from the subject"], routes),
        "Edges that carry more than τ of a state and lead to the last place (information-flow routes).",
    ]
    for row in found["rows"][:_SHOWN]:
        body = [
            [_cell(name), str(one["layer"]), one["part"], number(one["slope"]), number(one["lost"])]
            for name, said in row["models"].items()
            for one in said["parts"][:5]
        ]
        lines += [
            f"## {_cell(shorten(row['question'], 200))}",
            f"Answer: {_cell(shorten(row['answer'], 200))}",
            _table(["model", "layer", "part", "slope", "lost when off (nats)"], body),
        ]
    return _joined(lines, found)


PAGES: Mapping[str, Callable[[Mapping[str, Any]], str]] = {"topk": topk, "lens": lens, "circuits": circuits}


def _joined(lines: Sequence[str], found: Mapping[str, Any]) -> str:
    left = len(found["rows"]) - _SHOWN
    more = [f"{left} more rows are in {found['kind']}.json."] if left > 0 else []
    return "\n\n".join([*lines, *more]) + "\n"


def _means(found: Mapping[str, Any]) -> str:
    return f"Means over {len(found['rows'])} rows with 95 % intervals."


def _notes(found: Mapping[str, Any]) -> list[str]:
    patched = [name for name, model in found["models"].items() if model.get("patches")]
    said = [
        f"{_cell(name)} is patched: next tokens are those of the patched model, layers and parts those of its weights"
        for name in patched
    ]
    return ["\n".join(f"- {_cell(note)}" for note in [*found["notes"], *said])] if found["notes"] or said else []


def _layer(layers: Sequence[Mapping[str, Any]], layer: int) -> str:
    if layer >= len(layers):
        return ""
    one = layers[layer]
    words = [f"*{_token(t)}*" if t in one["question_words"] else _token(t) for t, _ in one["top"][:3]]
    return f"{' '.join(words)} · {2.718281828459045 ** one['logp']:.3f}"


def _estimate(one: Mapping[str, Any] | None) -> str:
    if one is None or one["value"] is None:
        return "–"
    ends = "" if one["ci"] is None else f" [{number(one['ci'][0], 2)}, {number(one['ci'][1], 2)}]"
    return number(one["value"]) + ends


def _token(text: str) -> str:
    """A token in a table: a space is seen, and nothing of it acts."""
    shown = text.replace("\n", "↵").replace("\t", "⇥")
    return f"`{_cell('␣' + shown[1:] if shown.startswith(' ') else shown).replace('`', 'ˋ') or '∅'}`"


def _cell(text: str) -> str:
    return visible(" ".join(str(text).split("\n"))).replace("|", "¦").replace("<", "‹").replace(">", "›")


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [list(head), ["---"] * len(head), *map(list, rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
