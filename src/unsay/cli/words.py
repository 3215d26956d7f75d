"""What is typed after a command, taken apart."""

from __future__ import annotations

from ..errors import PlanError


def start(words: list[str] | None) -> tuple[str | None, list[str]]:
    """A plan file or preset in front, if there is one, and the ``key=value`` words."""
    words = list(words or [])
    return (words.pop(0), words) if words and "=" not in words[0] else (None, words)


def numbers(text: str, option: str, also: tuple[str, ...] = ()) -> list[float | str]:
    """Numbers separated by commas.

    Args:
        text: What was typed.
        option: After what, for the error.
        also: Words that may stand among them.

    Raises:
        PlanError: anything else was typed.
    """
    parts = [word.strip() for word in text.split(",")]
    try:
        return [word if word in also else float(word) for word in parts]
    except ValueError:
        expected = "numbers separated by commas" + (f", or {', '.join(also)}" if also else "")
        raise PlanError(f"{option} {text!r}: expected {expected}", f"{option} 0,0.5,1") from None
