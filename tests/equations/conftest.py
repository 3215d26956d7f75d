"""The reference model and batch of tests/fixtures/losses, as steps that objectives can read."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, LlamaConfig

from unsay.data.template import Encoded
from unsay.training.batch import Counts, MicroBatch, Row
from unsay.training.forward import Forward
from unsay.training.reference import FrozenCopy
from unsay.training.step import Step, View

FOLDER = Path(__file__).parent.parent / "fixtures" / "losses"


def model(which):
    """``cur`` (under training) or ``ref`` (frozen)."""
    config = LlamaConfig(**json.loads((FOLDER / "tiny_config.json").read_text()))
    loaded = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    missing = loaded.load_state_dict(load_file(FOLDER / f"tiny_{which}.safetensors"), strict=False)
    assert not missing.unexpected_keys and not missing.missing_keys
    return loaded.eval()


def rows():
    """Rows of each role: forget, retain, alternate."""
    out = {}
    for role, batch in json.loads((FOLDER / "batch.json").read_text()).items():
        out[role] = []
        for ids, mask, labels in zip(batch["input_ids"], batch["attention_mask"], batch["labels"], strict=True):
            length = sum(mask)
            start = next(i for i, label in enumerate(labels) if label != -100)
            out[role].append(Row(Encoded(ids[:length], start), f"{role}{len(out[role])}"))
    return out


def counts(members):
    return Counts.of(members)


def step(current, reference=None, roles=("forget", "retain"), pad_id=0, layers=()):
    """All rows of `roles` as one micro-batch."""
    members = {role: rows()[role] for role in roles}
    forward = Forward(current, MicroBatch.of(members, pad_id), layers)
    ref = FrozenCopy(reference, layers) if reference is not None else None
    return Step({role: View(forward, role, counts(members[role]), ref) for role in roles})


def total(terms):
    return sum(terms.values()) if isinstance(terms, dict) else terms


def grad_norm(module):
    return torch.stack([p.grad.norm() for p in module.parameters() if p.grad is not None]).norm()


@pytest.fixture(scope="session")
def losses():
    """The functions above."""
    return SimpleNamespace(model=model, rows=rows, counts=counts, step=step, total=total, grad_norm=grad_norm)
