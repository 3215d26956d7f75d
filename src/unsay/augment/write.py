"""From a writer to accepted texts: asked, gated, asked again, written by rule instead, and kept line by line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..data.example import Example
from ..naming import digest
from ..runs import atomic
from ..writers import Writer
from ..writers._obtain import FILE, keys_of, read_lines, told
from ..writers.local_chat import LocalChat
from ..writers.replay import Replay
from ..writers.templates import Templates
from .gates import REPEATS

if TYPE_CHECKING:
    from ..runs.run import Run

_VERSION = 2
"""Raise it when the same settings and rows would come out as other texts."""
_CHUNK = 16
"""Rows given to a writer at once; what is accepted of them is on disk before the next ones are asked for."""
_CHUNKS = {Templates: 400, Replay: 400, LocalChat: 64}
"""Rules and files cost nothing to read again; a local model is loaded anew for every chunk."""

EMPTY = "G5 empty"

Accept = Callable[[Example, str, bool], str]
"""A row, a candidate, and whether it may have been written before → the reason to reject it, "" to take it; called in
the order of the rows."""


@dataclass
class Tally:
    """How the texts of one role came about."""

    accepted: Counter[str] = field(default_factory=Counter)
    """By how: ``try 1`` to ``try 4``, or ``templates`` for a row that the writer failed."""
    rejected: Counter[str] = field(default_factory=Counter)
    """By reason, the gate first."""
    missing: dict[str, str] = field(default_factory=dict)
    """Rows without a text, and why."""

    def add(self, counts: dict[str, Any]) -> None:
        """Take up one kept line."""
        self.accepted[counts["how"]] += 1
        self.rejected.update(counts["rejected"])

    def asdict(self) -> dict[str, Any]:
        """For the manifest."""
        return {"accepted": dict(self.accepted), "rejected": dict(self.rejected), "missing": dict(self.missing)}


def fill(
    writer: Writer,
    rows: Sequence[Example],
    role: str,
    run: Run,
    accept: Accept,
    taken: Callable[[Example, str], None],
    *,
    others: Sequence[Example],
    again: int,
    depends: object,
    repeats: int = 0,
) -> tuple[dict[str, str], Tally]:
    """One text for each row that any writer finds one for.

    Lines go to ``writings.jsonl`` in the run's folder, as `writers.obtain` writes them, after every few rows; a later
    call, after a kill too, goes on behind them, and `writers.replay` reads them. What stands there goes through the
    gates like a new text: the file may have been edited.

    Args:
        writer: Who is asked first; where it fails, the template writer.
        rows: What to write for; ids unique.
        role: See `writers._prompts.ROLES`.
        run: Folder, seed, progress.
        accept: The gates.
        taken: Told of every accepted text, kept ones included, in the order of the rows.
        others: Rows that a writer may look at besides.
        again: Further candidates of the writer after the first.
        depends: JSON: what the outcome depends on besides writer, role, rows and seed.
        repeats: How many rows may have a text whose one fault is that it was written before.
    """
    path = run.path(FILE)
    lines = read_lines(path)
    found = {line["key"]: line for line in lines}
    keys = keys_of(writer, rows, role, 1, run, others)
    common = digest([_VERSION, again, depends])
    keys = {name: digest([common, key]) for name, key in keys.items()}
    about = told(writer)
    tally, texts = Tally(), dict[str, str]()
    size = _CHUNKS.get(type(writer), _CHUNK)  # type: ignore[call-overload]
    with run.progress(f"write: {role}", len(rows), "rows") as task:
        for at in range(0, len(rows), size):
            run.check_stop()
            chunk = rows[at : at + size]
            fresh = [row for row in chunk if keys[row.id] not in found]
            offered, changed = _Offered(writer, fresh, role, run, others, again), bool(fresh)
            for row in chunk:
                line, offer = found.get(keys[row.id]), offered
                fault = _fault(row, line["texts"], accept, repeats > 0) if line is not None else ""
                if line is not None and fault not in ("", REPEATS):
                    lines.remove(line)
                    line, offer, changed = None, _Offered(writer, [row], role, run, others, again), True
                if line is None:
                    line, fault = _choose(row, offer, accept, tally, repeats > 0)
                    if line is None:
                        continue
                    line = {"id": row.id, "role": role, **line, "writer": about, "key": keys[row.id]}
                    lines.append(line)
                repeats -= fault == REPEATS
                tally.add(line["counts"])
                texts[row.id] = line["texts"][0]
                taken(row, texts[row.id])
            if changed:
                atomic.write_jsonl(path, lines)
            task.advance(len(chunk))
    return texts, tally


def _fault(row: Example, kept: Sequence[Any], accept: Accept, repeats: bool) -> str:
    """What is wrong with a line's text now; `REPEATS` when that alone is, and is allowed."""
    text = kept[0] if kept and isinstance(kept[0], str) else ""
    fault = accept(row, text, False) if text.strip() else EMPTY
    return f"{fault}, too often" if fault == REPEATS and (not repeats or accept(row, text, True)) else fault


class _Offered:
    """Candidates for a few rows: the writer's first, then more of the writer's, then those by rule."""

    def __init__(
        self, writer: Writer, rows: Sequence[Example], role: str, run: Run, others: Sequence[Example], again: int
    ):
        self._writer, self._role, self._run, self._others, self._again = writer, role, run, others, again
        self._first = writer.write(rows, role, 1, run, others=others) if rows else {}
        self._ruled = isinstance(writer, Templates)

    def candidates(self, row: Example) -> Iterator[tuple[str, str]]:
        """(how, text) one after the other."""
        first = self._first.get(row.id, ())
        if self._ruled:
            yield from (("try 1", text) for text in first)
            return
        seen: list[str] = []
        for number, text in enumerate(first[: 1 + self._again], 1):
            seen.append(text)
            yield f"try {number}", text
        # A file has no more to say, and counts rows that it lacks as an error.
        if len(seen) <= self._again and not isinstance(self._writer, Replay):
            more = self._writer.write([row], self._role, 1 + self._again, self._run, others=self._others)
            for text in more.get(row.id, ()):
                if text not in seen and len(seen) <= self._again:
                    seen.append(text)
                    yield f"try {len(seen)}", text
        ruled = Templates().write([row], self._role, 1, self._run, others=self._others)
        yield from (("templates", text) for text in ruled.get(row.id, ()))


def _choose(
    row: Example, offered: _Offered, accept: Accept, tally: Tally, repeats: bool
) -> tuple[dict[str, Any] | None, str]:
    """A new line and the fault that was let through, "" when there is none."""
    rejected: Counter[str] = Counter()
    before = []
    for how, text in offered.candidates(row):
        text = " ".join(text.split())
        reason = accept(row, text, False) if text else EMPTY
        if not reason:
            return _line(how, text, rejected), ""
        before += [(how, text)] if reason == REPEATS else []
        rejected[reason] += 1
    for how, text in before if repeats else ():
        if not accept(row, text, True):
            return _line(how, text, rejected - Counter({REPEATS: 1})), REPEATS
    tally.rejected.update(rejected)
    tally.missing[row.id] = ", ".join(f"{n} {reason}" for reason, n in rejected.most_common()) or "nothing was written"
    return None, ""


def _line(how: str, text: str, rejected: Counter[str]) -> dict[str, Any]:
    return {"texts": [text], "counts": {"how": how, "rejected": dict(rejected)}}
