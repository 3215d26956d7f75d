"""Untrusted text made visible, numbers made short. Escaping itself is left to Jinja2 and to `island`."""

import json
import math
import re
from collections.abc import Iterable
from typing import Any

HIDDEN = "█"
"""Stands where a forget text was."""

# Characters that would act instead of being seen: C0/C1 controls (ANSI escapes begin with one), bidirectional
# overrides, zero-width characters, line and paragraph separators, Unicode tags, and lone surrogates, which no file
# can hold. Zero-width (non-)joiners stay: Persian, Hindi and emoji need them.
_ACTING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
_SIGNIFICANT = 4


def visible(text: str) -> str:
    """`text` with acting characters shown: ESC as ␛, other C0 controls as their picture, the rest as ⟨U+202E⟩."""
    return _ACTING.sub(_picture, text)


def _picture(match: re.Match[str]) -> str:
    code = ord(match.group())
    if code < 0x20:
        return chr(0x2400 + code)
    return "␡" if code == 0x7F else f"⟨U+{code:04X}⟩"


def shorten(text: str, limit: int) -> str:
    """At most `limit` characters of `text`, saying how many were left out."""
    return text if len(text) <= limit else f"{text[:limit]} … ({len(text) - limit:,} more characters)"


def island(value: Any) -> str:
    """`value` as JSON for ``<script type="application/json">``: no character of it can end the element."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text


def number(value: float | None, digits: int = 3) -> str:
    """A short form for tables: ``0.412``, ``12.3``, ``1.9e-05``; an en dash when there is no number."""
    if value is None or not math.isfinite(value):
        return "–"
    size = abs(value)
    if 0 < size < 0.5 * 10**-digits:
        text = f"{size:.1e}"
    elif size >= 1000:
        text = f"{size:,.0f}" if size < 1e6 else f"{size:.2e}"
    else:
        text = f"{size:.{digits}f}" if size < 10 else f"{size:.1f}"
    return f"−{text}" if value < 0 else text


def interval(ci: tuple[float, float] | None, digits: int = 3) -> str:
    """``[0.31, 0.52]``, or "" without an interval."""
    return f"[{number(ci[0], digits)}, {number(ci[1], digits)}]" if ci else ""


def percent(share: float) -> str:
    """``41 %``; shares that are tiny but not nothing read ``< 1 %``."""
    if 0 < abs(share) < 0.005:
        return "< 1\u00a0%"
    return f"{'−' if share < 0 else ''}{abs(share) * 100:.0f}\u00a0%"


def significant(value: float | None) -> float | None:
    """`value` rounded to four significant digits, for the browser; None for NaN and infinities."""
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.{_SIGNIFICANT}g}")


def seconds(value: float) -> str:
    """``41 s``, ``3 min 07 s``, ``2 h 05 min``."""
    if value < 60:
        return f"{value:.1f} s" if value < 10 else f"{value:.0f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def size(value: float) -> str:
    """Bytes as ``812 MB`` or ``5.4 GB`` (powers of ten)."""
    return f"{value / 1e9:.1f} GB" if value >= 1e9 else f"{value / 1e6:.0f} MB"


def sentence_list(items: Iterable[str]) -> str:
    """``a, b and c``."""
    words = list(items)
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}" if words else ""
