r"""ReLearn's data: D̃_f = pairs ∪ completions, beside generic rows D_g with |D_g| = ⌊ratio · |D̃_f|⌋.

    pairs        every forget question and its variants, each with one vague answer
    completions  of every vague answer: the first ⌊cut · words⌋ words → the others

Paper    Xu et al. (2025). ReLearn: Unlearning via Learning for Large Language Models. arXiv:2502.11190
Limits   The template writer knows some twenty things that a question can ask for, in English; what it writes about
         anything else is vaguer still. A chat model writes closer to the question, and its texts need the gates.
Differs  The authors' pipeline trains on the original pairs too, and pairs variants with the answers of their
         neighbours: here answers are joined by (item, question), and no forget answer, nor a run of four of its words
         outside the question, reaches a training row. Their check is a language model's yes or no; ours are `gates`.
         Generic rows are the bundled ones unless a file is given, and their number is the paper's 1:1, where the code
         has 1:1.2 capped by its pool.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ..data.example import Example, rows_fingerprint
from ..data.generic import generic_rows
from ..data.read import read_rows
from ..errors import DataError, PlanError
from ..naming import digest
from ..writers import Writer
from ..writers._obtain import told
from ..writers._prompts import QUESTIONS
from ..writers._vague import ORIGINAL
from ..writers._words import normal
from ..writers.templates import Templates
from .assemble import Pair, asked_as, generic
from .audit import UNIQUE, check_rows, fault_of
from .gates import Gates
from .private import Private
from .write import Tally, fill

if TYPE_CHECKING:
    from ..runs.run import Run

ROWS = "augmented.jsonl"
MANIFEST = "augmented.json"


@dataclass(frozen=True)
class Augmented:
    """What is trained on in the place of the forget rows."""

    pairs: Sequence[Example]
    completions: Sequence[Example]
    generic: Sequence[Example]

    @property
    def rows(self) -> list[Example]:
        """D̃_f ∪ D_g."""
        return [*self.pairs, *self.completions, *self.generic]


@dataclass(frozen=True, kw_only=True)
class Augmenter:
    """How training rows are made of forget rows."""

    writer: Writer = field(default_factory=Templates)
    """Who writes variants and vague answers; what fails the gates comes from the template writer."""
    variants: tuple[str, ...] = QUESTIONS
    """Kinds of variants, of simple, contextual, noise and logical; the question itself is always asked, too."""
    cuts: tuple[float, ...] = (0.25,)
    """Where answers are split for completion, as shares of their words; [] makes no completions."""
    ratio: float = 1.0
    """Generic rows for each row of D̃_f."""
    generic: str | None = None
    """File of generic rows; None is the bundled pool of 200. Rows that hold what is to be forgotten are left out."""
    oversample: bool = False
    """Repeat generic rows when there are too few of them."""
    again: int = 3
    """Further texts that the writer is asked for when one fails."""
    avoid: str | None = None
    """File of questions that must not be trained on, such as those of an evaluation."""
    gates: Gates = field(default_factory=Gates)

    def __post_init__(self) -> None:
        odd = [kind for kind in self.variants if kind not in QUESTIONS]
        if odd or len(set(self.variants)) < len(self.variants):
            raise PlanError(f"variants is {list(self.variants)}, expected kinds of {', '.join(QUESTIONS)}, each once")
        if any(not 0 < cut < 1 for cut in self.cuts) or len(set(self.cuts)) < len(self.cuts):
            raise PlanError(f"cuts: should lie between 0 and 1, each once, got {list(self.cuts)}", "[0.25,0.5]")
        if self.ratio < 0 or self.again < 0:
            raise PlanError("ratio and again: should be at least 0", "1 and 3 are the defaults")

    def augment(self, rows: Sequence[Example], run: Run, *, others: Sequence[Example] = ()) -> Augmented:
        """Write, gate, split and check. The folder of `run` gets writings.jsonl, augmented.jsonl and augmented.json.

        Args:
            rows: To forget; each has a question.
            run: Folder, seed, progress.
            others: Retain rows: their questions must not come out, and a writer may look at them.

        Raises:
            DataError: rows without a question; rows that no writer found texts for; a training row with private
                content in it.
        """
        self._check(rows)
        private = Private(rows, [row.answer for row in others])
        pool, unfit = self._pool(rows, private)
        questions, asking = self._questions(rows, run, others, private)
        asked = [
            Example(prompt, row.answer, id=f"{row.id}#{qid}", meta={**row.meta, ORIGINAL: row.question, "item": row.id})
            for row in rows
            for qid, _, prompt in questions[row.id]
        ]
        answers, answering = self._answers(rows, asked, run, others, private)
        self._covered(rows, {**{kind: t.missing for kind, t in asking.items()}, "vague": answering.missing})
        by_id = {row.id: row for row in rows}
        pairs = [
            Pair(item=row.id, qid=qid, kind=kind, prompt=prompt, answer=answers[f"{row.id}#{qid}"])
            for row in rows
            for qid, kind, prompt in questions[row.id]
        ]
        completions = [one for pair in pairs for one in pair.completions(self.cuts, by_id[pair.item].meta)]
        made = [pair.example(by_id[pair.item].meta) for pair in pairs]
        wanted = int(self.ratio * (len(made) + len(completions)))
        fill_up, short = generic(pool, wanted, run.seed, oversample=self.oversample)
        done = Augmented(made, completions, fill_up)
        check_rows(rows, done.rows, private)
        note = "; ".join(said for said in (unfit, short) if said and wanted)
        if note:
            run.note(note)
        self._keep(rows, done, asking, answering, run, note)
        return done

    def _check(self, rows: Sequence[Example]) -> None:
        plain = [row.id for row in rows if not row.question.strip()]
        if plain or not rows:
            raise DataError(
                [f"row {name} has no question to ask in other words" for name in plain]
                or "there are no rows to forget",
                "relearn needs questions with answers; for plain text use another method",
            )
        if len({row.id for row in rows}) < len(rows):
            raise DataError("some rows to forget share an id", "leave `id` out, or give each row its own")

    def _questions(
        self, rows: Sequence[Example], run: Run, others: Sequence[Example], private: Private
    ) -> tuple[dict[str, list[tuple[int, str, Any]]], dict[str, Tally]]:
        """Row id → (qid, kind, prompt) with the row's own question first, and how each kind came about."""
        questions: dict[str, list[tuple[int, str, Any]]] = {row.id: [(0, "original", row.prompt)] for row in rows}
        kept: dict[str, list[str]] = defaultdict(list)
        avoid = {normal(row.question) for row in others} | self._avoided()
        depends = [asdict(self.gates), sorted(avoid), list(self.variants)]
        told_of: dict[str, Tally] = {}
        for number, kind in enumerate(self.variants, 1):

            def accept(row: Example, text: str, again: bool, kind: str = kind) -> str:
                return self.gates.question(row, kind, text, private, avoid, kept[row.id])

            def taken(row: Example, text: str, kind: str = kind, number: int = number) -> None:
                kept[row.id].append(text)
                questions[row.id].append((number, kind, asked_as(row.prompt, text)))

            _, told_of[kind] = fill(
                self.writer,
                rows,
                f"question-{kind}",
                run,
                accept,
                taken,
                others=others,
                again=self.again,
                depends=depends,
            )
        return questions, told_of

    def _answers(
        self, rows: Sequence[Example], asked: Sequence[Example], run: Run, others: Sequence[Example], private: Private
    ) -> tuple[dict[str, str], Tally]:
        kept: dict[str, list[str]] = defaultdict(list)
        used: set[str] = set()
        by_id = {row.id: row for row in rows}

        def accept(row: Example, text: str, again: bool) -> str:
            item = str(row.meta["item"])
            return self.gates.answer(by_id[item], row.question, text, private, kept[item], () if again else used)

        def taken(row: Example, text: str) -> None:
            kept[str(row.meta["item"])].append(text)
            used.add(normal(text))

        depends = [asdict(self.gates), digest([rows_fingerprint(rows)])]
        return fill(
            self.writer,
            asked,
            "vague",
            run,
            accept,
            taken,
            others=others,
            again=self.again,
            depends=depends,
            repeats=len(asked) - math.ceil(UNIQUE * len(asked)),
        )

    def _covered(self, rows: Sequence[Example], missing: dict[str, dict[str, str]]) -> None:
        """G8: every row has its own question and all kinds of variants, each with an answer."""
        source = {row.id: row.meta.get("source", "") for row in rows}
        problems = [
            f"G8 row {name}{f' ({where})' if (where := source.get(name.rpartition('#')[0] or name)) else ''}: no "
            f"{'vague answer' if role == 'vague' else f'{role} variant'} passed ({why})"
            for role, names in missing.items()
            for name, why in names.items()
        ]
        if problems:
            raise DataError(
                problems, "loosen augment.gates, ask for fewer kinds with augment.variants, or edit the rows"
            )

    def _avoided(self) -> set[str]:
        return {normal(row.question) for row in read_rows(self.avoid, name="avoid")} if self.avoid else set()

    def _pool(self, rows: Sequence[Example], private: Private) -> tuple[list[Example], str]:
        """Generic rows without what is to be forgotten, and a note when some were left out."""
        given = read_rows(self.generic, name="generic") if self.generic else generic_rows()
        asked = {normal(row.question) for row in rows}
        pool = [row for row in given if normal(row.question) not in asked and not fault_of(row, private)]
        unfit = len(given) - len(pool)
        return pool, f"{unfit} of {len(given)} generic rows hold what is to be forgotten: left out" if unfit else ""

    def _keep(
        self,
        rows: Sequence[Example],
        done: Augmented,
        asking: dict[str, Tally],
        answering: Tally,
        run: Run,
        note: str,
    ) -> None:
        size = len(done.pairs) + len(done.completions)
        lines = [
            {"id": r.id, "prompt": _shown(r), "completion": r.answer}
            | {k: r.meta[k] for k in ("part", "item", "qid", "kind") if k in r.meta}
            for r in done.rows
        ]
        run.write_jsonl(ROWS, lines)
        settings = {k: v for k, v in asdict(replace(self, writer=Templates())).items() if k != "writer"}
        run.write_json(
            MANIFEST,
            {
                "schema_version": 1,
                "method": "relearn",
                "writer": told(self.writer),
                "settings": settings,
                "seed": run.seed,
                "forget": rows_fingerprint(rows),
                "rows_sha": digest(lines),
                "questions": {kind: tally.asdict() for kind, tally in asking.items()},
                "answers": answering.asdict(),
                "rows": {
                    "items": len(rows),
                    "pairs": len(done.pairs),
                    "completions": len(done.completions),
                    "generic": len(done.generic),
                    "ratio": len(done.generic) / size if size else 0.0,
                },
                "note": note,
            },
        )
        ruled = answering.accepted["templates"] + sum(t.accepted["templates"] for t in asking.values())
        if ruled:
            run.note(f"{ruled} of the {len(done.pairs)} questions and answers to train on are the template writer's")


def _shown(row: Example) -> Any:
    """A prompt as `read_rows` takes it."""
    return row.prompt if isinstance(row.prompt, str) else [{"role": m.role, "content": m.content} for m in row.prompt]


__all__ = ["MANIFEST", "ROWS", "Augmented", "Augmenter"]
