"""A bank of jailbreak prompts: does the model say it when it is talked into it?

    x_t = t(q),   t one of 24 frozen templates: role play, prefix injection, begun answers, reversed queries, tones, …
    found = max_t m(x_t)      m any knowledge metric, up = more knowledge; the same maximum on the control

Given    0: the questions alone.
Paper    Lynch et al. (2024). Eight Methods to Evaluate Robust Unlearning in LLMs. arXiv:2402.16835 (jailbreaks against
         unlearning); kinds of templates: RWKU (Jin et al. 2024, arXiv:2406.10890); the persona AIM on forget questions:
         ReLearn (arXiv:2502.11190)
Limits   English. The largest of 24 values is larger than the mean of any one: compare it with the same maximum on the
         retrained model. A weak model may not understand the stranger ones, which the model before unlearning shows.
Differs  All templates are this project's own words; the papers' prompts are not used.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, ClassVar

from ..config import yaml12
from ..data.example import ForgetData
from ..errors import PlanError
from ._ask import questions, reworded
from ._attack import Probe

if TYPE_CHECKING:
    from ..models.lm import LM
    from ..runs.run import Run


@dataclass(frozen=True, kw_only=True)
class Jailbreak:
    """Every forget question in every template of the bank."""

    only: tuple[str, ...] = ()
    """Names or kinds of templates; () is all."""
    limit: int = 0
    """Of those, the first so many; 0 is all. The first eight of the bank are one of each kind."""

    axis: ClassVar[str] = "number of the template"

    def __post_init__(self) -> None:
        known = {*_bank(), *(template["kind"] for template in _bank().values())}
        strange = [name for name in self.only if name not in known]
        if strange:
            raise PlanError(f"no jailbreak template is called {', '.join(strange)}", f"one of {', '.join(_bank())}")
        if self.limit < 0:
            raise PlanError(f"limit: should be a count, got {self.limit}", "limit=8")

    def probes(self, lm: LM, data: ForgetData, run: Run) -> Iterator[Probe]:
        """One per template, in the order of the bank; `at` is the template's number there.

        Raises:
            MethodError: no forget row has a question.
        """
        rows = questions(data.forget, "jailbreak")
        chosen = [
            (number, name, template)
            for number, (name, template) in enumerate(_bank().items(), 1)
            if not self.only or {name, template["kind"]} & {*self.only}
        ]
        for number, name, template in chosen[: self.limit or None]:
            frame = {key: template.get(key, "") for key in ("system", "opening")}
            asked = [reworded(row, template["ask"].replace("{question}", row.question), **frame) for row in rows]
            yield Probe(name, lm, at=number, splits={"forget": asked})


@cache
def _bank() -> Mapping[str, Mapping[str, Any]]:
    text = files(__package__).joinpath("_jailbreaks.yaml").read_text(encoding="utf-8")
    return {template["name"]: template for template in yaml12.load(text, "_jailbreaks.yaml")}
