"""The metrics that the benchmarks share, and which way each should go."""

from collections.abc import Iterable, Mapping

from ..metrics.exact_memorization import ExactMemorization
from ..metrics.extraction_strength import ExtractionStrength
from ..metrics.loss_attack import LossAttack
from ..metrics.min_k import MinK
from ..metrics.min_k_pp import MinKPp
from ..metrics.probability import Probability
from ..metrics.repetition import Repetition
from ..metrics.rouge import Rouge
from ..metrics.score import Metric, metric_id
from ..metrics.truth_ratio import TruthRatio
from ..metrics.zlib_ratio import ZlibRatio
from ._benchmark import Wanted


def memory(split: str, max_new_tokens: int) -> tuple[Metric, ...]:
    """How much of a split's answers the model still holds: probability, ROUGE, exact memorisation, extraction strength."""
    return (
        Probability(split=split),
        Rouge(split=split, max_new_tokens=max_new_tokens),
        ExactMemorization(split=split),
        ExtractionStrength(split=split),
    )


def world(split: str, max_new_tokens: int) -> tuple[Metric, ...]:
    """General knowledge: how much likelier the right option is than the wrong ones, and what the model answers freely."""
    return (
        Probability(split=split, choices=True),
        Rouge(split=split, max_new_tokens=max_new_tokens),
        TruthRatio(split=split, aggregate="utility"),
    )


def membership() -> tuple[Metric, ...]:
    """Four attacks that tell forget rows from holdout rows."""
    return (LossAttack(), ZlibRatio(), MinK(), MinKPp())


def fluency(splits: Iterable[str], max_new_tokens: int) -> tuple[Metric, ...]:
    """Whether what the model says is still language."""
    return tuple(Repetition(split=split, max_new_tokens=max_new_tokens) for split in splits)


def directions(
    metrics: Iterable[Metric], *, forget: Wanted, forget_splits: Iterable[str] = ("forget",)
) -> Mapping[str, Wanted]:
    """Which way each metric should go, by id.

    Args:
        metrics: The benchmark's metrics.
        forget: How the scores on the forget rows are judged: ``match`` (like the retrained model, so that forgetting too
            much counts as a failure too) or ``down`` where no retrained model can exist.
        forget_splits: Splits whose rows are to be forgotten, or follow from such rows.
    """
    gone = set(forget_splits)
    found: dict[str, Wanted] = {}
    for metric in metrics:
        name = metric_id(metric)
        kind, _, split = name.partition("@")
        if kind in ("forget-quality", "model-utility"):
            found[name] = "up"
        elif kind == "repetition":
            found[name] = "down"
        elif kind in _MEMBERSHIP or split in gone:
            found[name] = forget
        else:
            found[name] = "up"
    return found


_MEMBERSHIP = {"loss-attack", "zlib-ratio", "min-k", "min-k-pp"}
