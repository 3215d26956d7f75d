r"""Benign fine-tuning: train on a few texts that have nothing to do with the forget rows.

    θ_n = epochs of NLL from θu on n unrelated rows, all weights or W + s·B·A;   measured on F

Given    Nothing of the forget set.
Paper    Łucki et al. (2024). An Adversarial Perspective on Machine Unlearning for AI Safety. arXiv:2409.18025
         (LoRA of rank 128, α 16 on all linear maps, 2e-4 falling linearly after 5 % warm-up, decay 0.01, batch 1,
         3 epochs; ten rows recover most of what RMU hides)
Limits   No malice is needed: whoever fine-tunes the released model does this. A learning rate too low for the model
         finds nothing, which says nothing. Guards, screens and offsets are dropped first.
Differs  The bundled everyday questions stand for WikiText unless a file is given. All weights are trained as well, at a
         rate of their own with the same schedule.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, ClassVar, Literal

from ..config.plan import Adapter
from ..data.checks import same_key
from ..data.generic import generic_rows
from ..data.read import read_rows
from ..errors import MethodError, PlanError
from ..naming import derive_seed
from ._attack import Probe
from ._finetune import check_recipe, check_steps, finetuned

if TYPE_CHECKING:
    from ..data.example import Example, ForgetData
    from ..models.lm import LM
    from ..runs.run import Run


@dataclass(frozen=True, kw_only=True)
class BenignFinetune:
    """Fine-tune on a few unrelated rows; ask the forget rows."""

    rows: tuple[int, ...] = (10, 50)
    """How many unrelated rows each attacked model is trained on."""
    weights: tuple[Literal["full", "lora"], ...] = ("full", "lora")
    """What is trained: all weights, or an adapter that is merged."""
    file: str = ""
    """Rows to train on (see `data.read.read_rows`); "" is the bundled everyday questions."""
    epochs: float = 3.0
    batch: int = 1
    lr: float = 2e-5
    """Of all weights."""
    adapter_lr: float = 2e-4
    adapter: Adapter = field(default_factory=lambda: Adapter(rank=128, alpha=16))

    axis: ClassVar[str] = "rows"

    def __post_init__(self) -> None:
        check_steps(self.rows, "rows")
        check_recipe(min(self.lr, self.adapter_lr), self.batch)
        if not self.weights or not set(self.weights) <= {"full", "lora"} or len(set(self.weights)) < len(self.weights):
            raise PlanError(f"weights: should be of full and lora, each once, got {self.weights!r}")
        if self.epochs <= 0:
            raise PlanError(f"epochs: should be greater than 0, got {self.epochs!r}")

    def probes(self, lm: LM, data: ForgetData, run: Run) -> Iterator[Probe]:
        """One model per kind of weights and number of rows, fewest rows first.

        Raises:
            DataError: the file cannot be read.
            MethodError: it has too few rows, or forget rows among them.
        """
        texts = self.texts(data, run.seed)
        for count in sorted(self.rows):
            for kind in self.weights:
                name = f"{kind}-{count}"
                attacked = finetuned(
                    lm,
                    texts[:count],
                    run,
                    name,
                    lr=self.lr if kind == "full" else self.adapter_lr,
                    batch=self.batch,
                    epochs=self.epochs,
                    schedule="linear",
                    warmup=0.05,
                    weight_decay=0.01,
                    adapter=None if kind == "full" else self.adapter,
                )
                yield Probe(name, attacked, at=count)

    def texts(self, data: ForgetData, seed: int) -> Sequence[Example]:
        """The unrelated rows in a seeded order, of which each attack takes the first."""
        found = read_rows(self.file, name="benign") if self.file else generic_rows()
        if len(found) < max(self.rows):
            raise MethodError(f"benign-finetune asks for {max(self.rows)} rows and has {len(found)}", "fewer rows")
        told = {same_key(row) for row in data.forget}
        if any(same_key(row) in told for row in found):
            raise MethodError(
                f"{self.file or 'the bundled rows'} have forget rows among them: to train on them is to relearn",
                "take them out, or use full-relearn",
            )
        Random(derive_seed(seed, "benign-finetune")).shuffle(found)
        return found
