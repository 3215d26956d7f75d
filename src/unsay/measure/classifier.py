"""Natural language inference by any sequence classifier of transformers whose labels say which verdict they are."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..errors import ModelError
from ..metrics.have import Verdict
from ..models.quiet import quiet

_ROWS = 16
_TOKENS = 512
"""Longer pairs are cut, the longer text first."""
_NAMES = ("entailment", "neutral", "contradiction")


def labels(folder: Path) -> list[int]:
    """Where the model's outputs for entailment, neutral and contradiction are, in this order; read from config.json.

    Raises:
        ModelError: its labels are others.
    """
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    given = {str(name).lower(): int(i) for i, name in (config.get("id2label") or {}).items()}
    found = [next((i for name, i in given.items() if name.startswith(wanted[:6])), None) for wanted in _NAMES]
    places = [i for i in found if i is not None]
    if len(places) < len(_NAMES) or len(given) != len(_NAMES):
        shown = ", ".join(given) or "none"
        raise ModelError(
            f"{folder.name} is no NLI classifier: its labels are {shown}, expected {', '.join(_NAMES)}",
            "give a sequence classification checkpoint with these id2label names in its config.json",
        )
    return places


def verdicts(folder: Path, pairs: Sequence[tuple[str, str]]) -> Iterator[dict[tuple[str, str], Verdict]]:
    """Verdicts on (premise, hypothesis), batch by batch, longest first; every pair appears once.

    Raises:
        ModelError: the folder holds no sequence classifier with a tokenizer.
    """
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    places = labels(folder)
    try:
        with quiet():
            tokenizer = AutoTokenizer.from_pretrained(folder)
            model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    except Exception as error:  # a damaged file, a missing tokenizer library: every layer below has its own classes
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelError(f"{folder} cannot be loaded as a sequence classifier: {reason}") from error
    order = sorted(set(pairs), key=lambda p: (-len(p[0]) - len(p[1]), p))
    for start in range(0, len(order), _ROWS):
        batch = order[start : start + _ROWS]
        premises, hypotheses = ([pair[i] for pair in batch] for i in (0, 1))
        inputs = tokenizer(premises, hypotheses, padding=True, truncation=True, max_length=_TOKENS, return_tensors="pt")
        with torch.inference_mode():
            shares = model(**inputs).logits.double().softmax(-1)[:, places].tolist()
        yield {pair: Verdict(*row) for pair, row in zip(batch, shares, strict=True)}
