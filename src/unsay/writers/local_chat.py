"""A chat model on this machine writes: a folder, a hub id or an alias, sampled at temperature 1.

Nothing leaves the machine. Prompts are in `_prompts.py`; of a reply that runs into `max_new_tokens`, whole sentences
are kept.

Limits: models below about a billion parameters copy the true answer or drift off; the gates then reject, and the
template writer fills in. Texts repeat for the same seed, rows, model and machine; another batch size gives others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..config.plan import ModelSpec
from ..data.example import Example
from ..errors import PlanError
from ..naming import derive_seed
from ._prompts import ask, tidy

if TYPE_CHECKING:
    from ..models.lm import LM
    from ..runs.run import Run


@dataclass(frozen=True, kw_only=True)
class LocalChat:
    """Any causal language model with a chat template."""

    path: str
    """Folder, hub id or alias."""
    revision: str | None = None
    """Hub revision; a 40-hex commit pins it."""
    temperature: float = 1.0
    max_new_tokens: int = 200
    """Longest reply."""
    batch: int = 8
    """Rows asked about at once; `count` + `spare` replies are sampled for each."""
    spare: int = 3
    """Replies sampled for each row beyond those wanted, to replace rejected ones."""

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise PlanError(f"temperature: should be positive, got {self.temperature!r}", "1.0 is the paper's")
        for name, least in (("max_new_tokens", 1), ("batch", 1), ("spare", 0)):
            if getattr(self, name) < least:
                raise PlanError(f"{name}: should be at least {least}, got {getattr(self, name)!r}")

    def write(
        self, rows: Sequence[Example], role: str, count: int, run: Run, *, others: Sequence[Example] = ()
    ) -> Mapping[str, tuple[str, ...]]:
        """See `Writer.write`.

        Raises:
            ModelError: the model cannot be loaded.
            DataError: it has no chat template, or cannot encode a row.
        """
        from ..models.adapters import merged
        from ..models.lm import LM

        asked = {row.id: ask(row, role) for row in rows}
        lm = LM.load(ModelSpec(path=self.path, revision=self.revision))
        lm = merged(lm)
        ids = {row.id: lm.template.encode_prompt(asked[row.id]) for row in rows}
        # Longest first: memory that does not suffice shows at once, and rows of a batch need little padding.
        order = sorted(ids, key=lambda name: (-len(ids[name]), name))
        found: dict[str, tuple[str, ...]] = {}
        for at in range(0, len(order), self.batch):
            run.check_stop()
            names = order[at : at + self.batch]
            seed = derive_seed(run.seed, role, *names)
            texts = self._sample(lm, [ids[name] for name in names], count + self.spare, seed)
            found |= dict(zip(names, texts, strict=True))
        return found

    def _sample(self, lm: LM, prompts: list[list[int]], count: int, seed: int) -> list[tuple[str, ...]]:
        """`count` replies to each prompt."""
        import torch

        width = max(map(len, prompts))
        padded = [[lm.template.pad_id] * (width - len(ids)) + ids for ids in prompts]
        seen = [[0] * (width - len(ids)) + [1] * len(ids) for ids in prompts]
        model: Any = lm.model.eval()
        with torch.random.fork_rng(), torch.inference_mode():
            torch.manual_seed(seed)
            out = model.generate(
                input_ids=torch.tensor(padded, device=lm.device),
                attention_mask=torch.tensor(seen, device=lm.device),
                do_sample=True,
                temperature=self.temperature,
                top_k=0,  # the model's own generation settings would narrow the choice
                top_p=1.0,
                num_return_sequences=count,
                max_new_tokens=self.max_new_tokens,
                pad_token_id=lm.template.pad_id,
                eos_token_id=sorted(lm.template.end_ids),
            )
        replies = [self._reply(lm, new) for new in out[:, width:].tolist()]
        return [tuple(replies[i * count : (i + 1) * count]) for i in range(len(prompts))]

    def _reply(self, lm: LM, ids: list[int]) -> str:
        end = next((at for at, token in enumerate(ids) if token in lm.template.end_ids), None)
        text = str(lm.tokenizer.decode(ids[:end], skip_special_tokens=True))
        return tidy(text, cut=end is None)
