"""For people who write methods, metrics, attacks or benchmarks: the contracts as functions to call in a test.

    from unsay.testing import check_method
    check_method(MyMethod(strength=0.7))

Everything runs on random models of some thousand parameters, in seconds, without a network.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from .config.decode import decode, encode
from .config.plan import Adapter, Plan, Train
from .data.example import Example, ForgetData
from .errors import MethodError, NeedError, UnsayError
from .methods._protocol import Method
from .methods.fine_tune import FineTune
from .metrics._check import check_metric
from .models._tiny import tiny_lm
from .models.adapters import attach, merged
from .models.lm import LM
from .models.patches import underlying
from .registry import name_of
from .runs.run import Run
from .training.batch import Counts, MicroBatch, encode_rows
from .training.forward import Forward
from .training.gradient import GradientMethod
from .training.step import Step, View

__all__ = ["check_method", "check_metric", "facts", "knowing_lm", "mean_nll", "tiny_lm"]

_TRAIN = Train(lr=1e-3, batch=4, micro_tokens=4096, max_steps=2, precision="fp32", checkpoint_every=0)
_FORGETS = Train(
    lr=3e-3, batch=8, micro_tokens=4096, epochs=8, precision="fp32", checkpoint_every=0, schedule="constant"
)


def facts() -> ForgetData:
    """Small made-up facts: 8 rows to forget, 12 to keep, 4 held out, answers of different lengths."""
    things = {"cat": "Tom", "town": "Oslo", "job": "baker", "food": "plum pie"}
    people = ["Ada", "Bo", "Cleo", "Dan", "Eve", "Fay"]
    rows = [
        Example(f"{person}'s {thing}?", f"{value[: 2 + number % 3]}{person[::-1].lower()}", meta={"entity": person})
        for number, person in enumerate(people)
        for thing, value in things.items()
    ]
    return ForgetData(forget=rows[:8], retain=rows[8:20], holdout=rows[20:])


@functools.cache
def knowing_lm() -> LM:
    """A tiny model that has learned the forget and retain rows of `facts`. Shared by all callers: do not change it."""
    train = Train(lr=1e-2, batch=10, epochs=30, micro_tokens=4096, precision="fp32", checkpoint_every=0)
    with Run.temporary(train) as run:
        return FineTune(on="all").unlearn(tiny_lm(), facts(), run)


def mean_nll(lm: LM, rows: Sequence[Example]) -> float:
    """Mean negative log-probability per answer token of `rows`."""
    encoded = encode_rows(rows, lm.template)
    batch = MicroBatch.of({"rows": encoded}, lm.template.pad_id)
    counts = Counts.of(encoded)
    with torch.no_grad():
        return float(View(Forward(lm.model.eval(), batch, grad=False), "rows", counts).nll)


def check_method(method: Method, *, forgets: bool = True, learns: bool = True) -> None:
    """Check the contract of a method on a tiny model.

    1 it runs; 2 it returns a new LM and leaves its input alone; 3 tensors keep name, shape (but for a row of an
    added token) and dtype, and stay finite;
    4 the same seed gives the same weights; 5 what is saved and loaded computes the same; 6 it survives a trip through
    a plan; 7 it works on a LoRA adapter, or says MethodError; 8 the forms of the reference agree; 9 splitting a batch
    changes nothing but rounding; 10 a gradient method reads what it declares, and nothing else; 11 its file opens with
    the equation and the paper; 12 it forgets: the NLL of known facts rises, that of facts to keep rises less.

    Args:
        method: An instance with the hyper-parameters to test.
        forgets: False leaves out 12, for methods whose aim it is not.
        learns: False says that `method` may return the very weights it was given.

    Raises:
        UnsayError: naming every clause that does not hold.
    """
    problems = list(_problems(method, forgets=forgets, learns=learns))
    if problems:
        raise UnsayError("\n".join(f"{type(method).__name__}: {p}" for p in problems), "see unsay.testing.check_method")


def _problems(method: Method, *, forgets: bool, learns: bool) -> Iterator[str]:
    if not isinstance(method, Method):
        yield "1 has no unlearn(lm, data, run)"
        return
    lm, data = knowing_lm(), facts()
    before = lm.fingerprint()
    after = _run(method, lm, data)
    if not isinstance(after, LM) or after is lm:
        yield "2 unlearn must return a new LM"
        return
    if lm.fingerprint() != before:
        yield "2 unlearn changed the model it was given"
    yield from _tensors(lm, after)
    if learns and after.fingerprint() == before:
        yield "1 two steps changed nothing"
    if _run(method, lm, data).fingerprint() != after.fingerprint():
        yield "4 the same seed gave other weights"
    yield from _saved(after)
    yield from _plan(method)
    yield from _adapter(method, data)
    yield from _references(method, lm, data, after)
    split = _run(method, lm, data, micro_tokens=40)
    if (gap := _gap(split, after)) > 1e-4:
        yield f"9 splitting the batch moved the weights by {gap:.1e} relative"
    yield from _undeclared(method)
    yield from _header(method)
    if forgets:
        yield from _forgetting(method, lm, data)


def _run(method: Method, lm: LM, data: ForgetData, **train: object) -> LM:
    with Run.temporary(dataclasses.replace(_TRAIN, **train)) as run:  # type: ignore[arg-type]
        return method.unlearn(lm, data, run)


def _tensors(lm: LM, after: LM) -> Iterator[str]:
    rows = lm.model.get_input_embeddings().weight.shape[0]
    grown = {rows: max(rows, len(after.tokenizer))}  # a method may add a token
    old = {
        n: ((*(grown.get(size, size) for size in t.shape[:1]), *t.shape[1:]), t.dtype)
        for n, t in lm.model.state_dict().items()
    }
    new = {n: (tuple(t.shape), t.dtype) for n, t in merged(underlying(after)).model.state_dict().items()}
    if old != new:
        odd = sorted(n for n in old.keys() | new.keys() if old.get(n) != new.get(n))
        yield f"3 tensors changed name, shape or dtype: {', '.join(odd[:3])}"
    if not all(t.isfinite().all() for t in after.model.state_dict().values()):
        yield "3 some weights are not finite"


def _gap(one: LM, other: LM) -> float:
    """Largest difference of two states of a model, relative to the largest weight."""
    a, b = merged(one).model.state_dict(), merged(other).model.state_dict()
    largest = max(float(t.abs().max()) for t in b.values())
    return max(float((a[n].float() - t.float()).abs().max()) for n, t in b.items()) / largest


def _logits(lm: LM) -> Tensor:
    ids = torch.tensor([lm.template.encode("Ada's cat?", "Tom").input_ids])
    with torch.no_grad():
        logits: Tensor = lm.model(input_ids=ids).logits
    return logits


def _saved(after: LM) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        after.save(Path(folder) / "model")
        loaded = LM.load(str(Path(folder) / "model"))
        if not torch.allclose(_logits(loaded), _logits(after), atol=1e-5):
            yield "5 the saved model computes something else"


def _plan(method: Method) -> Iterator[str]:
    if not dataclasses.is_dataclass(method) or not name_of(type(method)):
        return  # only methods that a plan can name
    plan = Plan(method=method)
    if decode(encode(plan)).method != method:
        yield "6 decode(encode(method)) is another method"


def _adapter(method: Method, data: ForgetData) -> Iterator[str]:
    lm = attach(knowing_lm(), Adapter(rank=4))
    before = lm.fingerprint()
    try:
        after = _run(method, lm, data)
    except MethodError:
        return
    if lm.fingerprint() != before:
        yield "7 unlearn changed the adapter it was given"
    if not all(t.isfinite().all() for t in after.model.state_dict().values()):
        yield "7 some weights of the adapter are not finite"


def _references(method: Method, lm: LM, data: ForgetData, after: LM) -> Iterator[str]:
    """The default agrees with an explicit copy; on an adapter, all three forms agree where they apply."""
    if not isinstance(method, GradientMethod) or not method.uses_reference:
        return
    gaps = {"copy": _gap(_run(method, lm, data, reference="copy"), after)}
    base = attach(knowing_lm(), Adapter(rank=4))
    on_copy = _run(method, base, data, reference="copy")
    gaps["adapter"] = _gap(_run(method, base, data, reference="adapter"), on_copy)
    if method.uses_reference == "logps":
        gaps["cache"] = _gap(_run(method, base, data, reference="cache"), on_copy)
    for form, gap in gaps.items():
        if not gap < 1e-4:
            yield f"8 train.reference={form} moved the weights by {gap:.1e} relative"


def _undeclared(method: Method) -> Iterator[str]:
    """Without its declared reference and with one role at a time, `loss` must meet NeedError where it reads more."""
    if not isinstance(method, GradientMethod):
        return
    lm = knowing_lm()
    with Run.temporary(_TRAIN) as run:
        roles = method.roles(facts(), run)
    rows = {role: encode_rows(members, lm.template)[:4] for role, members in roles.items()}
    forward = Forward(lm.model, MicroBatch.of(rows, lm.template.pad_id), method.layers)
    views = {role: View(forward, role, Counts(4, sum(r.answer_tokens for r in rows[role]))) for role in rows}
    if not method.uses_reference:
        method.loss(Step(views))  # raises NeedError when it reads the reference after all
    elif _quiet(lambda: method.loss(Step(views))):
        yield "10 declares uses_reference and does not read the reference"
    for role in views:
        if _quiet(lambda role=role: method.loss(Step({k: v for k, v in views.items() if k != role}))):  # type: ignore[misc]
            yield f"10 asks for the role {role!r} and does not read it"


def _quiet(call: Callable[[], object]) -> bool:
    """Whether `call` met no NeedError."""
    try:
        call()
    except NeedError:
        return False
    return True


def _header(method: Method) -> Iterator[str]:
    text = sys.modules[type(method).__module__].__doc__ or ""
    if "Paper " not in text:
        yield "11 the file's docstring names no Paper"
    if "=" not in text.partition("Paper ")[0]:
        yield "11 the file's docstring gives no equation before Paper"


def _forgetting(method: Method, lm: LM, data: ForgetData) -> Iterator[str]:
    with Run.temporary(_FORGETS) as run:
        after = method.unlearn(lm, data, run)
    forget = mean_nll(after, data.forget) - mean_nll(lm, data.forget)
    retain = mean_nll(after, data.retain) - mean_nll(lm, data.retain)
    if not (math.isfinite(forget) and forget > 0.1):
        yield f"12 the NLL of the forget facts rose by {forget:.3f} only"
    if not retain < forget:
        yield f"12 the NLL of the retain facts rose by {retain:.3f}, that of the forget facts by {forget:.3f}"
