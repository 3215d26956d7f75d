"""What comes off is taken off: patches and adapters, alone and together."""

import pytest
import torch

from unsay.attacks.removal import Removal
from unsay.config.plan import Adapter
from unsay.data.screen import Screen
from unsay.models.adapters import attach
from unsay.models.patches import with_guard, with_offset, with_screen
from unsay.runs.run import Run
from unsay.testing import facts, tiny_lm


def worn(lm):
    """`lm` with an adapter that does something."""
    adapted = attach(lm, Adapter(rank=2))
    with torch.no_grad():
        for name, parameter in adapted.model.named_parameters():
            if "lora_B" in name:
                parameter.fill_(0.1)
    return adapted


DRESSED = {
    "plain": lambda lm: lm,
    "guard": lambda lm: with_guard(lm, "Say nothing."),
    "screen": lambda lm: with_screen(lm, Screen(("Who?",), "No.")),
    "offset": lambda lm: with_offset(lm, 1.0, Adapter(rank=2)),
    "adapter": worn,
    "guarded adapter": lambda lm: with_guard(worn(lm), "Say nothing."),
}


@pytest.mark.parametrize("name", DRESSED)
def test_what_is_left_is_the_model_before(name):
    lm = tiny_lm()
    dressed = DRESSED[name](lm)
    before = dressed.fingerprint()
    with Run.temporary() as run:
        (probe,) = Removal().probes(dressed, facts(), run)
    assert probe.lm is not dressed and probe.splits is None
    assert probe.lm.fingerprint() == lm.fingerprint()
    assert (before == lm.fingerprint()) is (name == "plain")
    assert dressed.fingerprint() == before
