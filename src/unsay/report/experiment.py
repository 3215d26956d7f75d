"""The page of an experiment: sentences, pictures and tables, as Markdown and as one HTML file that loads nothing."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..runs.atomic import write_text
from .text import visible

_HERE = Path(__file__).parent
_PLATE = ".plate{margin:1.2rem 0}.plate img{display:block;max-width:100%;background:#fff;border-radius:6px}"


@dataclass(frozen=True)
class Table:
    """A table; the first cell of a row names it."""

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    prose: bool = False
    """Texts rather than numbers: from the left."""


@dataclass(frozen=True)
class Picture:
    """An SVG below the folder of the page."""

    file: str
    about: str


@dataclass(frozen=True)
class Part:
    """One section."""

    title: str
    words: Sequence[str] = ()
    pictures: Sequence[Picture] = ()
    tables: Sequence[Table] = ()


@dataclass(frozen=True)
class Banner:
    """The verdict at the top."""

    tone: str
    """leak, damage, open, near or good: its colour."""
    headline: str
    letter: str
    """The evidence's grade."""
    reason: str


def write_page(
    folder: Path,
    name: str,
    title: str,
    lead: Sequence[str],
    parts: Sequence[Part],
    *,
    kind: str = "experiment",
    banner: Banner | None = None,
) -> Path:
    """Write NAME.md and NAME.html.

    Args:
        folder: Holds the pictures.
        name: Of the experiment; not ``report``, which `unsay report` writes.
        title: What was asked.
        lead: What came out, first of all.
        parts: The rest.
        kind: What the page is about, for its head.
        banner: A verdict before everything else.

    Returns:
        Path of the HTML file.
    """
    first = [f"**{banner.headline}**", f"*{banner.reason}*"] if banner else []
    write_text(folder / f"{name}.md", _markdown(title, [*first, *lead], parts))
    path = folder / f"{name}.html"
    write_text(path, _page(folder, title, lead, parts, kind, banner))
    return path


def _markdown(title: str, lead: Sequence[str], parts: Sequence[Part]) -> str:
    blocks = [f"# {title}", *lead]
    for part in parts:
        blocks += [f"## {part.title}", *part.words]
        blocks += [f"![{picture.about}]({picture.file})" for picture in part.pictures]
        for table in part.tables:
            rule = ["---", *["---" if table.prose else "---:"] * (len(table.header) - 1)]
            lines = [table.header, rule, *table.rows]
            grid = "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)
            blocks += [f"*{table.caption}*", grid]
    return visible("\n\n".join(blocks)) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "∣").split("\n"))


def _page(
    folder: Path, title: str, lead: Sequence[str], parts: Sequence[Part], kind: str, banner: Banner | None
) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    def shown(value: Any) -> Any:
        return visible(value) if type(value) is str else value

    def drawn(picture: Picture) -> dict[str, str]:
        data = base64.b64encode((folder / picture.file).read_bytes()).decode()
        return {"data": f"data:image/svg+xml;base64,{data}", "about": picture.about}

    style = (_HERE / "page.css").read_text("utf-8") + _PLATE
    jinja = Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, finalize=shown, trim_blocks=True
    )
    sections = [
        {"title": p.title, "words": p.words, "pictures": [drawn(x) for x in p.pictures], "tables": p.tables}
        for p in parts
    ]
    return jinja.get_template("experiment.html").render(
        title=title,
        lead=lead,
        parts=sections,
        kind=kind,
        banner=banner,
        style=Markup(style),
        style_hash=base64.b64encode(hashlib.sha256(style.encode()).digest()).decode(),
    )
