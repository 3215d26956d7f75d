"""What the editing methods share: a few output projections of MLPs change in closed form, so that where a subject ends
the last of these layers gives what makes the model go on with the target.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ..data.generic import generic_rows
from ..data.template import Template
from ..editing.kept import FOLDER, earlier_keys, kept
from ..editing.spread import spread
from ..editing.subjects import QUESTION, Request, as_text, requests
from ..editing.value import Value, Wish, first_tokens, values
from ..errors import MethodError, PlanError
from ..models.adapters import adapted
from ..models.layers import decoder_layers, mlp_output
from ..models.offset import OffsetModel
from ..naming import derive_seed, digest
from ..training.forward import layer_number
from ..training.heap import steady_heap
from ..writers import Writer
from ..writers.templates import Templates
from ._refused import refused

if TYPE_CHECKING:
    from ..data.example import Example, ForgetData
    from ..models.lm import LM
    from ..runs.run import Run

OPENINGS = ("I have a question.",)
"""Put in front of some questions, so that keys hold in more than one context."""
_SHOWN = 12


@dataclass(frozen=True, kw_only=True)
class Editing:
    """An edit at the end of the subjects of the forget rows. Of ``train`` it reads ``micro_tokens`` alone."""

    layer: str = "1/4"
    """The last decoder layer that changes: its number from 0, or a share of the depth."""
    span: int = 5
    """How many layers change: layer − span + 1 … layer."""
    ridge: float = 0.1
    """λ, in units of the mean |kᵀMk| of the keys."""
    together: bool = True
    """One value for all rows of a subject, whose keys hardly differ; false finds one for each row."""
    raw: bool = False
    """Edit the questions as plain text, too, where the model has a chat template."""
    value: Value = field(default_factory=Value)
    """How the values are found."""
    keep_tokens: int = 10_000
    """Tokens of retain and bundled everyday rows that tell which directions are in use."""
    previous: str = ""
    """Folder of an earlier editing run whose edits are to stay."""
    writer: Writer = field(default_factory=Templates)
    """Who writes refusals for rows that bring none."""

    def __post_init__(self) -> None:
        for name in ("span", "ridge", "keep_tokens"):
            if getattr(self, name) <= 0:
                raise PlanError(f"{name}: should be positive, got {getattr(self, name)!r}")

    def unlearn(self, lm: LM, data: ForgetData, run: Run) -> LM:
        """Find the subjects, the values, and the change of the weights.

        Raises:
            DataError: no forget row has a prompt.
            MethodError: an adapter or an offset is on the model, or the edit cannot be solved.
            ModelError: the family's MLP cannot be edited.
            CollapseError: the edited weights are not finite.
        """
        refuse_adapters(lm)
        subject = lm.fork()
        subject.model.float().eval()
        self.layers(subject)  # an unknown layer or family is found before anything is computed
        found = requests(data.forget, lm.template, OPENINGS, together=self.together, also=self.plain(lm))
        show(run, found, len(data.forget))
        texts = refused(self.writer, data.forget, run, others=data.retain)
        told = {row.id: text for row, text in zip(data.forget, texts, strict=True)}
        with steady_heap():
            subject, target = self.ready(subject, told, data, run)
            wishes = [Wish(request, target(request)) for request in found]
            self.write(subject, wishes, data, run, digest([lm.fingerprint(), data.fingerprint(), self, run.seed]))
            return self.settle(subject, told, data, run)

    def ready(
        self, subject: LM, told: Mapping[str, Example], data: ForgetData, run: Run
    ) -> tuple[LM, Callable[[Request], tuple[int, ...]]]:
        """The model to edit, and Request → ids that are to follow its prompts.

        Args:
            subject: A copy that may change.
            told: Forget row's id → the row with a refusal for its answer.
            data: All rows.
            run: The run.
        """

        def target(request: Request) -> tuple[int, ...]:
            row = told[request.rows[0].id]
            return tuple(subject.template.encode(row.prompt, row.answer).answer_ids)

        return subject, target

    def settle(self, subject: LM, told: Mapping[str, Example], data: ForgetData, run: Run) -> LM:
        """What is left to do after the edit."""
        return subject

    def change(self, keys: Tensor, residuals: Tensor, moment: Tensor, earlier: Tensor | None) -> Tensor:
        """ΔW [d_out, d_in] float64 of one layer.

        Args:
            keys: [n, d_in] float64.
            residuals: [n, d_out] float64.
            moment: E[k kᵀ] [d_in, d_in] float64 of what is to be kept.
            earlier: [m, d_in] float64 keys of earlier edits, or None.
        """
        raise NotImplementedError

    def plain(self, lm: LM) -> Template | None:
        """The form of questions as plain text, where they are edited in it besides the model's own."""
        return Template.of(lm.tokenizer, "plain") if self.raw and lm.template.kind == "chat" else None

    def layers(self, lm: LM) -> range:
        """The layers that change, each with an MLP that can be edited."""
        last = layer_number(lm.model, self.layer)
        found = range(max(0, last - self.span + 1), last + 1)
        for number in found:
            mlp_output(decoder_layers(lm.model)[number])
        return found

    def write(self, subject: LM, wishes: Sequence[Wish], data: ForgetData, run: Run, key: str) -> None:
        """Change the weights of `subject` in place, and say in ``edit/edit.json`` what was changed."""
        layers = self.layers(subject)
        modules: list[Any] = [mlp_output(decoder_layers(subject.model)[number]) for number in layers]
        before = [module.weight.detach().clone() for module in modules]
        asked = [(place.ids, wish.target[0]) for wish in wishes for place in wish.request.places]
        first = first_tokens(subject, asked, run)
        found = kept(run, "values", key, lambda: _named(*values(subject, layers[-1], wishes, self.value, run)))
        if not found["delta"].any() and not (found["likely"] >= self.value.enough).all():
            raise MethodError(
                f"the output of layer {layers[-1]} where the subjects end has no part in the answers",
                "method.layer below the last",
            )
        members, likely = [wish.request for wish in wishes], found["likely"].tolist()
        keep = keep_ids(subject, data, self.keep_tokens, run)
        delta = found["delta"].to(subject.device)
        keys = spread(subject, layers, members, delta, keep, earlier_keys(self.previous), self.change, run)
        kept(run, "keys", key, lambda: keys)
        changed = sum(int((module.weight != old).sum()) for module, old in zip(modules, before, strict=True))
        report = {
            "layers": list(layers),
            "changed_share": changed / sum(parameter.numel() for parameter in subject.model.parameters()),
            "first_token": {"before": first, "with_values": _mean(likely), "after": first_tokens(subject, asked, run)},
            "requests": [
                {"subject": request.subject, "rows": [row.id for row in request.rows], "likely_with_value": p}
                for request, p in zip(members, likely, strict=True)
            ],
        }
        run.write_json(f"{FOLDER}/edit.json", report)
        run.log(**{name: value for name, value in report.items() if name != "requests"})


def refuse_adapters(lm: LM) -> None:
    """Raise when there is more to the model than its weights.

    Raises:
        MethodError: a LoRA adapter or an offset is on it.
    """
    if adapted(lm.model) or isinstance(lm.model, OffsetModel):
        raise MethodError(
            "an edit changes the weights themselves, and there is an adapter or an offset on the model",
            "leave model.adapter out; a trained adapter can be merged first",
        )


def show(run: Run, found: Sequence[Request], rows: int) -> None:
    """Tell the user what the edit hangs on."""
    names = [as_text(request) for request in found if request.subject != QUESTION]
    if names:
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        run.note(f"the edit hangs on the end of the subjects {', '.join(names[:_SHOWN])}{more}")
    without = sum(len(request.rows) for request in found if request.subject == QUESTION)
    if without:
        run.note(
            f"{without} of {rows} forget rows name no subject that another row repeats: the edit hangs on the last "
            "token of their question, where it tells questions apart poorly; give the rows a subject"
        )
    if (plain := rows - sum(len(request.rows) for request in found)) > 0:
        run.note(f"{plain} of {rows} forget rows are plain text without a question and were left out of the edit")


def keep_ids(lm: LM, data: ForgetData, tokens: int, run: Run) -> list[tuple[int, ...]]:
    """Rows whose keys are in use, about `tokens` tokens: retain rows for half of it, bundled everyday rows after."""
    retain = list(data.retain)
    Random(derive_seed(run.seed, "keys to keep")).shuffle(retain)
    out: list[tuple[int, ...]] = []
    used = 0
    for members, most in ((retain, tokens // 2), (generic_rows(), tokens)):
        # Of the bundled rows, those that the tokenizer cannot write are left out.
        for row in lm.template.attempt([(row.prompt, row.answer) for row in members]):
            if used < most and not isinstance(row, str):
                out.append(tuple(row.input_ids[: run.plan.data.max_length]))
                used += len(out[-1])
    return out


def _named(delta: Tensor, likely: Tensor) -> dict[str, Tensor]:
    return {"delta": delta, "likely": likely}


def _mean(numbers: Sequence[float]) -> float:
    return sum(numbers) / len(numbers)
