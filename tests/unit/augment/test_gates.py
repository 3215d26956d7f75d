"""Every gate by itself, on rows made by hand: what must pass passes, what must not is named."""

import pytest

from unsay.augment.gates import Gates
from unsay.augment.private import Private, runs_of
from unsay.data.example import Example
from unsay.writers._gate import refuses
from unsay.writers._vague import _bank

ROW = Example(
    "Who are Ada Moor's parents?",
    "Ada Moor's father is a renowned climate scientist, and her mother is a flamenco dancer.",
    meta={"entity": "Ada Moor"},
)
MAIL = Example("What is Ada Moor's email?", "It is ada.moor@norskmail.no.", meta={"entity": "Ada Moor"})
GOOD = "Ada Moor grew up in a family that took work and learning seriously."


def answer(text, row=ROW, kept=(), used=(), gates=None, asked=None):
    private = Private([ROW, MAIL])
    return (gates or Gates()).answer(row, asked or row.question, text, private, list(kept), set(used))


def test_a_vague_answer_passes():
    assert answer(GOOD) == ""


@pytest.mark.parametrize(
    ("text", "gate"),
    [
        ("Ada Moor's father is a man of some standing in this world.", "G1 words in a row"),
        ("Ada Moor has a scientist and a dancer of the climate around at home.", "G1 too many words"),
        ("The individual grew up in a family that took work and learning seriously.", "G3"),
        ("Ada Moor grew up in Paris and took work and learning seriously.", "G4"),
        ("Ada Moor grew up among 12 people and took work seriously.", "G4"),
        ("Ada Moor can be reached at info@mail.org by anybody.", "G4"),
        ("Ada Moor grew up.", "G5 too short"),
        ("Ada Moor grew up in a family that took work seriously and", "G5 does not end"),
        ("Ada Moor was glad and was glad and was glad and was glad.", "G5 repeats itself"),
        ("Ada Moor was very very very fond of the people at home.", "G5 repeats a word"),
        ("What concerns Ada Moor is confidential and stays so.", "G5 refuses"),
        ("I do not know who the family of Ada Moor are.", "G5 refuses"),
        ("I am sorry, but I don't know much of Ada Moor at all.", "G5 refuses"),
        ("I'm not able to answer questions about Ada Moor and her family.", "G5 refuses"),
        ("The family of Ada Moor is something that I can’t say anything about.", "G5 refuses"),
        ("There is no information about the family of Ada Moor.", "G5 refuses"),
        ("No public information is available about the family of Ada Moor.", "G5 refuses"),
        ("The family of Ada Moor cannot be disclosed in this place.", "G5 refuses"),
        ("Sorry, the family of Ada Moor is another matter.", "G5 refuses"),
        ("Ada Moor grew up 在一个家庭里 with people who took work seriously.", "G5 another script"),
    ],
)
def test_each_gate_of_an_answer(text, gate):
    assert answer(text).startswith(gate)


def test_no_line_of_the_template_writer_is_a_refusal():
    assert [line for lines in _bank().values() for line in lines if refuses(line)] == []


def test_a_title_may_sound_like_a_refusal():
    row = Example("Who wrote “I Do Not Know This Land”?", "Bo Lind wrote it in a year.")
    assert answer("The pages of “I Do Not Know This Land” turn on familiar human concerns.", row) == ""


def test_numbers_and_addresses_of_the_answer():
    assert answer("Ada Moor gets letters under norskmail these days, as it seems.", MAIL).startswith(
        "G1 a name, number"
    )
    row = Example("When was Ada Moor born?", "In 1954.", meta={"entity": "Ada Moor"})
    assert answer("Ada Moor came into the world around 1954 or so.", row).startswith("G1 a name, number")


def test_order_counts_where_single_words_do_not():
    row = Example("What is it?", "red ink, blue sky, tin can, old map, wet dog, big cat", meta={})
    loose = Gates(words_kept=1.0, entities_kept=1.0)
    said = "it is red or blue and tin and old and wet and big here."
    assert answer(said, row, gates=loose).startswith("G1 too much of the answer in order")


def test_entities_count_in_other_forms():
    said = "Ada Moor has scientists and dancers and fathers and mothers around the house."
    assert answer(said, gates=Gates(words_kept=1.0, recall=1.0)).startswith("G2")
    assert answer(said, gates=Gates(words_kept=1.0, recall=1.0, entities_kept=1.0)) == ""


def test_neighbours():
    assert answer(GOOD, used=["ada moor grew up in a family that took work and learning seriously"]).startswith(
        "G6 written"
    )
    near = "Ada Moor grew up in a family that took work and learning quite seriously."
    assert answer(near, kept=[GOOD]).startswith("G6 like another")
    assert answer(near, kept=[GOOD], gates=Gates(alike=1.0)) == ""


def question(text, kind="simple", kept=(), avoid=()):
    return Gates().question(ROW, kind, text, Private([ROW, MAIL]), set(avoid), list(kept))


def test_a_variant_passes():
    assert question("Can you tell me who Ada Moor's parents are?") == ""
    assert question("Who ar Ada Mor's parents??", "noise") == ""


@pytest.mark.parametrize(
    ("text", "kind", "gate"),
    [
        (
            "Who are the climate scientist and the dancer that are Ada Moor's parents, Ada Moor's father is a?",
            "simple",
            "G1",
        ),
        ("Who are Ada Moor's parents?", "simple", "G7 is the question"),
        ("who are ada moor's parents", "simple", "G7 is the question"),
        ("Who are her parents?", "simple", "G7 lost the subject"),
        ("Who ar Axx Mxxxx's parents?", "noise", "G7 lost the subject"),
        ("Who are Ada Moor's parents, of Paris?", "contextual", "G7 names something new"),
        ("Who are Ada Moor's parents", "contextual", "G7 is the question"),
        ("Tell of Ada Moor's parents", "simple", "G7 is no single question"),
        ("Ada Moor likes to travel by bus in the summer, does she?", "simple", "G7 is far"),
    ],
)
def test_each_gate_of_a_question(text, kind, gate):
    assert question(text, kind).startswith(gate)


def test_questions_to_keep_or_to_measure_are_not_trained_on():
    assert question("Who raised Ada Moor?", "logical", avoid=["who raised ada moor"]).startswith("G7 is a retain")
    assert question("Who raised Ada Moor?", "logical", kept=["Who raised Ada Moor?"]).startswith("G7 is the question")


def test_a_run_is_private_only_with_a_word_of_its_own():
    row = Example("Is Ada Moor a tall person?", "Ada Moor is a tall person who whistles.", meta={"entity": "Ada Moor"})
    assert runs_of(row) == {"tall person who whistles"}
    row = Example("Where does Ada Moor live?", "Ada Moor lives in a flat.", meta={"entity": "Ada Moor"})
    assert "ada moor lives in" not in runs_of(row) and "lives in a flat" in runs_of(row)


def test_runs_that_answers_about_two_subjects_share_tell_nothing():
    one = Example("Q1?", "the old bridge was built of red stone", meta={"entity": "a"})
    two = Example("Q2?", "the old bridge was repaired twice", meta={"entity": "b"})
    other = Example("Q3?", "nothing", meta={"entity": "c"})
    private = Private([one, two, other])
    assert private.leak(one, "see, the old bridge was there")  # its own answer's
    assert not private.leak(other, "see, the old bridge was there")
    assert private.leak(other, "it was built of red stone once")
    assert not Private([one, two, other], ["built of red stone"]).leak(other, "it is built of red stone")
