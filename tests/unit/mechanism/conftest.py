"""Models whose fact sits in one layer, by construction."""

import pytest
import torch

from unsay.data.example import Example, ForgetData
from unsay.models._tiny import tiny_lm

LAYER = 2
ROWS = [Example(f"Who is {name}?", "The name is ZZ.", meta={"entity": name}) for name in ("Ada", "Bo", "Cleo")]


def writing(layer: int = 0, size: float = 6.0):
    """Four layers that pass their input on; the MLP of `layer` (from 1) writes the token Z, none for 0."""
    lm = tiny_lm(num_hidden_layers=4, mlp_bias=True)
    with torch.no_grad():
        for number, block in enumerate(lm.model.model.layers, 1):
            block.self_attn.o_proj.weight.zero_()
            block.mlp.down_proj.weight.zero_()
            block.mlp.down_proj.bias.zero_()
            if number == layer:
                z = lm.model.get_input_embeddings().weight[lm.tokenizer.convert_tokens_to_ids("Z")]
                block.mlp.down_proj.bias.copy_(size * z / z.norm())
    return lm


@pytest.fixture(scope="session")
def knows():
    return writing(LAYER)


@pytest.fixture(scope="session")
def never_knew():
    return writing(0)


@pytest.fixture
def data():
    return ForgetData(forget=ROWS)
