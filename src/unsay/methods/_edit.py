"""What the editing methods share: a few output projections of MLPs change in closed form, so that where a subject ends
the last of these layers gives what makes the model go on with the target.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, zip_longest
from random import Random
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ..data.generic import generic_rows
from ..data.template import Template
from ..editing.kept import FOLDER, kept, kept_by
from ..editing.keys import NOTHING_ASKED, shared
from ..editing.solve import held, level
from ..editing.spread import InUse, spread
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
_WEAK = 0.5


@dataclass(frozen=True, kw_only=True)
class Editing:
    """An edit at the end of the subjects of the forget rows. Of ``train`` it reads ``micro_tokens`` and
    ``precision``; ``data.max_length`` cuts the rows to keep.
    """

    layer: str = "1/4"
    """The last decoder layer that changes: its number from 0, or a share of the depth."""
    span: int = 5
    """How many layers change: layer − span + 1 … layer."""
    ridge: float = 0.1
    """λ, in units of the mean |kᵀMk| of the keys."""
    ridge_absolute: float | None = None
    """λ itself, as AlphaEdit's code and those built on it give it (10 for 8B parameters); None is `ridge`."""
    together: bool = True
    """One value for all rows of a subject, whose keys hardly differ; false finds one for each row."""
    raw: bool = False
    """Edit the questions as plain text, too, where the model has a chat template."""
    value: Value = field(default_factory=Value)
    """How the values are found."""
    keep_tokens: int | None = None
    """Tokens of retain and bundled everyday rows that tell which directions are in use, a fifth of them held out; None
    is 10 for each input of the layer, and at least 15,000, as far as the rows go.
    """
    previous: str = ""
    """Folder of an earlier editing run whose edits are to stay."""
    writer: Writer = field(default_factory=Templates)
    """Who writes refusals for rows that bring none."""

    def __post_init__(self) -> None:
        for name in ("span", "ridge", "ridge_absolute", "keep_tokens"):
            if getattr(self, name) is not None and getattr(self, name) <= 0:
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
            subjects = [(request.subject, len(request.rows)) for request in found]
            about = [self, run.seed, run.train.precision, run.plan.data.max_length, subjects]
            self.write(subject, wishes, data, run, digest([lm.fingerprint(), data.fingerprint(), *about]))
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

    def change(
        self, keys: Tensor, residuals: Tensor, usual: InUse, earlier: Tensor | None
    ) -> tuple[Tensor, dict[str, float]]:
        """ΔW [d_out, d_in] float64 of one layer, and what ``edit.json`` should say about it.

        Args:
            keys: [n, d_in] float64.
            residuals: [n, d_out] float64.
            usual: Keys to keep.
            earlier: [m, d_in] float64 keys of earlier edits, or None.
        """
        raise NotImplementedError

    def solved(
        self, keys: Tensor, residuals: Tensor, earlier: Tensor | None, image: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, dict[str, float]]:
        """ΔW in the metric of `image` (K → K·M), and λ as ``ridge``."""
        absolute = self.ridge_absolute
        ridge = self.ridge * level(keys, image(keys)) if absolute is None else absolute
        return held(keys, residuals, earlier, ridge, image), {"ridge": ridge}

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
        if weak := sum(p < _WEAK for p in likely):
            run.note(
                f"the values of {weak} of {len(likely)} requests leave their target less than half likely, and so the "
                "edit cannot bring it about: raise method.value.steps"
            )
        delta = found["delta"].to(subject.device)
        wanted = self.keep_tokens or max(10 * modules[0].weight.numel() // delta.shape[1], 15_000)
        keep = keep_ids(subject, data, wanted, run, self.plain(subject))
        before_it = kept_by(self.previous, "keys")
        keys, solves = spread(subject, layers, members, delta, keep, before_it, self.change, run)
        kept(run, "keys", key, lambda: keys)
        report = {
            "layers": list(layers),
            "changed_share": changed_share(subject, modules, before),
            "first_token": {"before": first, "with_values": _mean(likely), "after": first_tokens(subject, asked, run)},
            "solves": solves,
            "requests": [
                {"subject": request.subject, "rows": [row.id for row in request.rows], "likely_with_value": p}
                for request, p in zip(members, likely, strict=True)
            ],
        }
        run.write_json(f"{FOLDER}/edit.json", report)
        run.log(**{name: value for name, value in report.items() if name not in ("requests", "solves")})


def changed_share(lm: LM, modules: Sequence[Any], before: Sequence[Tensor]) -> float:
    """Share of all parameters that are no longer what they were in the weights of `modules`."""
    changed = sum(int((module.weight != old).sum()) for module, old in zip(modules, before, strict=True))
    return changed / sum(parameter.numel() for parameter in lm.model.parameters())


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
            f"{without} of {rows} forget rows name no subject that others about the same entity share: the edit hangs "
            "on the last token of their question, where it tells questions apart poorly; give the rows a subject"
        )
    if (plain := rows - sum(len(request.rows) for request in found)) > 0:
        run.note(f"{plain} of {rows} forget rows are plain text without a question and were left out of the edit")


def keep_ids(lm: LM, data: ForgetData, tokens: int, run: Run, plain: Template | None = None) -> list[tuple[int, ...]]:
    """Rows whose keys are in use, about `tokens` tokens: retain rows for half of it, bundled everyday rows after.

    With `plain`, every other row is plain text. What the template begins with (a system prompt) does not count.
    """
    retain = list(data.retain)
    Random(derive_seed(run.seed, "keys to keep")).shuffle(retain)
    out: list[tuple[int, ...]] = []
    used, opening = 0, lm.template.encode_prompt(NOTHING_ASKED)
    for members, most in ((retain, tokens // 2), (generic_rows(), tokens)):
        for ids in in_forms(lm, members, plain, run):
            if used < most:
                used += len(ids) - shared(opening, ids)
                out.append(ids)
    if used < tokens:
        run.note(f"retain and everyday rows have {used} tokens of {tokens} that should tell what is to be kept")
    return out


def in_forms(lm: LM, rows: Sequence[Example], plain: Template | None, run: Run) -> list[tuple[int, ...]]:
    """Rows as ids, every other one in the form `plain` where that is given; those that cannot be written left out."""
    forms = (lm.template,) if plain is None else (lm.template, plain)
    found: list[tuple[int, ...]] = []
    encoded = [
        form.attempt([(row.prompt, row.answer) for row in rows[n :: len(forms)]]) for n, form in enumerate(forms)
    ]
    for row in chain.from_iterable(zip_longest(*encoded, fillvalue="")):
        if not isinstance(row, str):
            found.append(tuple(row.input_ids[: run.plan.data.max_length]))
    return found


def _named(delta: Tensor, likely: Tensor) -> dict[str, Tensor]:
    return {"delta": delta, "likely": likely}


def _mean(numbers: Sequence[float]) -> float:
    return sum(numbers) / len(numbers)
