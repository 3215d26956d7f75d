"""What is typed becomes a case: models by tag, attacks by name."""

import json

import pytest

from unsay.attacks.quantisation import Quantisation
from unsay.attacks.relearn import Relearn
from unsay.audit.case import named, read_case
from unsay.errors import PlanError
from unsay.runs.folder import plan_document, plan_hash


@pytest.fixture
def forget(tmp_path):
    rows = [{"question": f"q{i}?", "answer": f"a{i}", "entity": "e"} for i in range(3)]
    file = tmp_path / "forget.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)) + "\n")
    return file


def test_attacks_of_one_kind_keep_apart():
    many = (Relearn(steps=(2,)), Quantisation(), Relearn(steps=(4,)), Relearn(lr=1e-3))
    assert list(named(many)) == ["relearn", "quantisation", "relearn-2", "relearn-3"]
    assert named(many)["relearn-2"] == many[2]


def test_controls_by_tag_in_the_order_they_are_attacked(forget):
    case = read_case(
        "mine", [f"forget={forget}", "retrained=r1,r2", "base=b", "before=old", "attacks=relearn"], "quick"
    )
    found = [(tag, spec.path) for tag, spec in case.models.items()]
    assert found == [("after", "mine"), ("before", "old"), ("retrained", "r1"), ("retrained-2", "r2"), ("base", "b")]
    assert case.plan.attacks == (Relearn(),) and not case.absent and not case.from_run
    assert len(case.asked) == 3 and case.chosen


def test_no_audit_takes_the_place_of_another(forget, tmp_path):
    words = [f"forget={forget}", "attacks=relearn"]
    for folder in ("a/mine", "b/mine"):
        (tmp_path / folder).mkdir(parents=True)
    cases = [(tmp_path / "a/mine", words, "quick"), (tmp_path / "b/mine", words, "quick")]
    cases += [(tmp_path / "a/mine", words, "full"), (tmp_path / "a/mine", words[:1], "quick")]
    outs = [read_case(str(target), more, profile).plan.out for target, more, profile in cases]
    assert len(set(outs)) == 4 and all(out.startswith("runs/audit-mine-") for out in outs)
    again = read_case(str(tmp_path / "a/mine"), [*words, "redact=true"], "quick").plan.out
    assert again == outs[0], "how it is shown makes no other audit"


def test_metrics_that_do_not_count_knowledge_are_refused(forget):
    words = [f"forget={forget}", "attacks=relearn"]
    assert read_case("mine", [*words, "metrics=[{name: kfr, label: mine}]"], "quick").plan.metrics[0].label == "mine"
    with pytest.raises(PlanError, match="refusal-rate does not say"):
        read_case("mine", [*words, "metrics=[refusal-rate]"], "quick")


def test_other_controls_are_another_plan(forget):
    words = [f"forget={forget}", "attacks=relearn"]
    plans = [read_case("mine", [*words, *more], "quick").plan for more in ([], ["before=a"], ["retrained=a"])]
    assert len({plan_hash(plan_document(plan)) for plan in plans}) == 3


def test_the_profile_says_how_an_attack_is_run(forget):
    words = [f"forget={forget}", "attacks=relearn"]
    assert read_case("mine", words, "full").item("relearn").seeds == 3
    assert read_case("mine", words, "quick").item("relearn").speaks  # not in the profile: everything is measured


def test_nothing_to_ask_and_no_such_profile(forget):
    with pytest.raises(PlanError, match="no forget rows"):
        read_case("mine", [], "quick")
    with pytest.raises(PlanError, match="profile"):
        read_case("mine", [f"forget={forget}"], "huge")
