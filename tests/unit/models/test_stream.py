"""From folder to folder along the line: what `weights.extrapolate` gives, byte by byte, without loading a model."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from unsay.errors import ModelError, RunError
from unsay.models import stream
from unsay.models.lm import LM
from unsay.models.stream import write_between
from unsay.models.weights import extrapolate
from unsay.testing import tiny_lm


@pytest.fixture
def ends(tmp_path):
    before, after = tiny_lm(), tiny_lm()
    with torch.no_grad():
        for i, parameter in enumerate(after.model.parameters()):
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(i)), alpha=0.01)
    before.save(tmp_path / "before")
    after.save(tmp_path / "after")
    return before, after, tmp_path


@pytest.mark.parametrize("scale", [-0.5, 0.3, 1.0, 1.5])
def test_same_as_in_memory(ends, scale):
    before, after, root = ends
    done = write_between(root / "before", root / "after", scale, root / "out")
    expected = extrapolate(before, after, scale)
    assert LM.load(str(root / "out")).fingerprint() == expected.fingerprint()
    assert done.swallowed == 0 and done.tensors == len(load_file(root / "after" / "model.safetensors"))
    assert done.parameters == sum(p.numel() for p in expected.model.parameters())


def test_shards_are_read_and_written(ends):
    before, after, root = ends
    after.model.save_pretrained(root / "after", max_shard_size="20KB")
    (root / "after" / "model.safetensors").unlink(missing_ok=True)
    (root / "after" / "MANIFEST.json").unlink()
    assert len(list((root / "after").glob("model-*.safetensors"))) > 1
    write_between(root / "before", root / "after", 2.0, root / "out")
    assert LM.load(str(root / "out")).fingerprint() == extrapolate(before, after, 2.0).fingerprint()


def test_bfloat16_is_moved_in_float32_and_says_what_rounding_swallowed(ends):
    *_, root = ends
    for name, start in (("before", "before"), ("after", "after")):
        file = root / name / "model.safetensors"
        (root / name / "MANIFEST.json").unlink()
        save_file({n: t.bfloat16() for n, t in load_file(root / start / "model.safetensors").items()}, file)
    old, new = (load_file(root / name / "model.safetensors") for name in ("before", "after"))
    done = write_between(root / "before", root / "after", 1.001, root / "near")
    assert done.swallowed > 0.5 * done.parameters
    write_between(root / "before", root / "after", 1.5, root / "far")
    far = load_file(root / "far" / "model.safetensors")
    for name, tensor in far.items():
        exact = torch.lerp(old[name].float(), new[name].float(), 1.5).bfloat16()
        assert tensor.dtype == torch.bfloat16 and torch.equal(tensor, exact)


def test_what_it_refuses(ends):
    _, _, root = ends
    with pytest.raises(ModelError, match="too far"):
        write_between(root / "before", root / "after", float("nan"), root / "out")
    weights = load_file(root / "after" / "model.safetensors")
    whole = (root / "after" / "model.safetensors").read_bytes()
    (root / "after" / "MANIFEST.json").unlink()
    next(iter(weights.values())).fill_(1e30)
    save_file(weights, root / "after" / "model.safetensors")
    with pytest.raises(ModelError, match="not finite"):
        write_between(root / "before", root / "after", 1e10, root / "out")
    (root / "after" / "model.safetensors").write_bytes(whole)
    tiny_lm(num_hidden_layers=4).save(root / "short")
    with pytest.raises(ModelError, match="not two states of one model"):
        write_between(root / "short", root / "after", 2.0, root / "out")
    assert not (root / "out").exists()
    with pytest.raises(RunError, match="exists"):
        write_between(root / "before", root / "after", 2.0, root / "after")
    (root / "after" / "patch.json").write_text(json.dumps({}))
    with pytest.raises(ModelError, match="patch"):
        write_between(root / "before", root / "after", 2.0, root / "out")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_only_slices_are_in_memory_and_nothing_else_changes(ends, monkeypatch, dtype):
    *_, root = ends
    for name in ("before", "after"):
        file = root / name / "model.safetensors"
        (root / name / "MANIFEST.json").unlink()
        save_file({n: t.to(dtype) for n, t in load_file(file).items()}, file)
    whole = write_between(root / "before", root / "after", 1.001, root / "whole")
    seen, lerp = [], torch.lerp

    def watched(old, new, scale):
        seen.append(old.numel())
        return lerp(old, new, scale)

    monkeypatch.setattr(stream, "_SLICE", 512)
    monkeypatch.setattr(torch, "lerp", watched)
    pieces = write_between(root / "before", root / "after", 1.001, root / "pieces")
    assert max(seen) == 512 and sum(seen) == pieces.parameters > 1024
    assert (pieces.swallowed, pieces.parameters, pieces.tensors) == (whole.swallowed, whole.parameters, whole.tensors)
    one, other = ((root / name / "model.safetensors").read_bytes() for name in ("whole", "pieces"))
    assert one == other


def test_a_slice_is_a_million_elements():
    old, new = torch.zeros(3, 2**20), torch.ones(3, 2**20)
    pieces = list(stream._slices("x", old, new))
    assert [len(was) for was, _ in pieces] == [2**20] * 3
    assert pieces[1][1].data_ptr() == new[1].data_ptr(), "a view, not a copy"
