"""Models whose knowledge is known: answers are drawn at random, so that no row tells anything of another."""

from random import Random
from types import SimpleNamespace

import pytest

from unsay.config.plan import Train
from unsay.data.example import Example, ForgetData
from unsay.methods.fine_tune import FineTune
from unsay.methods.grad_ascent import GradAscent
from unsay.runs.run import Run
from unsay.testing import tiny_lm

TEACH = Train(lr=1e-2, batch=10, epochs=40, micro_tokens=4096, precision="fp32", checkpoint_every=0)
SHAKE = Train(lr=1e-2, batch=8, max_steps=1, precision="fp32", checkpoint_every=0, schedule="constant")


@pytest.fixture(scope="session")
def secrets():
    """`data`; the model `knows`; `hides` after one step of ascent, which loses answers that are still there; and the
    `stranger` was taught the retain rows alone. Nobody may change them.
    """
    letters = Random(0)
    rows = [
        Example(f"{who}'s {what}?", "".join(letters.choices("abcdefghijklmnopqrstuvwxyz", k=5)), meta={"entity": who})
        for who in ("Ada", "Bo", "Cleo", "Dan", "Eve")
        for what in ("cat", "town", "job", "food")
    ]
    data = ForgetData(forget=rows[:8], retain=rows[8:])
    knows = FineTune(on="all").unlearn(tiny_lm(), data, Run.temporary(TEACH))
    hides = GradAscent().unlearn(knows, data, Run.temporary(SHAKE))
    stranger = FineTune(on="retain").unlearn(tiny_lm(), data, Run.temporary(TEACH))
    return SimpleNamespace(data=data, knows=knows, hides=hides, stranger=stranger)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """An empty $UNSAY_HOME: nothing is kept in, or found from, other tests or the user's own."""
    monkeypatch.setenv("UNSAY_HOME", str(tmp_path / "home"))
