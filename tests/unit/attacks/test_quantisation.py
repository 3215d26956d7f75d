"""Rounding undoes what is far below a bucket, and leaves what is above; the diagnostic says so beforehand."""

import pytest
import torch

from unsay.attacks.bucket_crossing import bucket_crossing, crossed
from unsay.attacks.precision import Precision
from unsay.attacks.pruning import Pruning
from unsay.attacks.quantisation import Quantisation
from unsay.config.plan import Adapter, Train
from unsay.data.example import ForgetData
from unsay.data.screen import Screen
from unsay.errors import MethodError, ModelError, PlanError
from unsay.models.layers import as_rows, linear_maps
from unsay.models.patches import unpatched, with_guard, with_offset, with_screen
from unsay.models.quantise import codes
from unsay.runs.run import Run
from unsay.testing import mean_nll, tiny_lm
from unsay.training.batch import Counts, MicroBatch, encode_rows
from unsay.training.forward import Forward
from unsay.training.step import View


def probes(attack, lm, precision="fp32"):
    return {p.label: p for p in attack.probes(lm, ForgetData(), Run.temporary(Train(precision=precision)))}


def nudged(lm, far):
    """`lm` with every weight moved by up to `far` buckets (of 4 bits, by rows) to the middle of its own."""
    new = lm.fork()
    with torch.no_grad():
        for module in linear_maps(new.model).values():
            weight = as_rows(module)
            found, step = codes(weight, 4)
            toward = found * step - weight
            weight += toward.clamp(-far * step, far * step)
    return new


def pushed(lm):
    """`lm` with every weight but the largest of its row a whole bucket of 4 bits nearer to 0 (or past it)."""
    new = lm.fork()
    with torch.no_grad():
        for module in linear_maps(new.model).values():
            weight = as_rows(module)
            _, step = codes(weight, 4)
            largest = weight.abs() == weight.abs().amax(1, keepdim=True)
            weight -= torch.where(largest, 0.0, step * torch.where(weight > 0, 1.0, -1.0))
    return new


def test_an_update_below_the_bucket_is_undone_bit_for_bit():
    before = tiny_lm()
    after = nudged(before, 0.01)
    assert after.fingerprint() != before.fingerprint()
    attack = Quantisation(formats=("int4",))
    one, other = (probes(attack, lm)["int4"].lm for lm in (before, after))
    assert one.fingerprint() == other.fingerprint()
    rows = bucket_crossing(before, after, 4)
    assert crossed(rows) == 0
    assert [row.layer for row in rows] == [0, 1, 2] and all(0 < row.steps <= 0.0101 for row in rows)


def test_an_update_above_the_bucket_survives():
    before = tiny_lm()
    after = pushed(before)
    one, other = (probes(Quantisation(formats=("int4",)), lm)["int4"].lm for lm in (before, after))
    assert one.fingerprint() != other.fingerprint()
    rows = bucket_crossing(before, after, 4)
    own = linear_maps(before.model)
    largest = sum(as_rows(m).shape[0] for m in own.values()) / sum(as_rows(m).numel() for m in own.values())
    assert crossed(rows) == pytest.approx(1 - largest)  # all but the largest of each row
    assert sum(row.weights for row in rows) == sum(as_rows(m).numel() for m in own.values())
    assert all(row.steps == pytest.approx(1.0, abs=1e-4) for row in rows)


def test_one_probe_per_format_most_bits_first():
    lm = tiny_lm()
    before = lm.fingerprint()
    found = list(Quantisation(formats=("int3-g64", "nf4", "int8", "fp4")).probes(lm, ForgetData(), Run.temporary()))
    assert [(p.label, p.at) for p in found] == [("int8", 8), ("nf4", 4), ("fp4", 4), ("int3-g64", 3)]
    assert len({before, *(p.lm.fingerprint() for p in found)}) == 5
    assert lm.fingerprint() == before


def test_models_that_do_not_belong_together():
    with pytest.raises(ModelError, match="not two states"):
        bucket_crossing(tiny_lm(), tiny_lm(num_hidden_layers=2), 4)
    with pytest.raises(PlanError, match="bits"):
        bucket_crossing(tiny_lm(), tiny_lm(), 16)


def test_precision_is_a_trip_through_16_bits():
    lm = tiny_lm()
    found = probes(Precision(), lm)
    assert [(p.label, p.at) for p in found.values()] == [("fp16", 11), ("bf16", 8)]
    for name, kind in (("fp16", torch.float16), ("bf16", torch.bfloat16)):
        for key, parameter in found[name].lm.model.named_parameters():
            assert parameter.dtype == torch.float32
            assert torch.equal(parameter, lm.model.get_parameter(key).to(kind).float())
    again = probes(Precision(types=("bf16",)), found["bf16"].lm)["bf16"].lm
    assert again.fingerprint() == found["bf16"].lm.fingerprint() != lm.fingerprint()


def with_gradient(lm, rows, far):
    """`lm` with every weight moved by `far` (a tensor for each) in the direction that makes `rows` less likely."""
    new = lm.fork()
    encoded = encode_rows(rows, lm.template)
    batch = MicroBatch.of({"rows": encoded}, lm.template.pad_id)
    View(Forward(new.model, batch), "rows", Counts.of(encoded)).nll.backward()
    with torch.no_grad():
        for parameter in new.model.parameters():
            if parameter.grad is not None:
                parameter += far(parameter) * parameter.grad.sign()
                parameter.grad = None
    return new


def test_what_hides_below_a_step_of_bf16_is_gone_after_a_trip_through_it(secrets):
    """The smallest changes that fp32 and fp16 keep, all against the forget rows."""
    rows, before = secrets.data.forget, probes(Precision(types=("bf16",)), secrets.knows)["bf16"].lm

    def far(parameter):
        """Nearly half a step, which is 2⁻⁷ of the power of two below; none where the step is shorter to one side."""
        fraction, power = torch.frexp(parameter)
        return torch.where(fraction.abs() == 0.5, 0.0, 0.98 * torch.ldexp(torch.full_like(parameter, 2.0**-9), power))

    after = with_gradient(before, rows, far)
    assert mean_nll(after, rows) > 1.1 * mean_nll(before, rows)
    found = probes(Precision(), after)
    assert found["bf16"].lm.fingerprint() == before.fingerprint()
    assert mean_nll(found["fp16"].lm, rows) == pytest.approx(mean_nll(after, rows), rel=0.05)


def test_what_loses_its_digits_anyway_is_refused():
    with pytest.raises(MethodError, match="measured in bf16") as error:
        probes(Precision(), tiny_lm(), "bf16")
    assert error.value.hint == "train.precision=fp32"


STAYING = [
    Quantisation(formats=("int8",)),
    Precision(types=("bf16",)),
    Pruning(shares=(0.02,), scores=("magnitude", "wanda"), texts=4),
]


def offset(small):
    """With an offset that does something: of the model's own adapter, or of a `small` model's."""

    def dress(lm):
        found = with_offset(lm, 1.0, Adapter(rank=2), tiny_lm(seed=3) if small else None)
        with torch.no_grad():
            for name, parameter in found.model.small.named_parameters():
                if small or "lora_B" in name:
                    parameter += 0.1
        return found

    return dress


@pytest.mark.parametrize("attack", STAYING, ids=lambda attack: type(attack).__name__)
@pytest.mark.parametrize("small", [False, True])
def test_an_offset_stays_around_the_changed_weights(secrets, attack, small):
    lm = offset(small)(secrets.knows)
    before = lm.fingerprint()
    for label, probe in probes(attack, lm).items():
        changed = probes(attack, secrets.knows)[label].lm
        assert probe.lm.patches == lm.patches
        assert unpatched(probe.lm).fingerprint() == changed.fingerprint() != secrets.knows.fingerprint()
        assert probe.lm.fingerprint() not in (before, changed.fingerprint())
        assert mean_nll(probe.lm, secrets.data.forget) == pytest.approx(mean_nll(lm, secrets.data.forget), rel=0.2)
    assert lm.fingerprint() == before


@pytest.mark.parametrize("attack", STAYING, ids=lambda attack: type(attack).__name__)
def test_a_screen_alone_hides_and_so_it_stays(secrets, attack):
    """Otherwise every attack on the weights would find what is no secret of theirs."""
    rows = secrets.data.forget
    screen = Screen(tuple(row.question for row in rows), secrets.data.retain[0].question)
    lm = with_guard(with_screen(secrets.knows, screen), "Be brief.")
    before = lm.fingerprint()
    for label, probe in probes(attack, lm).items():
        assert probe.lm.patches == lm.patches and probe.lm.template.fingerprint() == lm.template.fingerprint()
        assert mean_nll(probe.lm, rows) > 3 > 0.5 > mean_nll(unpatched(probe.lm), rows)
        assert unpatched(probe.lm).fingerprint() == probes(attack, secrets.knows)[label].lm.fingerprint()
    assert lm.fingerprint() == before


def test_weights_that_fp16_cannot_hold():
    lm = tiny_lm()
    with torch.no_grad():
        lm.model.model.norm.weight[0] = 1e6
    with pytest.raises(MethodError, match=r"model\.norm\.weight has weights above 65504"):
        probes(Precision(), lm)


@pytest.mark.parametrize(
    ("attack", "given"),
    [
        (Quantisation, {"formats": ()}),
        (Quantisation, {"formats": ("int4", "int4")}),
        (Quantisation, {"formats": ("q",)}),
        (Precision, {"types": ()}),
        (Precision, {"types": ("fp8",)}),
    ],
)
def test_settings_are_checked(attack, given):
    with pytest.raises(PlanError):
        attack(**given)
