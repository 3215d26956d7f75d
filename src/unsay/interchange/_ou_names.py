"""What open-unlearning (arXiv:2506.12618) calls our metrics, where the definition is the same.

Not here, and so imported under their own names: `mia_zlib` (mean instead of summed loss), `mia_gradnorm` (mean of the
parameters' norms instead of the norm over all), `forget_Q_A_gibberish` (a classifier), un-normalised `ra_Q_A_Prob` and
`wf_Q_A_Prob`, and what only feeds other metrics.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..metrics.exact_memorization import ExactMemorization
from ..metrics.extraction_strength import ExtractionStrength
from ..metrics.forget_quality import ForgetQuality
from ..metrics.loss_attack import LossAttack
from ..metrics.min_k import MinK
from ..metrics.min_k_pp import MinKPp
from ..metrics.model_utility import ModelUtility
from ..metrics.paraphrase_probability import ParaphraseProbability
from ..metrics.privleak import Privleak
from ..metrics.probability import Probability
from ..metrics.reference_attack import ReferenceAttack
from ..metrics.rouge import Rouge
from ..metrics.rouge_f1 import RougeF1
from ..metrics.score import Metric, metric_id
from ..metrics.truth_ratio import TruthRatio


@dataclass(frozen=True)
class Known:
    """One of our metrics under its name there."""

    metric: Metric
    field: str = ""
    """Where ``value_by_index`` has the row's value."""
    differs: str = ""
    """Said in the note."""

    @property
    def id(self) -> str:
        """Our id."""
        return metric_id(self.metric)


_ENDING = "the end-of-turn token is left out"
_K = "k is the evaluation's own, 0.4 by default there"

KNOWN: Mapping[str, Known] = {
    "forget_Q_A_Prob": Known(Probability(split="forget"), "prob"),
    "forget_Q_A_ROUGE": Known(Rouge(split="forget"), "rougeL_recall"),
    "forget_Q_A_PARA_Prob": Known(ParaphraseProbability(split="forget"), "prob"),
    "forget_truth_ratio": Known(TruthRatio(split="forget", aggregate="forget"), "score"),
    "forget_quality": Known(ForgetQuality()),
    "exact_memorization": Known(ExactMemorization(split="forget"), "score", _ENDING),
    "extraction_strength": Known(
        ExtractionStrength(split="forget", compat="open-unlearning"),
        "score",
        f"1/|answer| where no ending is right; {_ENDING}",
    ),
    "retain_extraction_strength": Known(
        ExtractionStrength(split="retain", compat="open-unlearning"),
        "score",
        f"1/|answer| where no ending is right; {_ENDING}",
    ),
    "mia_loss": Known(LossAttack(), "score"),
    "mia_min_k": Known(MinK(k=0.4), "score", _K),
    "mia_min_k_plus_plus": Known(MinKPp(k=0.4), "score", _K),
    "mia_reference": Known(ReferenceAttack(), "score"),
    "privleak": Known(Privleak()),
    "model_utility": Known(ModelUtility()),
    "retain_Q_A_Prob": Known(Probability(split="retain"), "prob"),
    "retain_Q_A_ROUGE": Known(Rouge(split="retain"), "rougeL_recall"),
    "retain_Q_A_PARA_Prob": Known(ParaphraseProbability(split="retain"), "prob"),
    "retain_Truth_Ratio": Known(TruthRatio(split="retain", aggregate="utility"), "score"),
    "ra_Q_A_Prob_normalised": Known(Probability(split="real-authors", choices=True), "prob"),
    "ra_Q_A_ROUGE": Known(Rouge(split="real-authors"), "rougeL_recall"),
    "ra_Truth_Ratio": Known(TruthRatio(split="real-authors", aggregate="utility"), "score"),
    "wf_Q_A_Prob_normalised": Known(Probability(split="world-facts", choices=True), "prob"),
    "wf_Q_A_ROUGE": Known(Rouge(split="world-facts"), "rougeL_recall"),
    "wf_Truth_Ratio": Known(TruthRatio(split="world-facts", aggregate="utility"), "score"),
    "forget_verbmem_ROUGE": Known(RougeF1(split="forget-verbmem"), "rougeL_f1"),
    "forget_knowmem_ROUGE": Known(RougeF1(split="forget-knowmem"), "rougeL_f1"),
    "retain_knowmem_ROUGE": Known(RougeF1(split="retain-knowmem"), "rougeL_f1"),
}
"""Name there → ours."""
UTILITY = {
    "retain": ("retain_Q_A_Prob", "retain_Q_A_ROUGE", "retain_Truth_Ratio"),
    "real-authors": ("ra_Q_A_Prob_normalised", "ra_Q_A_ROUGE", "ra_Truth_Ratio"),
    "world-facts": ("wf_Q_A_Prob_normalised", "wf_Q_A_ROUGE", "wf_Truth_Ratio"),
}
"""The nine parts of ``model_utility``, by split."""
_BY_LOWER = {name.lower(): name for name in KNOWN}
_SPLITS = {"forget": "forget", "retain": "retain", "ra": "real-authors", "wf": "world-facts", "holdout": "holdout"}
_WITHOUT_PREFIX = ("mia_", "exact_", "extraction_", "privleak")


def known(name: str) -> Known | None:
    """What `name` is, whatever its capitals (``forget_Truth_Ratio`` is written both ways), if anything of ours."""
    return KNOWN.get(_BY_LOWER.get(name.lower(), ""))


def split_of(name: str) -> str:
    """The split that a metric's rows belong to, as far as its name says; "rows" otherwise."""
    if "@" in name:
        return name.partition("@")[2] or "rows"
    if (ours := known(name)) is not None:
        return getattr(ours.metric, "split", "rows")
    if name.startswith(_WITHOUT_PREFIX):
        return "forget"
    first, _, rest = name.partition("_")
    for part in ("verbmem", "knowmem"):
        if rest.startswith(part):
            return f"{first}-{part}"
    return _SPLITS.get(first, "rows")


def name_there(metric: str) -> str:
    """The name there of our metric id; our own where there is none."""
    return next((name for name, ours in KNOWN.items() if ours.id == metric), metric)
