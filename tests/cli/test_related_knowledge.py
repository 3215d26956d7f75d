"""``unsay bench related-knowledge``: how its words are read."""

import pytest

from unsay.errors import PlanError
from unsay.experiments.related_knowledge import Settings, read


def test_help_teaches(unsay):
    done = unsay("bench", "related-knowledge", "--help")
    assert done.code == 0 and "alphas=[" in done.out and "size=small" in done.out and "out=runs/related" in done.out


def test_words():
    plan, settings = read(["size=small", "alphas=[0.3,1]", "keep=0.8", "train.lr=1e-5", "method=npo"])
    assert settings == Settings(alphas=(0.3, 1.0), keep=0.8)
    assert plan.benchmark.size == "small" and plan.train.lr == 1e-5 and type(plan.method).__name__ == "NPO"
    assert plan.train.schedule == "constant" and plan.teach is not None  # from the preset
    assert read([])[0].benchmark.size == "full"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["alphas=[x]"], "alphas"),
        (["alphas=[]"], "alphas"),
        (["keep=2"], "keep"),
        (["back=0.5"], "back"),
        (["alfas=[1]"], "alfas"),
        (["no-such-preset"], "no-such-preset"),
    ],
)
def test_bad_words(words, said):
    with pytest.raises(PlanError, match=said):
        read(words)


@pytest.mark.parametrize("word", ["benchmark=closer-look", "train.epochs=1", "retrained=else", "train.max_steps=3"])
def test_what_the_experiment_refuses(unsay, tiny_model, tmp_path, word):
    done = unsay("bench", "related-knowledge", f"model={tiny_model}", word, f"out={tmp_path / 'run'}", "-q")
    assert done.code == 2 and "hint:" in done.err
    assert not (tmp_path / "run").exists()
