"""The world facts are facts that SmolLM2-135M knows."""

import numpy as np
import pytest

from unsay.benchmarks._bundled import world
from unsay.measure.texts import Ask
from unsay.measure.token_stats import token_stats
from unsay.models.lm import LM


@pytest.mark.slow
@pytest.mark.real_model
def test_the_right_option_is_the_likeliest():
    asks = [[Ask(row.prompt, text) for text in (row.answer, *row.answers("perturbed"))] for row in world()]
    stats = token_stats(LM.load("smollm2-135m"), [ask for options in asks for ask in options])
    p = np.array([[stats[ask].p for ask in options] for options in asks])
    assert not [row.id for row, options in zip(world(), p, strict=True) if options.argmax() != 0]
    assert np.mean(p[:, 0] / p.sum(axis=1)) > 0.4
