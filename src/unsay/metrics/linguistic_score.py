"""Does the model still write well: perplexity under a reading model and richness of vocabulary in one number (LS).

LS = HM(σ(−ln PPL), σ(−ln BI), σ(ln HS)) = 3 / (3 + PPL + BI + 1/HS), HM the harmonic mean, σ the logistic function.
Per row, with N tokens, V types, V₁ of them once: PPL = exp(mean token loss under a fixed reading model); Brunet's index
BI = N^(V^−0.165), lower is richer; Honoré's statistic HS = 100·ln N / (1 − V₁/V + 0.1), higher is richer.
average="means" puts the means over rows into the formula, "medians" their medians, "rows" averages each row's LS. An
empty answer has no PPL and is left out of its mean, but counts with BI = 1000, HS = 0 and LS = 0.

Paper: ReLearn (Xu et al. 2025, arXiv:2502.11190), BI and HS: equations 4 and 5; the 0.1 is its code's.
Limits: at most 0.6, and HS contributes about 1/2000: LS is a falling function of PPL + BI. One exploding PPL makes the
mean useless (average="medians" or "rows" are robust). Compare only numbers of the same reading model and length limit.
Differs: the reading model is smollm2-135m where the paper's code takes Llama-2-7b-chat; like there it reads question
and answer as plain text and the end of the answer is not scored. Sentences end at . ! ? instead of Punkt's choice.
One greedy generation unless `sampling` asks for the paper's three runs: then PPL, BI and HS of a row are their means,
and `extra` has each run's LS.

PPL 14.4724, BI 7.1599, HS 1896.82 are the means of the authors' published forget rows:

>>> round(closed_form(14.4724, 7.1599, 1896.82), 6)
0.121789
>>> round(brunet(["at"] * 128), 1), round(honore(["at"] * 128), 2)
(128.0, 441.09)
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal

import numpy as np

from .. import stats
from ..data.example import Example
from ..errors import PlanError
from ._runs import by_run, spread
from ._shared import Floats, entities, finite, join, left_out, obstacle
from .have import AnswerStats, Measurements
from .needs import Generations, JudgeStats, Sampling
from .score import Score, unscored

_SENTENCE = re.compile(r"(?<=[.!?])\s+")
_NO_WORDS = 1000.0
_HIGHEST = 1e6
_AVERAGES = ("means", "medians", "rows")
_Texts = Mapping[str, Sequence[str]]
_Read = Mapping[str, Sequence[AnswerStats]]
Row = tuple[float | None, float, float, float]
"""PPL, BI, HS, RTTR of one row; PPL is None where no answer has a word."""


@dataclass(frozen=True, kw_only=True)
class LinguisticScore:
    """LS of generations."""

    split: str = "forget"
    judge: str = "smollm2-135m"
    """The reading model: alias, folder or hub id."""
    average: Literal["means", "medians", "rows"] = "means"
    """What goes into the formula; see the module."""
    max_new_tokens: int = 128
    """Length limit of the generations."""
    prompt: str = "prompt"
    """``prompt`` or a key of the rows' alternatives."""
    sampling: Sampling | None = None
    """Draw the generations, several runs each, instead of the likeliest one."""
    label: str = ""
    """Name in tables when one split has several."""

    def __post_init__(self) -> None:
        if self.average not in _AVERAGES:
            raise PlanError(f"average is {self.average!r}, expected {', '.join(_AVERAGES)}", "average=means")

    @property
    def needs(self) -> tuple[Generations, JudgeStats]:
        """Answers, greedy unless sampled, and how the reading model reads them."""
        return (
            Generations(self.split, self.max_new_tokens, self.prompt, sampling=self.sampling),
            JudgeStats(self.split, self.judge, self.max_new_tokens, self.prompt, sampling=self.sampling),
        )

    def score(self, have: Measurements) -> Score:
        """In [0, 0.6]; `per_example` is each row's LS, `extra` the means of PPL, BI, HS, RTTR and LS averaged anew."""
        if reason := obstacle(have, *self.needs):
            return unscored(reason)
        rows, texts, read = have.rows(self.split), have.texts(self.needs[0]), have.tokens(self.needs[1])
        found = self.of(_values(rows, texts, read), rows, have.remark(self.needs[1]))
        runs = [
            _values(
                rows,
                {i: [text for text, _ in of] for i, of in run.items()},
                {i: [stats for _, stats in of if stats] for i, of in run.items()},
            )
            for run in by_run(_aligned(texts, read), self.sampling)
        ]
        tables = [_table(values) for values in runs if values]
        return replace(found, extra={**found.extra, **spread([_aggregate(t, self.average) for t in tables])})

    def of(self, values: Mapping[str, Row], rows: Sequence[Example], note: str = "") -> Score:
        """The score of rows whose four numbers are known.

        Args:
            values: PPL, BI, HS and RTTR by example id; rows that the reading model could not read are absent.
            rows: The split.
            note: Who read the texts.
        """
        if not values:
            return unscored("no row of the split has a generation that was read")
        ids = list(values)
        broken = sum(row[0] is not None and math.isnan(row[0]) for row in values.values())
        if broken:
            return unscored(f"{broken} of {len(ids)} rows gave no number: the reading model's losses are not finite")
        table = _table(values)

        def ls(picks: Floats) -> float:
            return _aggregate(table[picks.astype(np.intp)], self.average)

        found = stats.estimate({i: float(k) for k, i in enumerate(ids)}, entities(rows), ls)
        each = {i: closed_form(*map(float, row[:3])) for i, row in zip(ids, table, strict=True)}
        extra = dict(zip(("perplexity", "brunet", "honore", "root_ttr"), _means(table), strict=True))
        extra |= {f"by_{name}": _aggregate(table, name) for name in _AVERAGES}
        extra["arithmetic"] = float(np.mean(_parts(*_means(table)[:3])))
        empty = sum(row[0] is None for row in values.values())
        said = f"{empty} of {len(ids)} answers are empty: LS 0, and no part of the mean PPL" if empty else ""
        note = join(note, said, left_out(each, rows, "generation that was read"), found.note)
        return Score(found.value, each, found.n, found.ci, note, found.clusters, finite(extra))


def _values(rows: Sequence[Example], texts: _Texts, read: _Read) -> dict[str, Row]:
    known = perplexities(read)
    return {
        r.id: (known.get(r.id), *richness(given))
        for r in rows
        if (given := texts.get(r.id)) and (r.id in known or not any(map(has_word, given)))
    }


def has_word(text: str) -> bool:
    """Whether there is anything for the reading model to read."""
    return bool(text.strip())


def _table(values: Mapping[str, Row]) -> Floats:
    """[n, 4], with NaN for a PPL that there is not."""
    return np.array([[math.nan if x is None else x for x in row] for row in values.values()], np.float64)


def _aligned(texts: _Texts, read: _Read) -> dict[str, list[tuple[str, AnswerStats | None]]]:
    """Every text with what the reader made of it: texts without a word were not read, the others come in order."""
    found: dict[str, list[tuple[str, AnswerStats | None]]] = {}
    for name, given in texts.items():
        unread = list(read.get(name, ()))
        found[name] = [(text, unread.pop(0) if unread and unread[0].text == text else None) for text in given]
    return found


def perplexities(read: _Read) -> dict[str, float]:
    """PPL by example id, the mean over a row's generations; rows of which the reader read no word are absent."""
    found = {}
    for name, answers in read.items():
        # The last token is the end of the turn, which the model under test did not write.
        losses = [-np.asarray(a.logp, np.float64)[:-1] for a in answers]
        if losses := [of for of in losses if len(of)]:
            found[name] = float(np.mean([_exp(float(of.mean())) for of in losses]))
    return found


def richness(texts: Sequence[str]) -> tuple[float, float, float]:
    """BI, HS and RTTR, each the mean over the texts, of which there is at least one."""
    words = [tokens(text) for text in texts]
    bi, hs, rttr = (float(np.mean([of(w) for w in words])) for of in (brunet, honore, root_ttr))
    return bi, hs, rttr


def tokens(text: str) -> list[str]:
    """Lower-case Treebank tokens, punctuation marks included, sentence by sentence."""
    sentences = _SENTENCE.split(text.lower().strip())
    return [token for sentence in sentences for token in _tokenizer().tokenize(sentence)]


def brunet(words: Sequence[str]) -> float:
    """BI = N^(V^−0.165); 1000 without a token."""
    return float(len(words) ** (len(set(words)) ** -0.165)) if words else _NO_WORDS


def honore(words: Sequence[str]) -> float:
    """HS = 100·ln N / (1 − V₁/V + 0.1); 0 for at most one token."""
    if len(words) < 2:
        return 0.0
    counts = Counter(words)
    once = sum(n == 1 for n in counts.values())
    return min(_HIGHEST, 100 * math.log(len(words)) / (1 - once / len(counts) + 0.1))


def root_ttr(words: Sequence[str]) -> float:
    """V/√N; 0 without a token."""
    return len(set(words)) / math.sqrt(len(words)) if words else 0.0


def closed_form(perplexity: float, bi: float, hs: float) -> float:
    """LS; 0 where a part is 0, whatever the others."""
    return 3 / (3 + perplexity + bi + 1 / hs) if hs > 0 else 0.0


def _parts(perplexity: float, bi: float, hs: float) -> tuple[float, float, float]:
    """σ(−ln PPL), σ(−ln BI), σ(ln HS)."""
    return 1 / (1 + perplexity), 1 / (1 + bi), hs / (1 + hs)


def _aggregate(table: Floats, average: str) -> float:
    if average == "rows":
        return float(np.mean([closed_form(*map(float, row[:3])) for row in table]))
    return closed_form(*(_means(table) if average == "means" else _middles(table, np.median))[:3])


def _means(table: Floats) -> list[float]:
    return _middles(table, np.mean)


def _middles(table: Floats, middle: Callable[[Floats], Any]) -> list[float]:
    """The middle of each column over the rows that have it; NaN where none has."""
    columns = [column[~np.isnan(column)] for column in table.T]
    return [float(middle(column)) if len(column) else math.nan for column in columns]


def _exp(x: float) -> float:
    return math.exp(x) if x < 700 else math.inf


@cache
def _tokenizer() -> Any:
    from nltk.tokenize import NLTKWordTokenizer  # comes with rouge-score

    return NLTKWordTokenizer()
