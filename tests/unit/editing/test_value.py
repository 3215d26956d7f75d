"""Values: they bring the target about, do not depend on each other, and change no weight."""

from dataclasses import replace

import pytest
import torch

from unsay.config.plan import Train
from unsay.data.example import Example
from unsay.editing import value
from unsay.editing.keys import Above, at_places, moments
from unsay.editing.starts import takes_starts
from unsay.editing.subjects import requests
from unsay.editing.value import Value, Wish, logits_at, values
from unsay.models._tiny import FAMILIES
from unsay.models.layers import decoder_layers, head_is_plain, mlp_output
from unsay.runs.run import Run
from unsay.testing import tiny_lm

TRAIN = Train(precision="fp32")
ROWS = [Example("Where is Ada", "x"), Example("Who knows Bo", "x"), Example("what is it", "x")]


def wishes(lm, target=" No"):
    ids = tuple(lm.tokenizer(target, add_special_tokens=False)["input_ids"])
    return [Wish(request, ids) for request in requests(ROWS, lm.template, (), together=False)]


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_a_value_at_the_prompts_end_brings_the_target_about(family):
    lm = tiny_lm(family, template="plain")
    before = lm.fingerprint()
    asked = wishes(lm, "N")
    with Run.temporary(TRAIN) as run:
        start = values(lm, 0, asked, Value(steps=0), run)[1]
        delta, likely = values(lm, 0, asked, Value(steps=30, lr=0.3, clamp=20.0), run)
    assert float(likely.min()) > max(0.25, 10 * float(start.max()))
    assert delta.shape == (3, 32)
    assert lm.fingerprint() == before
    assert all(p.requires_grad and p.grad is None for p in lm.model.parameters())


def test_requests_do_not_depend_on_each_other():
    lm = tiny_lm(template="plain")
    how = Value(steps=4, lr=0.1)
    with Run.temporary(replace(TRAIN, micro_tokens=4096)) as run:
        together = values(lm, 1, wishes(lm), how, run)[0]
    with Run.temporary(replace(TRAIN, micro_tokens=1)) as run:
        alone = values(lm, 1, wishes(lm), how, run)[0]
    assert torch.allclose(together, alone, atol=1e-5)
    assert float(together.norm(dim=1).min()) > 0.1


def test_the_value_stays_in_its_ball():
    lm = tiny_lm(template="plain")
    places = [wish.request.places[0] for wish in wishes(lm)]
    with Run.temporary(TRAIN) as run:
        h = at_places(lm, places, {"h": (decoder_layers(lm.model)[1], "out")}, run, "")["h"]
        delta, _ = values(lm, 1, wishes(lm), Value(steps=10, lr=1.0, clamp=0.3), run)
    assert torch.allclose(delta.norm(dim=1), 0.3 * h.norm(dim=1), rtol=1e-4)


def test_a_request_that_is_likely_enough_is_left_alone():
    lm = tiny_lm(template="plain")
    with Run.temporary(TRAIN) as run:
        delta, _ = values(lm, 1, wishes(lm), Value(steps=5, enough=1e-9), run)
    assert float(delta.abs().max()) == 0.0


def test_the_essence_holds_a_value_back():
    lm = tiny_lm()
    rows = [Example("Where is Ada?", "x", meta={"entity": "Ada"})]
    ids = tuple(lm.tokenizer("N")["input_ids"])
    asked = [Wish(request, ids) for request in requests(rows, lm.template, (), together=True)]
    with Run.temporary(TRAIN) as run:
        free = values(lm, 0, asked, Value(steps=10, lr=0.1), run)[0]
        held = values(lm, 0, asked, Value(steps=10, lr=0.1, kl_weight=100.0), run)[0]
    assert float(held.norm()) < float(free.norm())


def test_the_essence_is_measured_from_the_model_with_the_value_to_the_one_without():
    """As `kl_div(before, now, log_target=True)` of the public code: KL(p_δ ‖ p₀)."""
    lm = tiny_lm().fork()
    with torch.no_grad():
        lm.model.model.norm.weight.mul_(10)  # far from uniform, where the two directions are alike
    rows = [Example("Where is Ada?", "x", meta={"entity": "Ada"})]
    asked = [Wish(request, (5,)) for request in requests(rows, lm.template, (), together=True)]
    assert head_is_plain(lm.model) and takes_starts(lm.model)  # both try it, which must not happen amid the steps
    block, delta = decoder_layers(lm.model)[0], 30 * torch.randn(1, 32, generator=torch.Generator().manual_seed(0))
    with Run.temporary(TRAIN) as run:
        group = value._Group(lm, 0, asked, Value(kl_weight=2.0), run)
        found = float(group._regularised(delta, torch.ones(1, 32), [0]).detach())
    text = group._essence[0]

    def logp(shift):
        def add(_, __, output):
            output[0, text.at] += shift

        handle = block.register_forward_hook(add)
        with torch.no_grad():
            out = lm.model(input_ids=torch.tensor([text.ids])).logits[0, -1].log_softmax(-1)
        handle.remove()
        return out

    before, now = logp(torch.zeros(32)), logp(delta[0])
    wanted, other = (
        2 * float(torch.nn.functional.kl_div(*pair, log_target=True, reduction="sum"))
        for pair in ((before, now), (now, before))
    )
    assert found == pytest.approx(wanted, rel=1e-3)
    assert found != pytest.approx(other, rel=0.05), "the directions differ"


def test_all_prompts_of_a_request_say_how_likely_its_target_is():
    lm = tiny_lm(template="plain")
    rows = [Example(text, "x", meta={"entity": "Ada"}) for text in ("Is Ada well?", "Where in Oslo is Ada?", "Ada who")]
    asked = [Wish(r, (40,)) for r in requests(rows, lm.template, (), together=True)]
    with Run.temporary(TRAIN) as run:
        likely = values(lm, 0, asked, Value(steps=0, prompts=1), run)[1]
    places = asked[0].request.places
    with torch.no_grad():
        logps = [lm.model(input_ids=torch.tensor([p.ids])).logits[0, -1].log_softmax(-1)[40] for p in places]
    assert float(likely) == pytest.approx(float(torch.stack(logps).mean().exp()), rel=1e-4)
    assert max(logps) - min(logps) > 1e-3, "one prompt would not do"


def test_keys_are_what_goes_into_the_projection():
    lm = tiny_lm()
    module = mlp_output(decoder_layers(lm.model)[1])
    place = requests(ROWS[:1], lm.template, (), together=True)[0].places[0]
    long = requests([Example("Where is Ada and why is it there?", "x")], lm.template, (), together=True)[0].places[0]
    seen = []
    handle = module.register_forward_pre_hook(lambda _, args: seen.append(args[0][0].detach()))
    with torch.no_grad():
        for ids in (place.ids, long.ids, (40, *long.ids)):
            lm.model(input_ids=torch.tensor([ids]))
    handle.remove()
    other = seen.pop()
    with Run.temporary(TRAIN) as run:
        found = at_places(lm, [place, long], {"k": (module, "in")}, run, "")["k"]
        moment = moments(lm, [place.ids, long.ids], {"k": (module, "in")}, run, "")["k"]
        opening = place.ids[:6]
        once = moments(lm, [(40, *long.ids), long.ids, place.ids], {"k": (module, "in")}, run, "", opening)["k"]
    assert torch.allclose(found[0], seen[0][place.at], atol=1e-5)
    assert torch.allclose(found[1], seen[1][long.at], atol=1e-5)
    rows = torch.cat([seen[0][1:], seen[1][1:]]).double()  # not the first token, not the padding
    assert moment.count == len(rows)
    assert torch.allclose(moment.mean, rows.T @ rows / len(rows), rtol=1e-5, atol=1e-7)
    assert torch.allclose(moment.total, rows.sum(0), rtol=1e-4, atol=1e-5)
    rows = torch.cat([seen[1][1:], seen[0][len(opening) :], other[1:]]).double()  # the opening once
    assert long.ids[: len(opening)] == opening and once.count == len(rows)
    assert torch.allclose(once.square, rows.T @ rows, rtol=1e-4, atol=1e-6)


def test_logits_are_the_networks_own():
    lm = tiny_lm("gemma2")
    ids = torch.tensor([lm.template.encode_prompt("Where is Ada?")])
    with torch.no_grad():
        own = lm.model(input_ids=ids).logits[0, [2, 5]]
        assert torch.allclose(logits_at(lm.model, {"input_ids": ids}, [(0, 2), (0, 5)]), own, atol=1e-5)


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_what_comes_before_the_subjects_end_runs_once_and_changes_nothing(family, monkeypatch):
    lm = tiny_lm(family, template="plain")
    how = Value(steps=3, lr=0.1, prompts=1, kl_weight=0.1)
    rows = [Example(text, "x", meta={"entity": "Ada"}) for text in ("Is Ada well?", "Where in Oslo is Ada?", "Ada who")]
    asked = [Wish(r, (40, 50, 60)) for r in requests(rows, lm.template, (), together=True)]
    assert {place.at for place in asked[0].request.places} == {2, 5, 19}
    assert takes_starts(lm.model)
    with Run.temporary(TRAIN) as run:
        fast, likely = values(lm, 0, asked, how, run)
        monkeypatch.setattr("unsay.editing.starts.takes_starts", lambda _: False)
        slow, alike = values(lm, 0, asked, how, run)
    assert float(fast.norm()) > 0.1
    assert torch.allclose(fast, slow, atol=1e-4) and torch.allclose(likely, alike, atol=1e-5)
    assert all("forward" not in vars(block) for block in decoder_layers(lm.model))
    own, target = [], asked[0].target
    for place in asked[0].request.places:

        def add(_, __, output, at=place.at):
            output[0, at] += fast[0]

        handle = decoder_layers(lm.model)[0].register_forward_hook(add)  # by the book: a hook on a whole forward
        with torch.no_grad():
            logp = lm.model(input_ids=torch.tensor([[*place.ids, *target]])).logits[0].log_softmax(-1)
        handle.remove()
        own += [float(logp[len(place.ids) - 1 + i, token]) for i, token in enumerate(target)]
    assert torch.allclose(likely, torch.tensor([sum(own) / len(own)]).exp(), rtol=1e-3)


def test_a_request_that_is_done_takes_no_more_part(monkeypatch):
    lm = tiny_lm(template="plain")
    asked, seen = wishes(lm, "N"), []
    whole = value._Group._logps

    def watched(self, rows, delta):
        seen.append(len(rows))
        return whole(self, rows, delta)

    monkeypatch.setattr(value._Group, "_logps", watched)
    with Run.temporary(replace(TRAIN, micro_tokens=4096)) as run:
        alone = [values(lm, 0, [wish], Value(steps=30, lr=0.3, clamp=20.0, enough=0.5), run)[0] for wish in asked]
        seen.clear()
        together = values(lm, 0, asked, Value(steps=30, lr=0.3, clamp=20.0, enough=0.5), run)[0]
    assert seen[0] == 3 and 0 < seen[-2] < 3 and seen[-1] == 3, "the last one looks at all"
    assert torch.allclose(together, torch.cat(alone), atol=1e-4)


def test_in_bf16_the_value_is_nearly_the_same_and_the_weights_come_back():
    lm = tiny_lm(template="plain")
    before, how = lm.fingerprint(), Value(steps=5, lr=0.1)
    with Run.temporary(TRAIN) as run:
        exact = values(lm, 1, wishes(lm), how, run)[0]
    with Run.temporary(replace(TRAIN, precision="bf16")) as run:
        rough = values(lm, 1, wishes(lm), how, run)[0]
    assert lm.fingerprint() == before
    assert torch.nn.functional.cosine_similarity(exact, rough).min() > 0.98


def test_layers_below_the_change_run_once_and_keys_are_those_of_whole_forwards():
    lm = tiny_lm().fork()
    blocks = decoder_layers(lm.model)
    rows = [*ROWS, Example("Where is Ada and why is it there?", "x")]
    places = [place for r in requests(rows, lm.template, (), together=False) for place in r.places]
    above, ran = Above(blocks, 1), []
    handle = mlp_output(blocks[0]).register_forward_hook(lambda *_: ran.append(1))
    with Run.temporary(TRAIN) as run:
        for level, below in ((1, 1), (2, 0), (1, 0)):
            above.level = level
            wanted = {"key": (mlp_output(blocks[level]), "in"), "out": (blocks[2], "out")}
            ran.clear()
            found = at_places(lm, places, wanted, run, "", above)
            assert len(ran) == below
            whole = at_places(lm, places, wanted, run, "")
            assert all(torch.allclose(found[name], whole[name], atol=1e-5) for name in wanted)
            with torch.no_grad():
                mlp_output(blocks[level]).weight.add_(0.1)
    handle.remove()
    assert all("forward" not in vars(block) for block in blocks)
