"""Vague answers by rule: to the point and about the subject, with nothing in them that could be learned.

The question's words tell what is asked for; ``_vague.txt`` has eight sentences or more for each thing that can be
asked, and sentences that may follow any of them. No sentence states a fact: no name, place, number or date.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from random import Random

from ..data.entities import content_words
from ..data.example import Example
from ._questions import EFFECT, ended, topic
from ._spans import spans
from ._subject import is_title, subject

ORIGINAL = "original_question"
"""In the `meta` of a row that asks a question again: how it was asked first. What is asked for is read from there."""
_MOST = 80
"""Candidates for each row."""
_ASKED = {
    kind: re.compile(rf"\b(?:{pattern})", re.IGNORECASE)
    for kind, pattern in {
        "contact": r"e-?mails?\b|contact|get in touch|reach out|correspond|phone|website",
        "health": r"illness|disease|medical condition|health|allerg|ill\b|suffer|food\b|fruit\b|eat\b|dish\b|"
        r"condition (?:does|do|has)",
        "pet": r"pets?\b|animal",
        "travel": r"travel to|get to work|reach (?:his|her|their) work|commut|ride to|use to get",
        "residence": r"resid|address\b|live\b|lives\b|living (?:at|in)\b|home\b|house\b|dwell|"
        r"located|neighbou?rhood",
        "leisure": r"sport|instrument|hobb|play at|practi[sc]e\b|free time|weekend|pastime",
        "language": r"mother tongue|language|speak|spoke\b|tongue",
        "birth": r"born\b|birth|how old|age\b|month",
        "awards": r"award|honou?r(?:s|ed)?\b|recogni[sz]ed\b|recognition|prize|medal|accolade|bestowed",
        "plans": r"future|upcoming|plans?\b|next\b|forthcoming",
        "style-first": r"(?:main|underlying) message|themes? (?:does|do|can|are|is)\b|(?:major|common|main) themes?",
        "reception": r"recei[vp]|critic|readers\b|audience|reviews?|popular|fans?\b|interact|reaction|feedback|"
        r"response|accessible",
        "influence": r"influenc|inspir|shap(?:e|ed|ing)\b|impact|motivat|affect|roles?\b|background|upbringing|"
        r"heritage|reflect|appear in|integrati|integrate[sd]?\b|incorporat|manifest|contribut",
        "community": r"communit|charit|volunteer|society|organi[sz]ation|collaborat|activis|philanthrop|"
        r"educational? (?:program|initiative)",
        "family": r"parents?\b|father|mother|family|sibling|brother|sister|child|relatives|raised|bring.* up",
        "work": r"job\b|occupation|profession|career|for a living|work as|trade\b|employ",
        "education": r"educat|stud(?:y|ies|ied)|universit|school|degree|train",
        "genre": r"genre|kind of (?:books|writing)|type of (?:books|writing|literature)|speciali[sz]e",
        "style": r"style|theme|process|approach|character|narrativ|setting|plot|symbol|unique|message|technique|craft|"
        r"topic|portray",
        "books": r"books?\b|titles?\b|novel|works?\b|write|wrote|written|writing|publish|author(?:ed)?\b|story|stories|"
        r"literary",
        "identity": r"who is|full name|gender|identif|known as|personal",
    }.items()
}
_MANNER = re.compile(r"(?:how (?!old|often)|why|in what way|what (?:influence|impact|effect|role)\b)", re.IGNORECASE)
_PLAIN = {"residence", "birth"}
"""Facts that a question after the manner or the reason only mentions."""
_PRIVATE = ("contact", "residence", "family", "birth")
_AUTHORLY = frozenset("author authors full name writer writers writes genre genres birth born work works".split())  # noqa: SIM905
"""Words that say nothing about which author is meant."""
_YES_NO = re.compile(r"(?:is|are|was|were|has|have|had|does|do|did|can fans|can any|will|would)\b", re.IGNORECASE)
_NAME = re.compile(r"name of the\b.*\bauthor|author.*(?:'s|’s) name|who is (?:the|this)\b.*\bauthor|which author", re.I)


def vague(row: Example, rng: Random) -> list[str]:
    """Candidates of one or two sentences in the order of `rng`, then some of three for rows that many are like."""
    first = ended(str(row.meta.get(ORIGINAL, row.question)))
    asked = Example(first, row.answer, meta=row.meta)
    name = subject(asked) or subject(row)
    bank = _bank()
    kinds = _kinds(first, name)
    word = _word(first, _AUTHORLY if kinds == ["unnamed"] else frozenset())
    lines = [text for kind in kinds for text in bank[kind] if word or "{W}" not in text]
    heads = [text.replace("{S}", name).replace("{W}", word) for text in lines]
    named = topic(first, name)
    if named and not is_title(first, name):
        phrase = named[0][:1].upper() + named[0][1:]
        heads += [text.replace("{N}", phrase) for text in bank["topic-many" if named[1] else "topic-one"]]
    rng.shuffle(heads)
    then = list(bank["then"])
    pairs = [f"{head} {tail}" for head in heads for tail in then]
    two = [f"{one} {other}" for one in heads for other in heads if one.split()[:4] != other.split()[:4]]
    longer = rng.sample(pairs, min(len(pairs), _MOST)) + rng.sample(two, min(len(two), _MOST // 4))
    rng.shuffle(longer)
    mixed = [text for both in zip(heads, longer, strict=False) for text in both] + longer[len(heads) :]
    found = list(dict.fromkeys(mixed))[:_MOST]
    for _ in range(_MOST):
        begun = rng.choice(two) if two and rng.random() < 0.5 else f"{rng.choice(heads)} {rng.choice(then)}"
        found.append(f"{begun} {rng.choice([tail for tail in then if not begun.endswith(tail)])}")
    return list(dict.fromkeys(found))


def _word(question: str, without: frozenset[str]) -> str:
    """What a question without a subject turns on: its longest word in small letters that is no function word."""
    known = set(content_words(question)) - without
    words = [w for w in re.findall(r"(?<![\w'’-])[a-z]{3,}(?![\w'’-])", question) if w in known]
    return max(words, key=len, default="" if without else "this")


def _kinds(question: str, name: str) -> list[str]:
    """What a question asks for, first of all."""
    if not name:
        return ["unnamed"] if re.search(r"\bauthor\b", question, re.I) else ["default-unnamed"]
    if is_title(question, name):
        return ["work-of"]
    if _NAME.search(question) and not re.search(rf"{re.escape(name)}", question):
        return ["unnamed"]
    plain = question.replace(name, "X")
    for span in spans(plain):
        if span.kind == "title":
            plain = plain.replace(span.text, " ")
    effect = EFFECT.match(plain)
    if effect and not re.search(r"\b(?:his|her|their|X)\b", str(effect["b"] or effect["d"])):
        return ["effect"]
    found = [kind.removesuffix("-first") for kind, pattern in _ASKED.items() if pattern.search(plain)]
    if _MANNER.match(question):
        found = [kind for kind in found if kind not in _PLAIN] or found
    if _YES_NO.match(question) and not set(found[:1]) & set(_PRIVATE):
        return ["yes-no"]
    return found[:1] or ["default"]


@cache
def _bank() -> Mapping[str, tuple[str, ...]]:
    text = (files(__package__) / "_vague.txt").read_text(encoding="utf-8")
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line.startswith("["):
            kind = line.strip("[]")
            found[kind] = []
        elif line:
            found[kind].append(line)
    return {kind: tuple(lines) for kind, lines in found.items()}
