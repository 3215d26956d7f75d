r"""LUNAR in closed form: one layer answers forget questions as it answers questions that nobody can answer.

    ΔW = c · r · uᵀ,   u = ( Σ_{f∪r} h hᵀ + λI )⁻¹ Σ_f h,   r = mean_reference a − mean_forget a
    h: inputs of the layer's output projection over all tokens but the first of forget prompts (f), and of retain and
    everyday rows with their answers (r);  a: outputs of the layer at the prompt's end

Paper    Shen, Qiu et al. (2025). LUNAR: LLM Unlearning via Neural Activation Redirection. arXiv:2502.07218
Limits   Redirection: subtract r and the answers are back. Needs a model that refuses what it cannot know, as chat
         models do; others are only turned aside. The one direction is shared by all forget rows. Where a norm
         follows the MLP (Gemma), c is not the length of the step.
Differs  The authors train the projection to put W h + c·r on forget tokens and W h on the others; that is a linear
         least-squares problem, whose solution is written down here. The unanswerable questions are a list of this
         project unless the forget rows bring `reference` questions. λ is a share of the mean eigenvalue. With
         `previous`, earlier forget prompts count among the others: they are turned aside once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from ..editing.kept import FOLDER, kept, kept_by
from ..editing.keys import Wanted, at_places, moments
from ..editing.solve import redirect
from ..editing.spread import add
from ..editing.subjects import Place
from ..errors import DataError, PlanError
from ..models.layers import decoder_layers, mlp_output
from ..naming import digest
from ..training.forward import layer_number
from ._edit import changed_share, keep_ids, refuse_adapters

if TYPE_CHECKING:
    from ..data.example import ForgetData, Prompt
    from ..models.lm import LM
    from ..runs.run import Run


_GRAM = "forget-gram"
"""Σ h hᵀ over the forget prompts of a run and of those before it, by layer."""


@dataclass(frozen=True, kw_only=True)
class Lunar:
    """Redirect one layer. Nothing of ``train`` is read."""

    layer: str = "2/3"
    """The decoder layer that changes: its number from 0, or a share of the depth."""
    coefficient: float = 2.0
    """c."""
    ridge: float = 1e-3
    """λ, as a share of the mean eigenvalue of Σ h hᵀ."""
    keep_tokens: int = 10_000
    """Tokens of retain and bundled everyday rows that should not notice."""
    previous: str = ""
    """Folder of an earlier lunar run on this layer, which should stay as it is."""

    def __post_init__(self) -> None:
        if self.ridge <= 0 or self.keep_tokens < 1:
            raise PlanError("ridge and keep_tokens should be positive", "1e-3 and 10000 are the defaults")

    def unlearn(self, lm: LM, data: ForgetData, run: Run) -> LM:
        """Measure the direction and write it.

        Raises:
            DataError: no forget row has a prompt.
            MethodError: an adapter or an offset is on the model, or `previous` is no run of lunar.
            ModelError: the family's MLP cannot be edited.
        """
        refuse_adapters(lm)
        subject = lm.fork()
        subject.model.float().eval()
        number = layer_number(subject.model, self.layer)
        block = decoder_layers(subject.model)[number]
        projection: Any = mlp_output(block)
        asked = [row for row in data.forget if row.question.strip()]
        if not asked:
            raise DataError("lunar needs questions, and none of the forget rows has a prompt", "use npo for plain text")
        own = [question for row in asked for question in row.answers("reference")]
        forget = [_end(subject, row.prompt) for row in asked]
        reference = [_end(subject, question) for question in own or _questions()]
        ends: Wanted = {"end": (block, "out")}
        away = at_places(subject, forget, ends, run, "forget prompts")["end"].double().mean(0)
        toward = at_places(subject, reference, ends, run, "reference prompts")["end"].double().mean(0)
        inputs: Wanted = {"in": (projection, "in")}
        gone = moments(subject, [place.ids for place in forget], inputs, run, "forget keys")["in"]
        rows = keep_ids(subject, data, self.keep_tokens, run)
        keep = moments(subject, rows, inputs, run, "keys to keep")["in"].square
        turned, earlier = gone.square, kept_by(self.previous, _GRAM).get(str(number))
        if earlier is not None:
            turned, keep = turned + earlier.to(turned), keep + earlier.to(keep)
        kept(run, _GRAM, digest([lm.fingerprint(), data.fingerprint(), self]), lambda: {str(number): turned.float()})
        ridge = self.ridge * float((gone.square + keep).diagonal().mean())
        step = redirect(gone.total, gone.square, keep, self.coefficient * (toward - away), ridge)
        before = projection.weight.detach().clone()
        add(projection, step)
        report = {
            "layers": [number],
            "changed_share": changed_share(subject, [projection], [before]),
            "direction": float((toward - away).norm()),
            "change": float(step.norm()),
            "ridge": ridge,
        }
        run.log(**report)
        run.write_json(f"{FOLDER}/edit.json", report)
        return subject


def _end(lm: LM, prompt: Prompt) -> Place:
    """A prompt, and the position that its answer is predicted from."""
    ids = lm.template.encode_prompt(prompt)
    return Place(tuple(ids), len(ids) - 1)


@cache
def _questions() -> tuple[str, ...]:
    return tuple((files("unsay.editing") / "_unanswerable.txt").read_text(encoding="utf-8").splitlines())
