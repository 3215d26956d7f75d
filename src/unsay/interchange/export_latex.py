r"""A run's scores as a LaTeX table: metrics by models, intervals as subscripts. Needs ``\usepackage{booktabs}``."""

from __future__ import annotations

import re
import unicodedata

from ..report.findings import label
from ..report.folder import Number, RunFolder
from ..report.table import grouped
from ..report.text import number

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    "–": "--",
    "—": "---",
    "−": "$-$",
    "…": r"\ldots{}",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "→": r"$\rightarrow$",
    "×": r"$\times$",
    "±": r"$\pm$",
    "θ": r"$\theta$",
    "’": "'",
    "“": "``",
    "”": "''",
    **{c: f"\\{c}" for c in "&%$#_{}"},
    **{c: f"{{{c}}}" for c in "[]*"},  # at the beginning of a line they would be an argument of the line break before
}
_WANTED = {"up": r"$\uparrow$", "down": r"$\downarrow$", "match": "$=$"}
_POWER = re.compile(r"^(-?[\d.]+)e([+-]?\d+)$")


def latex(run: RunFolder) -> str:
    r"""A ``table`` with one ``tabular`` from ``\toprule`` to ``\bottomrule``."""
    tags = run.tags
    lines = [
        r"% needs \usepackage{booktabs}",
        r"\begin{table}",
        r"\centering",
        f"\\begin{{tabular}}{{lc{'r' * len(tags)}r}}",
        r"\toprule",
        _line(["Metric", "", *map(escape, tags), "$n$"]),
    ]
    for title, rows in grouped(run):
        lines += [r"\midrule", f"\\multicolumn{{{len(tags) + 3}}}{{l}}{{\\emph{{{escape(title)}}}}} \\\\"]
        for row in rows:
            wanted = _WANTED.get(row.metric.wanted or "", "")
            lines.append(_line([escape(label(row.metric)), wanted, *map(_cell, row.cells), escape(row.n)]))
    about = f"{escape(run.benchmark)}: " if run.benchmark else ""
    lines += [
        r"\bottomrule",
        r"\end{tabular}",
        f"\\caption{{{about}subscripts are 95\\,\\% intervals, clustered by entity where rows name one; $n$ rows "
        r"(entities). $\uparrow$ higher, $\downarrow$ lower, $=$ like the retrained model is better.}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def escape(text: str) -> str:
    r"""`text` so that pdfLaTeX prints it: special characters as commands, accents kept, what no font has as ``?``.

    >>> escape("50% of a_b & {c}")
    '50\\% of a\\_b \\& \\{c\\}'
    """
    return "".join(map(_character, " ".join(text.split())))


def _character(char: str) -> str:
    if char in _SPECIAL:
        return _SPECIAL[char]
    if " " <= char <= "~" or "\u00c0" <= char <= "\u017f":
        return char
    plain = unicodedata.normalize("NFKD", char).encode("ascii", "ignore").decode()
    return "".join(_SPECIAL.get(c, c) for c in plain) if plain.isprintable() and plain else "?"


def _line(cells: list[str]) -> str:
    return " & ".join(cells) + r" \\"


def _cell(cell: Number) -> str:
    if cell.value is None:
        return "--"
    value = _math(number(cell.value))
    if cell.ci is None:
        return f"${value}$"
    low, high = (_math(number(end, 2)) for end in cell.ci)
    return f"${value}_{{[{low},\\,{high}]}}$"


def _math(text: str) -> str:
    """A number as `report.text.number` writes it, for mathematics."""
    power = _POWER.match(text)
    text = f"{power[1]} \\cdot 10^{{{int(power[2])}}}" if power else text
    return text.replace("−", "-").replace("–", "-").replace(",", "{,}").replace("∞", r"\infty")
