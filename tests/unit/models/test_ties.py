"""TIES against tensors worked by hand, and against peft on adapters."""

import pytest
import torch

from unsay.config.plan import Adapter, Train
from unsay.errors import MethodError, PlanError
from unsay.methods.fine_tune import FineTune
from unsay.methods.grad_diff import GradDiff
from unsay.methods.merge import Merge
from unsay.models.adapters import attach
from unsay.models.ties import merge_adapters, ties, trimmed
from unsay.runs.run import Run
from unsay.testing import facts, knowing_lm


def test_by_hand():
    """Five entries, the three largest of each kept.

    one    4  −3   1   0.5  2   → 4  −3  0  0  2
    two   −1   5  −2   0.1  3   → 0   5 −2  0  3      sums 4  2  −2  0  5, so signs + + − 0 +
    means of what agrees: 4 (one alone), 5 (one is −), −2, 0, (2 + 3)/2
    """
    one, two = torch.tensor([4.0, -3, 1, 0.5, 2]), torch.tensor([-1.0, 5, -2, 0.1, 3])
    assert ties([one, two], 0.6).tolist() == [4, 5, -2, 0, 2.5]


def test_the_sign_goes_by_mass_not_by_count():
    changes = [torch.tensor([5.0]), torch.tensor([-2.0]), torch.tensor([-2.0])]
    assert ties(changes, 1.0).tolist() == [5]
    assert ties([torch.tensor([3.0]), *changes[1:]], 1.0).tolist() == [-2]


def test_weights_and_alone():
    one, two = torch.tensor([1.0, -1]), torch.tensor([3.0, 3])
    assert ties([one, two], 1.0, [4.0, 1.0]).tolist() == [3.5, 3]
    assert ties([one], 1.0).tolist() == [1, -1]
    assert ties([one, -one], 1.0).tolist() == [0, 0]
    with pytest.raises(MethodError):
        ties([one], 1.0, [1.0, 2.0])


def test_trimmed_keeps_the_shape_and_the_first_of_equals():
    assert trimmed(torch.tensor([[1.0, -4], [2, 2]]), 0.5).tolist() == [[0, -4], [2, 0]]
    assert trimmed(torch.zeros(3), 0.8).tolist() == [0, 0, 0]


TRAIN = Train(lr=1e-2, batch=4, max_steps=3, precision="fp32", checkpoint_every=0)


def two_adapters():
    base = attach(knowing_lm(), Adapter(rank=4))
    with Run.temporary(TRAIN) as run:
        return GradDiff().unlearn(base, facts(), run.sub("a")), FineTune(on="forget").unlearn(
            base, facts(), run.sub("b")
        )


@pytest.mark.parametrize("weights", [(1.0, 1.0), (1.0, 0.25)])
def test_adapters_merge_as_in_peft(weights):
    """Peft's own TIES of the two, by the weights that they give."""
    one, other = two_adapters()
    ours = merge_adapters([one, other], 0.8, weights)
    from peft.utils.save_and_load import get_peft_model_state_dict, set_peft_model_state_dict

    theirs = one.fork().model
    theirs.add_adapter("other", theirs.peft_config["default"])
    set_peft_model_state_dict(theirs, get_peft_model_state_dict(other.model), adapter_name="other")
    theirs.add_weighted_adapter(["default", "other"], list(weights), "both", combination_type="ties", density=0.8)
    theirs.set_adapter("both")
    ids = torch.tensor([[5, 9, 11, 30, 44, 8]])
    with torch.no_grad():
        a, b = ours.model(input_ids=ids).logits, theirs.eval()(input_ids=ids).logits
        start = one.model(input_ids=ids).logits
    assert torch.allclose(a, b, atol=1e-4) and not torch.allclose(a, start, atol=2e-2)


def test_merging_a_model_with_itself_at_full_density_is_that_model():
    with Run.temporary(TRAIN) as run:
        alone = GradDiff().unlearn(knowing_lm(), facts(), run.sub("x"))
        both = Merge(over=GradDiff(), under=GradDiff(), density=1.0).unlearn(knowing_lm(), facts(), run)
    for name, tensor in both.model.state_dict().items():
        assert torch.allclose(tensor, alone.model.state_dict()[name], atol=1e-6)


@pytest.mark.parametrize(
    "bad", [{"density": 0.0}, {"weights": (0.0, 0.0)}, {"weights": (-1.0, 1.0)}, {"over_batch": 0}]
)
def test_settings_are_checked(bad):
    with pytest.raises(PlanError):
        Merge(**bad)
