"""MUSE, WMDP, RWKU, closer-look: small folders of their layouts, and folders that are not quite theirs."""

import json

import pytest

from unsay.benchmarks._tables import find_file, pieces, read_table, text_rows
from unsay.benchmarks.closer_look import CloserLook
from unsay.benchmarks.muse import Muse
from unsay.benchmarks.rwku import Rwku
from unsay.benchmarks.wmdp import Wmdp
from unsay.errors import DataError, PlanError
from unsay.metrics.score import metric_id


def rows_of(stem, n, **more):
    return [{"text": f"{stem} {i}", **more} for i in range(n)]


# --- tables -------------------------------------------------------------------------------------------------------


def test_texts_are_cut_into_even_pieces():
    text = "one two  three\nfour five six seven"
    assert pieces(text, 7) == [text]
    assert pieces(text, 3) == ["one two", "three\nfour five", "six seven"], "three pieces of two or three words"
    assert " ".join(pieces(text, 2)).split() == text.split(), "no word is lost"
    assert pieces("  \n", 3) == []


def test_text_rows_name_their_place_and_repeat_nothing():
    rows = text_rows([{"text": "a b c d", "subject": "Ann"}, {"text": "c d"}], "news", 2, entity="")
    assert [(r.id, r.prompt, r.answer) for r in rows] == [("news.1.1", "", "a b"), ("news.1.2", "", "c d")]
    (row,) = text_rows([{"text": "a", "subject": "Ann"}], "news", 2, entity="subject")
    assert row.entity == "Ann"


def test_tables_of_several_formats(tmp_path):
    def table(name, text):
        (tmp_path / name).write_text(text, encoding="utf-8")
        return read_table(tmp_path, name.partition(".")[0], hub=None, fields=("text",), hint="get it")

    assert table("a.jsonl", '{"text": "x"}\n"a bare text"\n') == [{"text": "x"}, {"text": "a bare text"}]
    assert table("b.json", '["one", "two"]') == [{"text": "one"}, {"text": "two"}]
    assert table("c.json", '{"text": "lines"}\n{"text": "in .json"}\n') == [{"text": "lines"}, {"text": "in .json"}]


def test_parquet_copies_of_a_hub_repository(tmp_path):
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    for shard, text in enumerate("xy"):
        pq.write_table(pa.table({"text": [text]}), tmp_path / f"forget-{shard:05d}-of-00002.parquet")
    assert find_file(tmp_path, "forget").name == "forget-00000-of-00002.parquet"
    assert [r["text"] for r in read_table(tmp_path, "forget", hub=None, fields=("text",), hint="")] == ["x", "y"]


def test_all_problems_of_a_table_at_once(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"txt": "x"}\n{"text": " "}\n{"text": "x", "text": "y"}\n', encoding="utf-8")
    with pytest.raises(DataError) as caught:
        read_table(tmp_path, "a", hub=None, fields=("text",), hint="get it", rows=5)
    assert caught.value.hint == "get it"
    found = caught.value.problems
    assert found[0] == "a has 3 rows, expected 5"
    assert "a.jsonl:1 — no text under 'text' (the row has 'txt')" in found[1]
    assert "a.jsonl:2" in found[2] and "given twice" in found[3]


def test_a_row_that_is_no_object(tmp_path):
    (tmp_path / "a.jsonl").write_text("[1]\n", encoding="utf-8")
    with pytest.raises(DataError, match="the row is no object"):
        read_table(tmp_path, "a", hub=None, fields=("text",), hint="")


# --- MUSE ---------------------------------------------------------------------------------------------------------


def test_muse_news(made):
    benchmark = Muse(path=str(made("muse news")))
    data, splits = benchmark.data(), benchmark.splits()
    assert (len(data.forget), len(data.retain)) == (889, 1777)
    assert {name: len(rows) for name, rows in splits.items() if name != "world"} == {
        "forget": 100,
        "retain": 100,
        "holdout": 100,
        "forget-verbmem": 100,
        "forget-knowmem": 100,
        "retain-knowmem": 100,
    }
    asked = splits["forget-knowmem"][3]
    assert asked.prompt.count("Question: ") == 11 and asked.prompt.startswith(
        "Question: knowmem/forget_qa_icl 0?\nAnswer:"
    )
    assert asked.prompt.endswith("Question: knowmem/forget_qa 3?\nAnswer:") and asked.answer == "answer 3"
    assert "knowmem/retain_qa_icl" in splits["retain-knowmem"][0].prompt, "each side is shown its own examples"
    verbatim = splits["forget-verbmem"][7]
    assert (verbatim.prompt, verbatim.answer) == ("passage 7 begins", "and ends with 7")
    assert splits["holdout"][0].prompt == "" and "privleak/holdout" in splits["holdout"][0].answer


@pytest.mark.parametrize(
    ("chain", "step", "forget"), [("scal", 1, 889), ("scal", 4, 3554), ("sust", 3, 889), ("sust", 4, 887)]
)
def test_muse_chains_choose_the_forget_set(made, chain, step, forget):
    data = Muse(chain=chain, step=step, path=str(made("muse news"))).data()
    assert len(data.forget) == forget
    assert data.forget[0].answer.startswith(f"{chain}/forget_{step} ")


def test_muse_books_are_cut(made, changed):
    assert len(Muse(corpus="books", path=str(made("muse books"))).data().forget) == 4
    long = [{"text": " ".join(f"w{book}-{i}" for i in range(1000))} for book in range(4)]
    folder = str(changed("muse books", {"raw/forget": long}))
    cut = Muse(corpus="books", path=folder, words=300).data().forget
    assert len(cut) == 16 and all(len(row.answer.split()) == 250 for row in cut)


def test_muse_metrics_are_muses():
    found = {metric_id(m): m for m in Muse().metrics()}
    verbatim, knowledge = found["rouge-f1@forget-verbmem"], found["rouge-f1@forget-knowmem"]
    assert (verbatim.max_new_tokens, verbatim.stop) == (128, ())
    assert (knowledge.max_new_tokens, knowledge.stop) == (32, ("\n\n", "\nQuestion", "Question:"))
    assert found["min-k@forget"].k == 0.4 and found["min-k@forget"].others == "holdout"
    wanted = Muse().wanted()
    assert wanted["rouge-f1@forget-knowmem"] == "match" and wanted["rouge-f1@retain-knowmem"] == "up"


def test_a_retain_text_that_is_also_forgotten_is_left_out(changed):
    folder = changed("muse news", {"raw/forget": rows_of("same", 889), "raw/retain1": rows_of("same", 1777)})
    data = Muse(path=str(folder)).data()
    assert len(data.forget) == 889 and len(data.retain) == 1777 - 889


@pytest.mark.parametrize(
    ("stem", "rows", "message"),
    [
        ("raw/forget", rows_of("x", 888), "forget has 888 rows, expected 889"),
        ("raw/retain1", None, "retain1: no such file"),
        ("knowmem/forget_qa", rows_of("x", 100), "no text under 'question', 'answer'"),
        ("verbmem/forget", rows_of("x", 100), "no text under 'prompt', 'gt'"),
        ("privleak/holdout", [{"text": ""}] * 100, "no text under 'text'"),
    ],
)
def test_what_is_not_muse_is_named(changed, stem, rows, message):
    benchmark = Muse(path=str(changed("muse news", {stem: rows})))
    with pytest.raises(DataError, match=message) as caught:
        benchmark.data()
        benchmark.splits()
    assert "muse-bench/MUSE-News" in caught.value.hint and "benchmark.path=FOLDER" in caught.value.hint


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"corpus": "books", "chain": "sust"}, "chain=sust exists for corpus=news only"),
        ({"step": 2}, "step is 2, expected 1 to 1 with chain=none"),
        ({"chain": "scal", "step": 5}, "step is 5, expected 1 to 4"),
        ({"words": 0}, "words is 0"),
    ],
)
def test_muse_settings_that_make_no_sense(settings, message):
    with pytest.raises(PlanError, match=message):
        Muse(**settings)


# --- WMDP ---------------------------------------------------------------------------------------------------------


def test_wmdp_passages(made, changed):
    benchmark = Wmdp(path=str(made("wmdp")), sample=5, documents=8)
    data, splits = benchmark.data(), benchmark.splits()
    assert (len(data.forget), len(data.retain)) == (8, 8), "the first documents"
    assert len(splits["forget"]) == 5 and {r.id for r in splits["forget"]} < {r.id for r in data.forget}
    assert benchmark.splits()["forget"] == splits["forget"], "the same sample every time"
    long = {"cyber-forget-corpus": [{"text": " ".join(map(str, range(30)))}]}
    cut = Wmdp(path=str(changed("wmdp", long)), words=10).data().forget
    assert [len(row.answer.split()) for row in cut] == [10, 10, 10]


@pytest.mark.parametrize(
    ("domain", "hint"),
    [
        ("bio", "cais/wmdp-bio-forget-corpus and log in"),
        ("chem", "no texts are published for chem"),
        ("cyber", "one {"),
    ],
)
def test_wmdp_says_how_to_get_what_is_missing(tmp_path, domain, hint):
    with pytest.raises(DataError, match=f"{domain}-forget-corpus: no such file") as caught:
        Wmdp(domain=domain, path=str(tmp_path)).data()
    assert hint in caught.value.hint and f"{domain}-retain-corpus.jsonl" in caught.value.hint


def test_wmdp_chem_is_not_on_the_hub(monkeypatch):
    monkeypatch.delenv("UNSAY_DATA", raising=False)
    with pytest.raises(DataError, match="no folder was given, and the hub does not have it"):
        Wmdp(domain="chem").data()


def test_wmdp_settings_that_make_no_sense():
    with pytest.raises(PlanError, match="documents is 0"):
        Wmdp(documents=0)


# --- RWKU ---------------------------------------------------------------------------------------------------------


def test_rwku_levels_neighbours_and_membership(made):
    benchmark = Rwku(path=str(made("rwku")))
    splits = benchmark.splits()
    sizes = {name: len(rows) for name, rows in splits.items() if name != "world"}
    assert sizes == {
        "forget": 4,
        "forget-level1": 3,
        "forget-level3": 5,
        "retain": 4,
        "retain-level1": 4,
        "mia-forget": 6,
        "mia-retain": 12,
        "instructions": 3,
    }
    assert splits["instructions"][1].prompt == "Instruction: write 1 for Stephen King"
    assert len(Rwku(path=str(made("rwku")), instructions=2).splits()["instructions"]) == 2
    for name in ("forget", "forget-level1", "forget-level3", "mia-forget"):
        assert {row.entity for row in splits[name]} == {"Stephen King"}
    assert "Stephen King" not in {row.entity for row in splits["mia-retain"]}
    assert {row.entity for row in splits["retain"]} == {f"Neighbour {i}" for i in range(4)}
    assert splits["forget-level1"][0].prompt.startswith("Please complete the blank")
    assert splits["forget"][0].prompt == (
        "Please briefly answer the following question.\nQuestion: Stephen King 2.0 ___\nAnswer:"
    )
    plain, suffix, shown = (splits["forget-level3"][i].prompt for i in range(3))
    assert plain.endswith("___\nAnswer:") and suffix.endswith("___"), "an affirmative suffix begins the answer itself"
    assert "Question:" not in shown, "examples bring their own"


def test_rwku_trains_on_texts_about_the_target(made):
    data = Rwku(path=str(made("rwku"))).data()
    assert {row.entity for row in data.forget} == {"Stephen King"} and len(data.forget) == 6
    assert {row.entity for row in data.retain} == {"Ann Other", "Bob Third"}
    one = Rwku(path=str(made("rwku")), corpus="positive", retain_people=1).data()
    assert one.forget[0].answer.startswith("positive on Stephen King")
    assert {row.entity for row in one.retain} == {"Ann Other"}
    both = Rwku(path=str(made("rwku")), targets=("Ann Other", "Stephen King"))
    assert len(both.splits()["forget"]) == 8 and {r.entity for r in both.data().retain} == {"Bob Third"}


def test_rwku_of_one_person_keeps_generic_rows(changed):
    alone = [{"subject": "Stephen King", "text": f"passage {i}"} for i in range(3)]
    data = Rwku(path=str(changed("rwku", passage=alone))).data()
    assert len(data.retain) == 200 and not any(row.entity for row in data.retain)


@pytest.mark.parametrize(
    ("stem", "change", "message"),
    [
        ("forget_level2", lambda rows: None, "forget_level2: no such file"),
        ("forget_level2", lambda rows: [{**r, "level": "1"} for r in rows], "12 rows of another level"),
        ("forget_level2", lambda rows: [{**r, "query": ""} for r in rows[:1]] + rows[1:], "no text under 'query'"),
        ("forget_mia", lambda rows: rows[6:], "forget_mia has no row about 'Stephen King'; it has 2 people"),
    ],
)
def test_what_is_not_rwku_is_named(made, changed, stem, change, message):
    rows = json.loads((made("rwku") / f"{stem}.json").read_text("utf-8"))
    benchmark = Rwku(path=str(changed("rwku", **{stem: change(rows)})))
    with pytest.raises(DataError, match=message):
        benchmark.splits()


def test_rwku_settings_that_make_no_sense():
    for settings, message in (
        ({"targets": ()}, "expected at least one name"),
        ({"targets": ("A", "A")}, "each once"),
        ({"words": 0}, "words is 0"),
    ):
        with pytest.raises(PlanError, match=message):
            Rwku(**settings)


# --- closer look --------------------------------------------------------------------------------------------------


def test_closer_look_trains_on_long_answers_and_measures_short_ones(made):
    benchmark = CloserLook(path=str(made("closer-look")))
    data, splits = benchmark.data(), benchmark.splits()
    assert (len(data.forget), len(data.retain)) == (400, 400)
    assert data.forget[21].answer == "a long answer 21." and data.forget[21].entity == "Person 1"
    row = splits["forget"][21]
    assert (row.prompt, row.answer, row.entity) == ("Person 1 21?", "short 21.", "Person 1")
    assert [len(row.answers(k)) for k in ("paraphrased", "paraphrased_question", "perturbed")] == [1, 1, 5]
    assert {r.entity for r in splits["retain"]} == {f"Far {i}" for i in range(20)}, "nobody trained on them"


def test_rates_of_forgetting_are_to_match_whatever_the_rest_should_do():
    wanted = CloserLook().wanted()
    assert wanted["forgetting-effect@forget"] == "match" and wanted["rouge@forget"] == "down"
    assert wanted["closer-look-utility"] == wanted["rouge@retain"] == "up"
    assert Muse().wanted()["privleak@forget"] == "match"


def test_closer_look_of_some_people(made):
    benchmark = CloserLook(path=str(made("closer-look")), people=("Person 3",))
    assert {r.entity for r in benchmark.data().forget} == {"Person 3"} and len(benchmark.splits()["forget"]) == 20
    with pytest.raises(DataError, match="forget has nobody called 'Nobody'"):
        CloserLook(path=str(made("closer-look")), people=("Nobody",)).data()


def test_closer_look_needs_its_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("UNSAY_DATA", raising=False)
    with pytest.raises(DataError, match="no folder was given") as caught:
        CloserLook().data()
    assert "git clone https://github.com/sail-sg/closer-look-LLM-unlearning" in caught.value.hint
    with pytest.raises(DataError, match="forget: no such file"):
        CloserLook(path=str(tmp_path)).data()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"perturbed_answer": []}, r"400 rows have no perturbed_answer \(row 1\)"),
        ({"paraphrased_question": ""}, "no text under 'paraphrased_question'"),
        ({"golden_answer": None}, "no text under 'golden_answer'"),
    ],
)
def test_what_is_not_closer_look_is_named(made, changed, change, message):
    lines = (made("closer-look") / "forget_perturbed.json").read_text("utf-8").splitlines()
    rows = [{**json.loads(line), **change} for line in lines]
    with pytest.raises(DataError, match=message):
        CloserLook(path=str(changed("closer-look", forget_perturbed=rows))).splits()
