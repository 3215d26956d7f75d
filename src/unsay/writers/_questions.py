"""Four ways to ask a question again by rule: reworded, placed in a setting, carelessly typed, turned round.

Nothing is added that the question does not say. Made for English; what no rule fits is asked behind an introduction.

Paper    the kinds are those of ReLearn, arXiv:2502.11190, which has a language model write them
"""

from __future__ import annotations

import re
from random import Random

from ..data.example import Example
from ._spans import spans
from ._subject import is_title, subject

ENDS = "?.!？。！…؟"
"""What a question may end with."""
_BE = "is|are|was|were"
_AUX = f"{_BE}|has|have|had|can|could|will|would|should|might"
_ASKING = re.compile(
    r"(?:what|who|whom|whose|which|where|when|why|how|in|at|on|for|to|by|from|through|with|during|as|after|apart|"
    r"besides|based|regarding|considering|given|is|are|was|were|has|have|had|does|do|did|can|could|would|will|should|"
    r"share|describe|name|tell|give|explain|discuss|list|provide|mention|please|the)\b",
    re.IGNORECASE,
)
_REQUEST = re.compile(r"^(?:can|could|would|will) you (?:please )?(.+?)[?.]?$", re.IGNORECASE)
_IMPERATIVE = re.compile(r"^(share|describe|name|tell|give|explain|discuss|list|provide|mention)\b", re.IGNORECASE)
EFFECT = re.compile(
    r"^(?:how|in what ways?) (?:has|have|does|do|did) (?P<a>.+?) (?:\w+ly )?"
    r"(?-i:influenced?|affect(?:ed)?|shaped?|impact(?:ed)?|inspired?|inform(?:ed)?|enrich(?:ed)?|contributed? to|"
    r"reflect(?:ed)? in|appear in) (?P<b>.+?)\?$|"
    r"^what (?:influence|impact|effect) (?:has|have|does|do|did) (?P<c>.+?) (?:have|had) on (?P<d>.+?)\?$",
    re.IGNORECASE,
)
"""What (a, c) does to what (b, d)."""
_ADVERBS = frozenset("often usually also still ever sometimes always frequently never regularly".split())  # noqa: SIM905


def reworded(row: Example, kind: str, rng: Random) -> list[str]:
    """Candidates for one kind of variant, the best first.

    Args:
        row: Its question is asked again.
        kind: ``simple``, ``contextual``, ``noise`` or ``logical``.
        rng: Order of what is equally good.
    """
    question = ended(" ".join(row.question.split()))
    return {"simple": _simple, "contextual": _contextual, "noise": _noise, "logical": _logical}[kind](
        question, subject(row), rng
    )


def _simple(question: str, name: str, rng: Random) -> list[str]:
    request = _wish(question)
    clause = "" if request else _clause(question, name)
    best = []
    if request:
        best = [
            f"Please {request}.",
            f"I would like you to {request}.",
            f"Would you be able to {request}?",
            f"It would be kind of you to {request}.",
        ]
    elif clause:
        best = [
            f"Can you tell me {clause}?",
            f"I would like to know {clause}.",
            f"Could you say {clause}?",
            f"Do you know {clause}?",
            f"Please tell me {clause}.",
        ]
    turned = _of(question, name)
    plain = [
        f"Here is what I would like to know: {_low(question)}",
        f"Please answer this for me: {_low(question)}",
        f"A short question: {_low(question)}",
        f"I was wondering about this: {_low(question)}",
    ]
    return [*_mixed(best + ([turned] if turned else []), rng), *_mixed(plain, rng)]


def _contextual(question: str, name: str, rng: Random) -> list[str]:
    asked = _low(question)
    general = [
        f"In a conversation among readers, somebody asks: {asked}",
        f"{question} A short answer that keeps to the main point would be enough.",
        f"{question} Please answer as for somebody who comes to this for the first time.",
        f"Two colleagues are talking this over at a table: {asked}",
    ]
    if not name or is_title(question, name):
        return _mixed(general, rng)
    own = [
        f"Somebody who prepares a short portrait of {name} asks: {asked}",
        f"In an interview about {name}, this comes up: {asked}",
        f"For a reader who hears of {name} for the first time: {asked}",
        f"Suppose that {name} is being introduced to an audience: {asked}",
        f"At a reading group that deals with {name}, one of the members asks: {asked}",
    ]
    return [*_mixed(own, rng), *_mixed(general, rng)]


def _logical(question: str, name: str, rng: Random) -> list[str]:
    best: list[str] = []
    low = question.lower()
    effect = EFFECT.match(question)
    if effect:
        cause, outcome = (effect["a"], effect["b"]) if effect["a"] else (effect["c"], effect["d"])
        best += [
            f"Which sides of {outcome} can be traced back to {cause}?",
            f"What in {outcome} goes back to {cause}?",
        ]
    person = bool(name) and not is_title(question, name)
    about = f"about {name}" if name else "about the person in question"
    if person:
        parent = re.fullmatch(rf"who (?:is|are) {re.escape(name)}['’]s (parents|father|mother)\?", question, re.I)
        if parent:
            whose = {"parents": "Who has", "father": "Which man has", "mother": "Which woman has"}[parent[1].lower()]
            best += [f"{whose} {name} as a child?"]
        elif re.fullmatch(rf"who is {re.escape(name)}\?", question, re.I):
            best += [f"By which description would a reader recognise {name}?"]
        if re.search(r"\be-?mail address", low):
            best += [
                f"What are the parts of the email address of {name}?",
                f"Who is reached at {name}'s email address?",
            ]
        elif re.search(r"\b(reside|address|live|home)\b", low) and low.startswith(("where", "what is")):
            best += [f"What kind of place is the one where {name} lives?"]
    phrase = _phrase(question, name)
    clause = _clause(question, name)
    request = _wish(question)
    if phrase:
        best += [f"What {'does' if phrase[1] in ('is', 'was') else 'do'} {phrase[0]} tell a reader {about}?"]
    elif clause:
        best += [f"What could be learned {about} from knowing {clause}?"]
    elif request:
        asked = re.sub(r"\bme\b", "a reader", request)
        best += [f"What could be learned {about} if somebody were to {asked}?"]
    plain = [
        f"What could be learned {about} from the answer to this: {_low(question)}",
        f"Somebody knows the answer already: what does it tell {about}? The question was: {_low(question)}",
    ]
    return [*_mixed(best, rng), *plain]


def _noise(question: str, name: str, rng: Random) -> list[str]:
    """Slips of the hand in one to three words; names, titles and numbers stay as they are."""
    kept = [(s.start, s.end) for s in spans(question)]
    kept += [m.span() for m in re.finditer(re.escape(name), question)] if name else []
    words = [
        m
        for m in re.finditer(r"(?<![\w'’-])[A-Za-z]?[a-z]{3,}(?![\w'’-])", question)
        if not any(a < m.end() and m.start() < b for a, b in kept)
    ]
    found = []
    for _ in range(12):
        text = question
        for match in sorted(rng.sample(words, min(len(words), rng.randint(1, 3))), key=lambda m: -m.start()):
            text = text[: match.start()] + _slip(match[0], rng) + text[match.end() :]
        if rng.random() < 0.5 or text == question:
            text = _low(text)
        if rng.random() < 0.3 or text == question:
            text = f"{text.rstrip('?.')} plz?"
        elif rng.random() < 0.3:
            text = text.rstrip("?.") + "??"
        found.append(re.sub(r"\byou\b", "u", text) if rng.random() < 0.5 else text)
    return found


def _slip(word: str, rng: Random) -> str:
    """One letter left out, doubled, or exchanged with its neighbour, never the first."""
    at = rng.randrange(1, len(word) - 1)
    way = rng.randrange(3)
    if way == 0:
        return word[:at] + word[at + 1 :]
    if way == 1:
        return word[:at] + word[at] + word[at:]
    swapped = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    return swapped if swapped != word else word[:at] + word[at + 1 :]


def topic(question: str, name: str) -> tuple[str, bool] | None:
    """The noun phrase that a question asks for, and whether it is plural; None where it asks otherwise.

    >>> topic("What is the job of Ada Moor?", "Ada Moor")
    ('the job of Ada Moor', False)
    """
    found = _phrase(question, name)
    return (found[0], found[1] in ("are", "were")) if found else None


def _phrase(question: str, name: str) -> tuple[str, str] | None:
    """(NP, verb) of ``What is NP?`` where NP is short and begins with an article, a possessive or the subject's."""
    match = re.fullmatch(rf"what ({_BE}) (.+)\?", question, re.IGNORECASE)
    if not match:
        return None
    phrase = match[2]
    begins = re.match(r"(?:the|his|her|their)\b", phrase, re.I) or (
        name and re.match(rf"{re.escape(name)}['’]s ", phrase)
    )
    odd = re.search(r"\b(?:that|who|which|known for|like|about)\b|[,;:]", phrase) or phrase.split()[-1] in _HANGING
    return (phrase, match[1].lower()) if begins and not odd and len(phrase.split()) <= 14 else None


_HANGING = frozenset("born located situated based from in of for about called named to with".split())  # noqa: SIM905


def _clause(question: str, name: str) -> str:
    """The question as a clause (``what the job of Ada is``); "" where no rule makes one."""
    phrase = _phrase(question, name)
    if phrase:
        return f"what {phrase[0]} {phrase[1]}"
    who = re.fullmatch(rf"(who) ({_BE}) (.+)\?", question, re.IGNORECASE)
    if who and name and re.fullmatch(rf"{re.escape(name)}(?:['’]s \w+)?", who[3]):
        return f"who {who[3]} {who[2].lower()}"
    if not name:
        return ""
    after = rf"{re.escape(name)}(?!['’]) (?P<rest>.+)"
    found = re.fullmatch(rf"(?P<wh>.+?) (?P<aux>{_AUX}) {after}\?", question, re.IGNORECASE)
    if found and _ASKING.match(found["wh"]) and len(found["wh"].split()) <= 6:
        said = f"{_low(found['wh'])} {name} {found['aux'].lower()} {found['rest']}"
        return said.replace(" can not ", " cannot ")
    does = re.fullmatch(rf"(?P<wh>.+?) does {after}\?", question, re.IGNORECASE)
    if does and _ASKING.match(does["wh"]) and len(does["wh"].split()) <= 6:
        said = _third(does["rest"])
        return f"{_low(does['wh'])} {name} {said}" if said else ""
    many = re.fullmatch(rf"(how|why|what|where|when) do ({re.escape(name)}['’].+)\?", question, re.IGNORECASE)
    if many:
        return f"{many[1].lower()} {many[2]}"
    yes = re.fullmatch(rf"(?P<aux>{_AUX}) {after}\?", question, re.IGNORECASE)
    if yes:
        return f"whether {name} {yes['aux'].lower()} {yes['rest']}"
    yes = re.fullmatch(rf"does {after}\?", question, re.IGNORECASE)
    said = _third(yes["rest"]) if yes else ""
    return f"whether {name} {said}" if said else ""


def _third(rest: str) -> str:
    """``currently live in`` → ``currently lives in``; "" where the verb cannot be told."""
    words = rest.split(" ")
    at = next((i for i, w in enumerate(words) if not (w.endswith("ly") or w in _ADVERBS)), None)
    if at is None or not words[at].isalpha() or not words[at].islower() or words[at + 1 : at + 2] == ["and"]:
        return ""
    verb = words[at]
    if verb in {"not", "in", "to", "of"}:
        return ""
    special = {"have": "has", "do": "does", "go": "goes", "be": "is"}
    if verb in special:
        words[at] = special[verb]
    elif re.search(r"(?:s|x|z|ch|sh)$", verb):
        words[at] += "es"
    else:
        words[at] = f"{verb[:-1]}ies" if re.search(r"[^aeiou]y$", verb) else f"{verb}s"
    return " ".join(words)


def _of(question: str, name: str) -> str:
    """``What is Ada's job?`` ↔ ``What is the job of Ada?``"""
    if not name:
        return ""
    own = re.fullmatch(rf"(what|who) ({_BE}) {re.escape(name)}['’]s ((?:\w+ ){{0,1}}\w+)\?", question, re.IGNORECASE)
    if own:
        return f"{own[1].capitalize()} {own[2]} the {own[3]} of {name}?"
    of = re.fullmatch(rf"(what|who) ({_BE}) the ((?:\w+ ){{0,2}}\w+) of {re.escape(name)}\?", question, re.IGNORECASE)
    return f"{of[1].capitalize()} {of[2]} {name}'s {of[3]}?" if of else ""


def _wish(question: str) -> str:
    """What ``Can you …?`` asks to be done, or an order; "" for any other question."""
    asked = _REQUEST.match(question)
    if asked:
        return asked[1]
    return _low(question.rstrip("?.")) if _IMPERATIVE.match(question) else ""


def _low(text: str) -> str:
    """Without the capital at the start, where that is not a name's."""
    return text[:1].lower() + text[1:] if _ASKING.match(text) else text


def ended(question: str) -> str:
    """`question` with a mark at its end."""
    question = question.strip()
    return question if question[-1:] in ENDS else f"{question}?"


def _mixed(texts: list[str], rng: Random) -> list[str]:
    return rng.sample(texts, len(texts))
