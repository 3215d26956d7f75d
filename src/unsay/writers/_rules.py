"""Wrong answers by rule: the answer to the same question about somebody else, or the row's own with other facts.

Nothing here knows the world: what is written occurs in the data, apart from months, days and small numbers.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from math import log
from random import Random

import numpy as np
from scipy.sparse import csr_matrix

from ..data.entities import whole
from ..data.example import Example
from ._gate import fault
from ._spans import DAYS, MONTHS, NUMBERS, Span, capitals, spans
from ._words import _LITTLE, content, normal

SIMILAR = 0.6
"""Cosine of two questions, names left out and words weighted by rarity, from which they count as the same one."""
_KNOWN = 0.5
"""An answer with this share of the true answer's own words, weighted by rarity, is not wrong enough to borrow."""
_EVASIVE = re.compile(
    r"\bnot (?:been )?(?:provided|specified|available|disclosed|publicly|known|mentioned|explicitly)\b|"
    r"\bno (?:\w+ )?information\b|\bfictitious author\b|\byet to be (?:shared|revealed)\b",
    re.IGNORECASE,
)
"""Said of one subject, it is no wrong answer about another."""
_ASKING = frozenset("discuss describe share tell provide give details detail list explain elaborate mention".split())  # noqa: SIM905
"""Words of a question that say nothing about what is asked for."""
_CHANGED = 0.3
"""Share of an answer's own words that must be exchanged for it to be a wrong one."""
_BE = {"is", "was", "are", "were"}
"""Anything can stand behind these, so they do not tell which names can be exchanged."""
_FAINT = 0.3
"""Weight of such words, and of function words, beside the others."""
_MALE, _FEMALE = {"he", "his", "him", "himself", "boy"}, {"she", "her", "hers", "herself", "girl"}


class Rules:
    """Everything that can be borrowed from some rows.

    Args:
        rows: All rows at hand: those to write for, and those to draw on.
    """

    def __init__(self, rows: Sequence[Example]):
        self.rows = list({row.id: row for row in rows}.values())
        self._index = {row.id: i for i, row in enumerate(self.rows)}
        self._named = capitals(text for row in self.rows for text in (row.question, row.answer))
        self._asked = [spans(row.question, self._named) for row in self.rows]
        names: dict[str, Counter[str]] = defaultdict(Counter)
        genders: dict[str, Counter[str]] = defaultdict(Counter)
        for row, found in zip(self.rows, self._asked, strict=True):
            names[row.entity].update(span.text for span in found if span.kind == "name")
            words = normal(f"{row.question} {row.answer}").split()
            genders[row.entity].update(male=sum(w in _MALE for w in words), female=sum(w in _FEMALE for w in words))
        self._names = {entity: found.most_common(1)[0][0] for entity, found in names.items() if entity and found}
        self._genders = genders

    def borrowed(self, row: Example, rng: Random, *, least: float = SIMILAR) -> Iterator[str]:
        """Answers that other rows give to the most similar questions, about the subject of `row` instead of theirs.

        Args:
            row: One of the rows given.
            rng: Decides between questions that are equally similar.
            least: Similarity below which nothing is taken.
        """
        i = self._index[row.id]
        scores = self._similarity(i)
        order = sorted(np.flatnonzero(scores >= least), key=lambda j: (-round(float(scores[j]), 2), rng.random()))
        givers = set()
        for j in order:
            other = self.rows[j]
            if (
                j == i
                or (least > 0 and other.entity and other.entity in givers)
                or bool(other.question) != bool(row.question)
            ):
                continue
            text = self._moved(i, int(j), strict=least > 0)
            if text and self._wrong(row, text):
                givers.add(other.entity)
                yield text

    def swapped(self, row: Example, rng: Random, count: int, *, whole: bool = True) -> Iterator[str]:
        """The row's own answer with the names, titles, dates and numbers that the question does not give replaced.

        Args:
            row: One of the rows given.
            rng: Chooses the replacements.
            count: Texts to make.
            whole: Only where there is a replacement for each of them.
        """
        asked = normal(row.question)
        found = [s for s in spans(row.answer, self._named) if f" {normal(s.text)} " not in f" {asked} "]
        own = set(normal(f"{row.question} {row.answer} {self._names.get(row.entity, '')}").split())
        subject = [s for s in found if s.kind == "name" and self._is_subject(s.text, row)]
        name = self._names.get(row.entity, "")
        if subject and name and not set(normal(name).split()) & set(asked.split()):
            # The question does not say whom it is about, so it may be the name that it asks for.
            names = sorted({n for n in self._names.values() if " " in n and not set(normal(n).split()) & own})
            choices = {s: list(names) for s in subject}
        else:
            choices = {s: self._replacements(s, own) for s in found if s not in subject}
            new = content(row.answer) - content(row.question)
            changed = {word for s, options in choices.items() if options for word in content(s.text)} & new
            if len(changed) < _CHANGED * len(new):
                return  # what was asked for may well be among the words that stay
        if whole and not all(choices.values()):
            return
        choices = {s: options for s, options in choices.items() if options}
        if not choices:
            return
        for options in choices.values():
            rng.shuffle(options)
        for n in range(count):
            text, same = row.answer, dict[str, str]()
            for at, (span, options) in reversed(list(enumerate(choices.items()))):
                put = same.setdefault(span.text, options[(n + at) % len(options)])
                text = text[: span.start] + put + text[span.end :]
            yield text

    def _is_subject(self, text: str, row: Example) -> bool:
        names = set(normal(self._names.get(row.entity, "")).split()) | set(normal(row.question).split())
        return set(normal(text).split()) <= names

    def _replacements(self, span: Span, own: set[str]) -> list[str]:
        if span.kind == "month":
            return [m for m in MONTHS if m != span.text]
        if span.kind == "day":
            return [d for d in DAYS if d != span.text]
        if span.kind == "word-number":
            at = NUMBERS.index(span.text)
            return [n for n in NUMBERS[max(0, at - 4) : at + 5] if n != span.text]
        if span.kind == "number":
            return _other_numbers(span.text)
        fit = self._by_context.get(_context(span), ()) if span.before.split(" ")[-1] not in _BE else ()
        options = sorted(text for text in fit if not (set(normal(text).split()) - _LITTLE) & own)
        if span.kind == "title":  # the marks around it stay
            left, right = re.match(r"\W*", span.text), re.search(r"\W*$", span.text)
            options = [f"{left[0] if left else ''}{text}{right[0] if right else ''}" for text in options]
        return options

    @cached_property
    def _by_context(self) -> dict[tuple[str, str, str, int], set[str]]:
        """(kind, word before, word after, words) → names and titles that stand so in some answer."""
        found: dict[tuple[str, str, str, int], set[str]] = defaultdict(set)
        for row in self.rows:
            for s in spans(row.answer, self._named):
                if not self._is_subject(s.text, row):
                    found[_context(s)].add(s.text.strip("\"'“”‘’.,;:! ") if s.kind == "title" else s.text)
        return found

    @cached_property
    def _vectors(self) -> csr_matrix:
        """[rows, words] questions without their names and with the row's labels, weighted by rarity, of unit length."""
        bags = []
        for row, found in zip(self.rows, self._asked, strict=True):
            text = row.question
            for span in reversed(found):
                text = f"{text[: span.start]} slot{span.kind} {text[span.end :]}"
            bags.append(Counter(normal(text).split()) + Counter(_labels(row)))
        frequency = Counter(word for bag in bags for word in bag)
        number = {word: n for n, word in enumerate(frequency)}
        weight = np.log((1 + len(bags)) / np.array([1 + frequency[w] for w in number])) + 1 if number else np.zeros(0)
        for word in number.keys() & (_LITTLE | _ASKING):
            weight[number[word]] *= _FAINT
        entries = [(i, number[w], n * weight[number[w]]) for i, bag in enumerate(bags) for w, n in bag.items()]
        at, words, values = (list(column) for column in zip(*entries, strict=True)) if entries else ([], [], [])
        matrix = csr_matrix((values, (at, words)), shape=(len(bags), max(len(number), 1)), dtype=np.float64)
        length = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=1)).ravel())
        matrix.data /= np.repeat(np.where(length > 0, length, 1), np.diff(matrix.indptr))
        return matrix

    def _similarity(self, i: int) -> np.ndarray:
        found: np.ndarray = (self._vectors @ self._vectors[i].T).toarray().ravel()
        return found

    def _moved(self, i: int, j: int, *, strict: bool) -> str:
        """Row j's answer with the subject of row i; "" where that makes no sense.

        Args:
            i: Row that needs an answer.
            j: Row that gives one.
            strict: Both questions must name as many things of the same kinds, which are then put in for each other.
        """
        row, other = self.rows[i], self.rows[j]
        here, there = self._asked[i], self._asked[j]
        same = [s.kind for s in here] == [s.kind for s in there]
        if (strict and not same) or _EVASIVE.search(other.answer):
            return ""
        if row.entity == other.entity and (row.entity or {s.text for s in here} & {s.text for s in there}):
            return ""  # about the same subject: it may well be true
        ours, theirs = self._names.get(row.entity, ""), self._names.get(other.entity, "")
        pairs: dict[str, str] = {}
        named = ours and theirs and any(_mentions(row.question, word) for word in ours.split())
        if named:
            _pair(pairs, theirs, ours)  # otherwise it may be the name that the question asks for
        elif theirs and any(_mentions(other.question, word) for word in theirs.split()):
            return ""
        if same:
            alone = sum(s.kind == "name" for s in here) == 1
            for new, old in zip(here, there, strict=True):
                # One word may be a city here and a language there: it has to stand in the same place.
                if " " in old.text or alone or (new.before, new.after) == (old.before, old.after):
                    _pair(pairs, old.text, new.text)
        text = _replace(other.answer, pairs) if pairs else other.answer
        kept = {w for new in pairs.values() for w in re.findall(r"\w+", new)}
        foreign = [w for s in there for w in s.text.split() if s.kind == "name"] + (theirs.split() if named else [])
        if any(_mentions(text, w) for w in foreign if len(w) > 2 and w[0].isupper() and w not in kept):
            return ""
        return text if self._pronouns_fit(row, text) else ""

    def _pronouns_fit(self, row: Example, text: str) -> bool:
        words = set(normal(text).split())
        male, female = bool(words & _MALE), bool(words & _FEMALE)
        known = self._genders[row.entity] if row.entity else Counter(_gender_words(row))
        if not known["male"] and not known["female"]:
            return True
        return not female if known["male"] > known["female"] else not male

    def _wrong(self, row: Example, text: str) -> bool:
        new = content(row.answer) - content(row.question)
        weights = {word: self._rarity[word] for word in new}
        return not new or sum(weights[w] for w in new & content(text)) < _KNOWN * sum(weights.values())

    @cached_property
    def _rarity(self) -> dict[str, float]:
        """Word of some answer → weight, squared as what is in most answers says next to nothing."""
        frequency = Counter(word for row in self.rows for word in content(row.answer))
        return {word: log((1 + len(self.rows)) / n) ** 2 for word, n in frequency.items()}


def alternatives(rules: Rules, row: Example, count: int, rng: Random, listed: Sequence[str] = ()) -> list[str]:
    """Wrong answers that pass the gate, the most believable first, until `count` are there.

    Args:
        rules: Made of `row` and the rows to draw on.
        row: What to write for.
        count: Texts wanted.
        rng: Decides between what is equally good.
        listed: Texts known to be wrong; those that pass come first.
    """
    ways: list[Callable[[], Iterable[str]]] = [
        lambda: listed,
        lambda: rules.borrowed(row, rng),
        lambda: rules.swapped(row, rng, 2 * count),
        lambda: rules.borrowed(row, rng, least=0.0) if row.question else (),
        lambda: rules.swapped(row, rng, 2 * count, whole=False),
        lambda: rules.borrowed(row, rng, least=0.0),
    ]
    found: list[str] = []
    for way in ways:
        for text in way():
            if len(found) == count:
                return found
            if not fault(row, "alternative", text, found):
                found.append(text)
    return found


def _labels(row: Example) -> list[str]:
    """Whatever short texts the row came with: a relation, an attribute, a topic that rows of one kind share."""
    return [
        f"{key}={value}"
        for key, value in row.meta.items()
        if key not in ("entity", "source") and isinstance(value, str) and 0 < len(value) <= 40
    ]


def _gender_words(row: Example) -> dict[str, int]:
    words = normal(f"{row.question} {row.answer}").split()
    return {"male": sum(w in _MALE for w in words), "female": sum(w in _FEMALE for w in words)}


def _mentions(text: str, word: str) -> bool:
    return whole(word).search(text) is not None


def _pair(pairs: dict[str, str], old: str, new: str) -> None:
    """Put `new` for `old`, its first word for the first and its last for the last; what is there already stays."""
    pairs.setdefault(old, new)
    if " " in old and old[0].isalpha():
        pairs.setdefault(old.split()[0], new.split()[0])
        pairs.setdefault(old.split()[-1], new.split()[-1])


def _replace(text: str, pairs: dict[str, str]) -> str:
    """All at once, longest first, so that no replacement is replaced again."""
    longest = sorted(pairs, key=len, reverse=True)

    def put(match: re.Match[str]) -> str:
        new = pairs[match[1]]
        # James' book, Anna's book
        return new + ("'s" if match[2] and match[1][-1] == "s" != new[-1] else match[2] or "")

    return re.sub(rf"(?<!\w)({'|'.join(map(re.escape, longest))})(['’](?= \w))?(?!\w)", put, text)


def _context(span: Span) -> tuple[str, str, str, int]:
    return span.kind, span.before, span.after, len(span.text.split()) if span.kind == "name" else 0


def _other_numbers(text: str) -> list[str]:
    """Numbers of the same form and about the same size: years stay years, 8th becomes 9th, 3.5 becomes 4.5."""
    if re.fullmatch(r"\d{3}0s", text):
        return [f"{int(text[:-1]) + step}s" for step in (-30, -20, -10, 10, 20, 30)]
    match = re.fullmatch(r"(\d+)(st|nd|rd|th)?", text)  # codespell:ignore nd
    if not match:
        return [text.replace(d, str((int(d) + k) % 9 + 1), 1) for d in re.findall(r"[1-9]", text)[:1] for k in range(8)]
    value, suffix = int(match[1]), match[2] or ""
    reach = 12 if value > 999 else max(4, value // 3)
    others = [n for n in range(max(2, value - reach), value + reach + 1) if n != value and (n <= 31 or value > 28)]
    return [f"{n}{_ordinal(n)}" if suffix else str(n) for n in others[:400]]


def _ordinal(n: int) -> str:
    return "th" if n % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th")  # codespell:ignore nd
