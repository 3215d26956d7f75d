"""report.md: the verdict and the headline table, short enough for a model card."""

import re

from .folder import RunFolder
from .forecast import forecast_lines
from .html import command
from .table import headline
from .text import interval, number, visible
from .verdict import HEADING, judge

_LONGEST = 600


def markdown(run: RunFolder, *, level: int = 1) -> str:
    """Verdict and table as GitHub-flavoured Markdown; texts of the run are escaped.

    Args:
        run: A run folder, redacted already when it should be.
        level: Heading level of the first line.
    """
    verdict = judge(run)
    lines = [
        f"{'#' * level} {HEADING}",
        "",
        f"**{_text(verdict.headline)}**",
        "",
        f"Evidence grade {verdict.grade} (of the controls, not of the result): {_text(verdict.grade_reason)}.",
        "",
    ]
    lines += [f"- *{f.status}*: **{_text(f.title)}**. {_text(f.text)}" for f in verdict.findings] + [""]
    if run.scores:
        header = ["metric", *map(_text, run.tags), "wanted", "n (entities)"]
        lines += [_line(header), _line(["---"] + ["---:"] * len(run.tags) + ["---", "---:"])]
        for row in headline(run):
            name = f"{row.metric.title} ({row.metric.split})" if row.metric.split else row.metric.title
            cells = [f"{number(c.value)} {interval(c.ci, 2)}".strip() for c in row.cells]
            lines.append(_line([_text(name), *map(_text, cells), row.wanted or "–", row.n]))
        lines += ["", "Brackets are 95 % intervals, clustered by entity where rows name one.", ""]
    if run.benchmark:
        lines += [f"Benchmark: {_text('. '.join(filter(None, (run.benchmark, run.cite))))}.", ""]
    for said in forecast_lines(run):
        lines += [_text(said), ""]
    if verdict.untested:
        lines += [f"Not tested: {'; '.join(verdict.untested)}.", ""]
    if verdict.missing_controls:
        lines += [f"Missing controls: {_text('; '.join(verdict.missing_controls))}.", ""]
    lines += ["To repeat it:", "", *_code(command(run))]
    return "\n".join(lines) + "\n"


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _text(text: str) -> str:
    """One line of plain text: nothing in it is Markdown or HTML."""
    flat = " ".join(visible(text[:_LONGEST]).split())
    flat = flat.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    flat = re.sub(r"([\\`*_{}\[\]#|!~$@])", r"\\\1", flat)
    # Bare addresses become links by themselves, unless their punctuation is an entity.
    return re.sub(r"(?i)\b((?:https?|ftp|javascript|data|mailto)(?=:)|www(?=\.))[:.]", _unlinked, flat)


def _unlinked(match: re.Match[str]) -> str:
    return f"{match.group(1)}&#{ord(match.group()[-1])};"


def _code(text: str) -> list[str]:
    flat = visible(text.replace("\n", " "))
    fence = "`" * max(3, 1 + max((len(m) for m in re.findall("`+", flat)), default=0))
    return [fence, flat, fence]
