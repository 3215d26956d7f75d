"""How often the model begins its answer with its unlearning token: on target on forget rows, off target elsewhere.

rate = mean over rows of 1[ argmax p(· | question) = the token ]; with `prompt=paraphrased_question`, the mean over a
row's paraphrases first.

Paper: UniErase (arXiv:2505.15674), which edits questions to lead to such a token.
Limits: says how the link from question to token works, not what is left behind it: read it beside the attacks that ban
the token or begin the answer. Models without such a token have no rate.
Differs: the paper reports no such rate. `form` asks in the chat template or as plain text, whatever the edit was made
in; `extra` has the mean probability of the token.

Ranks 0 and 3 of two paraphrases:

>>> from unsay.metrics.have import FirstChoice
>>> _hit([FirstChoice(-0.1, 0), FirstChoice(-5.0, 3)])
0.5
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ._shared import broken, join, mean_score, obstacle
from .have import FirstChoice, Measurements
from .needs import FirstToken
from .score import Score, unscored


@dataclass(frozen=True, kw_only=True)
class TokenRate:
    """Share of questions whose likeliest first token is the unlearning token."""

    split: str = "forget"
    prompt: str = "prompt"
    """``prompt`` or a key of the rows' alternatives."""
    form: Literal["model", "chat", "raw"] = "model"
    """How questions are put: in the model's template, its tokenizer's chat template, or as plain text."""
    label: str = ""
    """Name in tables when one split has several."""

    @property
    def needs(self) -> tuple[FirstToken, ...]:
        """The token's place among the first tokens."""
        return (FirstToken(self.split, prompt=self.prompt, form=self.form),)

    def score(self, have: Measurements) -> Score:
        """Mean over the rows, in [0, 1]; `extra` has `probability`."""
        if reason := obstacle(have, *self.needs):
            return unscored(reason)
        rows, found = have.rows(self.split), have.first_choices(self.needs[0])
        if why := join(*(choice.why for row in rows for choice in found.get(row.id, ()))):
            return unscored(why)
        given = {row.id: found[row.id] for row in rows if found.get(row.id)}
        values = {i: _hit(choices) for i, choices in given.items()}
        if not values or broken(values):
            return mean_score(values, rows, lacking=self.prompt)
        likely = sum(sum(math.exp(c.logp) for c in choices) / len(choices) for choices in given.values()) / len(given)
        return mean_score(values, rows, lacking=self.prompt, extra={"probability": likely})


def _hit(choices: Sequence[FirstChoice]) -> float:
    """NaN where a log-probability is: no comparison with NaN is true, and ranks of a broken model are all 0."""
    return sum(math.nan if math.isnan(c.logp) else float(c.rank == 0) for c in choices) / len(choices)
