"""The metrics that the benchmarks share, and which way each should go."""

from collections.abc import Collection, Iterable, Mapping

from ..metrics.completeness import Completeness
from ..metrics.distinct_n import DistinctN
from ..metrics.exact_memorization import ExactMemorization
from ..metrics.extraction_strength import ExtractionStrength
from ..metrics.fluency import Fluency
from ..metrics.forgotten_rows import ForgottenRows
from ..metrics.gibberish import Gibberish
from ..metrics.loss_attack import LossAttack
from ..metrics.min_k import MinK
from ..metrics.min_k_pp import MinKPp
from ..metrics.paraphrase_probability import ParaphraseProbability
from ..metrics.privleak import Privleak
from ..metrics.probability import Probability
from ..metrics.reference_attack import ReferenceAttack
from ..metrics.refusal_rate import RefusalRate
from ..metrics.repetition import Repetition
from ..metrics.rouge import Rouge
from ..metrics.score import Metric, metric_id
from ..metrics.truth_ratio import TruthRatio
from ..metrics.zlib_ratio import ZlibRatio
from ._benchmark import Wanted

REWORDINGS = ("paraphrased", "paraphrased_question")
"""Keys of `Example.alternatives`."""
_UP = ("forget-quality", "model-utility", "fluency", "linguistic-score", "closer-look-utility")
_DOWN = ("repetition", "gibberish")
_MEMBERSHIP = ("loss-attack", "zlib-ratio", "min-k", "min-k-pp", "reference-attack", "gradient-norm", "privleak")
_NO_GOOD_END = (
    *("truth-ratio", "kfr", "relearn-harmonic", "forgetting-effect", "completeness", "forgotten-rows", "logit-lens"),
    *("distinct-n", "refusal-rate", "exposure", "relex", "genex"),
)
"""On rows that are to be forgotten: a broken model may score best."""


def memory(split: str, max_new_tokens: int) -> tuple[Metric, ...]:
    """How much of a split's answers the model holds: probability, ROUGE, exact memorisation, extraction strength."""
    return (
        Probability(split=split),
        Rouge(split=split, max_new_tokens=max_new_tokens),
        ExactMemorization(split=split),
        ExtractionStrength(split=split),
    )


def reworded(split: str, kinds: Collection[str] = REWORDINGS) -> tuple[Metric, ...]:
    """Whether the answer survives in other words: those of `REWORDINGS` that the rows have."""
    answer = ParaphraseProbability(split=split)
    question = ParaphraseProbability(split=split, reworded="question", label="probability-asked-otherwise")
    return tuple(metric for kind, metric in zip(REWORDINGS, (answer, question), strict=True) if kind in kinds)


def knowledge(split: str, max_new_tokens: int) -> tuple[Metric, ...]:
    """General knowledge: the share of the right option, what the model answers freely, the truth ratio."""
    return (
        Probability(split=split, choices=True),
        Rouge(split=split, max_new_tokens=max_new_tokens),
        TruthRatio(split=split, aggregate="utility"),
    )


def membership(*, control: bool = False) -> tuple[Metric, ...]:
    """Attacks that tell forget rows from holdout rows: four, with a control (a retrained or base model) six."""
    alone = (LossAttack(), ZlibRatio(), MinK(), MinKPp())
    return (*alone, ReferenceAttack(), Privleak()) if control else alone


def row_by_row() -> tuple[Metric, ...]:
    """How far each forget row is gone, from token statistics that are there anyway; needs a retrained model."""
    return (Completeness(), ForgottenRows())


def wording(max_new_tokens: int) -> tuple[Metric, ...]:
    """What `fluency` does not see in the same generations: refusals to answer what is kept, gibberish, one answer to
    everything.
    """
    return (
        RefusalRate(split="retain", max_new_tokens=max_new_tokens),
        Gibberish(split="forget", max_new_tokens=max_new_tokens),
        DistinctN(split="forget", max_new_tokens=max_new_tokens),
    )


def fluency(split: str, max_new_tokens: int) -> tuple[Metric, ...]:
    """Whether what the model says is still language: not empty, not a loop."""
    return (
        Fluency(split=split, max_new_tokens=max_new_tokens),
        Repetition(split=split, max_new_tokens=max_new_tokens),
    )


def directions(
    metrics: Iterable[Metric], forget: Wanted, forget_splits: Iterable[str] = ("forget",)
) -> Mapping[str, Wanted]:
    """Which way each metric should go, by id.

    Args:
        metrics: The benchmark's metrics.
        forget: How scores on the forget rows are judged: ``match`` (like the retrained model, so that forgetting too
            much is a failure too), or ``down`` where no retrained model is to be expected. Membership and truth ratio
            have no good end, they are always to match; so are rates of forgetting (kfr, forgetting-effect), which
            gibberish raises, and refusals.
        forget_splits: Splits whose rows are to be forgotten or imply such rows.
    """
    gone = set(forget_splits)
    found: dict[str, Wanted] = {}
    for name in map(metric_id, metrics):
        kind, _, split = name.partition("@")
        if kind in _UP:
            found[name] = "up"
        elif kind in _DOWN:
            found[name] = "down"
        elif kind in _MEMBERSHIP or (kind in _NO_GOOD_END and split in gone):
            found[name] = "match"
        elif kind == "refusal-rate":
            found[name] = "down"
        elif kind.startswith("token-rate"):
            found[name] = "up" if split in gone else "down"
        else:
            found[name] = forget if split in gone else "up"
    return found
