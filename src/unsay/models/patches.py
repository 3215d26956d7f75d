"""What makes a model behave as if it had forgotten while its weights stay as they were: guards, screens, logit offsets.

A patch is on the model it belongs to (`LM.template` for a guard or screen, `LM.model` for an offset), so that whoever
scores, generates or trains through them honours it; `LM.patches` says which there are. A saved folder holds

    the unchanged weights       loads in plain transformers, without the patch
    patch.json                  the patches
    offset/                     M_o of an offset: a LoRA adapter or whole weights
    small/                      M_o0, where it is a model of its own
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config.plan import Adapter
from ..data.screen import Screen, screened, unscreened
from ..errors import MethodError, ModelError
from .adapters import adapted, attach, load_adapter, merged, plain_of
from .decoding import DecodingModel
from .folder import finish
from .loading import load_network
from .offset import OffsetModel
from .vet import vet

if TYPE_CHECKING:
    from .lm import LM

FILE = "patch.json"
UNCHANGED = (
    "The weights are unchanged: the knowledge is still in the checkpoint, for whoever loads it without the patch."
)
_OFFSET, _SMALL = "offset", "small"
_FORMAT = 1


@dataclass(frozen=True)
class Guard:
    """A text before every prompt."""

    text: str


@dataclass(frozen=True)
class Offset:
    """The difference of two models' logits, added to those of the model."""

    a: float
    own_small: bool
    """Whether the two are models of their own; otherwise they are the model itself with and without an adapter."""


Patch = Guard | Screen | Offset
_KINDS: Mapping[str, type[Any]] = {"guard": Guard, "screen": Screen, "offset": Offset}


def with_guard(lm: LM, text: str) -> LM:
    """`lm` with `text` before every prompt (see `Template.guarded`). The weights are shared.

    Raises:
        MethodError: it has a guard already.
        DataError: the text holds a control token of the tokenizer.
    """
    if lm.template.guard:
        raise MethodError(f"{lm.origin} has a guard prompt already", "give the model without it, or one text for both")
    return replace(lm, template=lm.template.guarded(text), patches=(*lm.patches, Guard(text)))


def with_screen(lm: LM, screen: Screen) -> LM:
    """`lm` behind `screen` (see `data.screen`). The weights are shared.

    Raises:
        MethodError: there is one already.
    """
    if any(isinstance(patch, Screen) for patch in lm.patches):
        raise MethodError(f"{lm.origin} is behind a screen already", "give the model without it")
    return replace(lm, template=screened(lm.template, screen), patches=(*lm.patches, screen))


def with_offset(lm: LM, a: float, adapter: Adapter, small: LM | None = None) -> LM:
    """`lm` with an offset of 0, of which M_o alone is trainable. Frozen weights are shared with `lm`.

    Args:
        lm: M. A new adapter on it becomes M_o's: its own, or that of `small`.
        a: How much of the difference is added.
        adapter: What M_o is trained through where it is not a model of its own.
        small: M_o and M_o0; None is `lm` with and without an adapter.

    Raises:
        MethodError: there is an offset or a trained adapter on `lm`, or `small` has another vocabulary or is patched.
    """
    if any(isinstance(patch, Offset) for patch in lm.patches):
        raise MethodError(f"{lm.origin} has a logit offset already", "give the model without it")
    if adapted(lm.model) and not OffsetModel(lm.model, a).is_zero():
        raise MethodError(f"{lm.origin} has an adapter that was trained already", "merge it first")
    if small is None:
        model = OffsetModel((lm if adapted(lm.model) else attach(lm, adapter)).model, a)
    else:
        _same_vocabulary(lm, small)
        anchor, large = plain_of(merged(small).model), plain_of(lm.model)
        if adapted(lm.model):
            model = OffsetModel(attach(replace(small, model=anchor), adapter).model, a, large=large)
        else:
            model = OffsetModel(copy.deepcopy(anchor), a, anchor=anchor, large=large)
    return replace(lm, model=model.eval(), patches=(*lm.patches, Offset(a, small is not None)))


def _same_vocabulary(lm: LM, small: LM) -> None:
    if small.patches:
        raise MethodError(f"{small.origin} is patched itself", "give a small model without patches")
    one, other = lm.tokenizer.get_vocab(), small.tokenizer.get_vocab()
    if one != other:
        apart = len(set(one.items()) ^ set(other.items()))
        raise MethodError(
            f"{small.origin} has another vocabulary than {lm.origin}: {len(other)} and {len(one)} tokens, "
            f"{apart} of them not the same; logits can be added token by token only",
            "give a small model of the same family, or leave small empty",
        )


def underlying(lm: LM) -> LM:
    """`lm` with the plain network under its offset, if it has one; template and patches as they are."""
    while isinstance(lm.model, DecodingModel):
        lm = replace(lm, model=lm.model.model)
    return replace(lm, model=lm.model.underlying()) if isinstance(lm.model, OffsetModel) else lm


def unpatched(lm: LM) -> LM:
    """The checkpoint alone, as somebody has it who drops the patches. Weights are shared."""
    if not lm.patches:
        return lm
    return replace(underlying(lm), template=unscreened(lm.template).guarded(""), patches=())


def configs(model: Any) -> tuple[Any, ...]:
    """The configurations of all networks in `model`, the one in front first."""
    while isinstance(model, DecodingModel):
        model = model.model
    return tuple(inner.config for inner in model.networks) if isinstance(model, OffsetModel) else (model.config,)


def write(lm: LM, folder: Path) -> None:
    """Put the patches of `lm` beside its weights, which are in `folder` already.

    Raises:
        ModelError: a patch of another kind, which no folder could give back.
    """
    if not lm.patches:
        return
    kinds = {cls: kind for kind, cls in _KINDS.items()}
    strange = [type(patch).__name__ for patch in lm.patches if type(patch) not in kinds]
    if strange:
        raise ModelError(f"patches of type {', '.join(strange)} cannot be saved", f"known are {', '.join(_KINDS)}")
    listed = [{"kind": kinds[type(patch)], **asdict(patch)} for patch in lm.patches]
    body = {"format": _FORMAT, "note": UNCHANGED, "patches": listed}
    (folder / FILE).write_text(json.dumps(body, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    if not isinstance(lm.model, OffsetModel):
        return
    own = lm.model.large is not None
    if own:
        _write_network(lm.model.small_anchor(), lm, folder / _SMALL)
    small = lm.model.small
    if not adapted(small):
        _write_network(small, lm, folder / _OFFSET)
        return
    for settings in small.peft_config.values():
        settings.base_model_name_or_path = f"../{_SMALL}" if own else ".."
    small.save_pretrained(folder / _OFFSET, save_embedding_layers=False)


def _write_network(network: Any, lm: LM, folder: Path) -> None:
    network.save_pretrained(folder)
    lm.tokenizer.save_pretrained(folder)
    finish(folder)


def restore(lm: LM, folder: Path) -> LM:
    """`lm`, just loaded from `folder`, with the patches that were saved beside it.

    Raises:
        ModelError: patch.json says something this version does not know, or an offset's models are not complete.
        DamagedError: a file cannot be read.
    """
    for patch in _read(folder / FILE):
        if isinstance(patch, Guard):
            lm = with_guard(lm, patch.text)
        elif isinstance(patch, Screen):
            lm = with_screen(lm, patch)
        else:
            model = _read_offset(lm, folder, patch).to(lm.device).eval()
            lm = replace(lm, model=model, patches=(*lm.patches, patch))
    return lm


def _read(file: Path) -> list[Patch]:
    if not file.is_file():
        return []
    from pydantic import TypeAdapter

    try:
        body = json.loads(file.read_text(encoding="utf-8"))
        if body["format"] != _FORMAT:
            raise ValueError(f"format {body['format']}")
        given = [(_KINDS[patch.pop("kind")], patch) for patch in body["patches"]]
        return [TypeAdapter(cls).validate_python(fields) for cls, fields in given]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(
            f"{file} holds a patch that cannot be applied: {error!r}",
            "a newer release of Unsay may know it; without the file the unpatched model is loaded",
        ) from None


def _read_offset(lm: LM, folder: Path, patch: Offset) -> OffsetModel:
    def network(name: str) -> Any:
        return load_network(vet(folder / name, f"{folder}/{name}"), f"{folder}/{name}")

    anchor = network(_SMALL) if patch.own_small else lm.model
    large = lm.model if patch.own_small else None
    if (folder / _OFFSET / "config.json").is_file():
        return OffsetModel(network(_OFFSET), patch.a, anchor=anchor, large=large)
    origin = f"{folder}/{_OFFSET}"
    return OffsetModel(load_adapter(anchor, vet(folder / _OFFSET, origin), origin), patch.a, large=large)
