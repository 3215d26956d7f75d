"""Hostile files, each with the message it must get. Every file holds a secret that no message may repeat."""

import gzip
import io
import json
import re
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from unsay.data.read import read_rows
from unsay.errors import DataError

SECRET = "Zanzibarbara"
GOOD = f'{{"question": "Who? {SECRET}", "answer": "She. {SECRET}"}}'


def line(**row):
    return json.dumps(row)


def table(**columns):
    out = io.BytesIO()
    pq.write_table(pa.table(columns), out)
    return out.getvalue()


def archive():
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as handle:
        handle.writestr("forget.jsonl", GOOD)
    return out.getvalue()


def qa(extra):
    return f'{{"question": "Who? {SECRET}", "answer": "She. {SECRET}", {extra}}}'


LINES = {  # contents of line 2 of a JSONL file whose other lines are good → the message
    "cut off": (GOOD[:-9], "not valid JSON: Unterminated string starting at column"),
    "no comma": ('{"question": "a" "answer": "b"}', "not valid JSON: Expecting ',' delimiter at column 18"),
    "single quotes": ("{'question': 'a', 'answer': 'b'}", "not valid JSON: Expecting property name"),
    "two rows on a line": (GOOD + GOOD, "more text follows the row at column"),
    "trailing comma": (GOOD + ",", "more text follows the row at column"),
    "a list": (f'["{SECRET}", "b"]', "the row is a list — expected an object with prompt+completion"),
    "a string": (f'"{SECRET}"', f"the row is text of {len(SECRET)} characters — expected an object"),
    "a number": ("5", "the row is a number — expected an object"),
    "null": ("null", "the row is null — expected an object"),
    "duplicate key": (
        f'{{"question": "a", "answer": "{SECRET}", "answer": "c"}}',
        "key 'answer' is given twice — keep one",
    ),
    "duplicate key below": (qa('"meta": {"a": 1, "a": 2}'), "key 'a' is given twice"),
    "NaN": (qa('"score": NaN'), "holds NaN, which is not JSON — use null or a number"),
    "minus infinity": (qa('"score": -Infinity'), "holds -Infinity, which is not JSON"),
    "1e999": (qa('"score": 1e999'), "holds a number too large to keep"),
    "5,000 digits": (qa('"score": ' + "9" * 5000), "holds a number too long to keep"),
    "NUL": (line(question="a", answer=f"{SECRET}\x00"), "holds a NUL character — remove it"),
    "NUL in a key": (qa('"k\\u0000": 1'), "holds a NUL character"),
    "lone surrogate": (qa('"note": "\\ud83d"'), "holds half of a surrogate pair"),
    "raw control character": ('{"question": "a\x01", "answer": "b"}', "not valid JSON: Invalid control character at"),
    "deep list": (qa('"x": ' + "[" * 40 + "]" * 40), "nested more than 32 levels deep"),
    "very deep": (qa('"x": ' + "[" * 100_000 + "]" * 100_000), "nested more than 32 levels deep"),
    "unclosed depth": ("[" * 100_000, "nested more than 32 levels deep"),
    "null answer": (line(question="a", answer=None), "`answer` is null — write the text"),
    "missing answer": (
        line(question=SECRET),
        "no prompt and answer among the keys ('question') — expected prompt+completion",
    ),
    "empty object": ("{}", "no prompt and answer among the keys (none)"),
    "other names": (line(Query=SECRET, gold="b"), "rename 'Query' to question and 'gold' to answer"),
    "mixed names": (line(question=SECRET, completion="b"), "rename 'question' to question and 'completion' to answer"),
    "labels beside text": (line(text=SECRET, labels="b"), "`text` with 'labels' beside it"),
    "two shapes": (line(question="a", answer="b", text=SECRET), "question+answer and text at once — keep one of them"),
    "number for an answer": (line(question="a", answer=1984), "`answer` is a number — expected text, so put quotes"),
    "bool for an answer": (line(question="a", answer=True), "`answer` is true or false — expected text"),
    "object for a question": (line(question={"t": SECRET}, answer="b"), "`question` is an object — expected text"),
    "empty answer": (line(question=SECRET, answer=""), "`answer` is empty — write the text"),
    "blank answer": (line(question=SECRET, answer=" \n\t"), "`answer` is only whitespace"),
    "empty question": (line(question="", answer=SECRET), "`question` is empty"),
    "empty text": (line(text=" "), "`text` is only whitespace"),
    "messages as text": (
        line(messages=SECRET),
        f"`messages` is text of {len(SECRET)} characters — expected a list of messages",
    ),
    "no messages": (line(messages=[]), "`messages` is an empty list"),
    "message without role": (line(messages=[{"content": SECRET}]), "message 1 of `messages` has no known role"),
    "tool role": (line(messages=[{"role": "tool", "content": SECRET}]), "message 1 of `messages` has no known role"),
    "ends with user": (line(messages=[{"role": "user", "content": SECRET}]), "does not end with a user's turn and"),
    "no user": (
        line(messages=[{"role": "system", "content": SECRET}, {"role": "assistant", "content": "b"}]),
        "does not end with a user's turn and the assistant's answer",
    ),
    "late system": (
        line(messages=[{"role": r, "content": SECRET} for r in ("user", "system", "user", "assistant")]),
        "message 2 of `messages` is a system turn — expected it first",
    ),
    "picture": (
        line(messages=[{"role": "user", "content": [{"type": "image"}]}]),
        "has content that is a list — expected text",
    ),
    "tool calls": (
        line(messages=[{"role": "user", "content": "a", "tool_calls": [SECRET]}]),
        "message 1 of `messages` has 'tool_calls' — only role and content are read",
    ),
    "empty turn": (
        line(messages=[{"role": "user", "content": " "}, {"role": "assistant", "content": SECRET}]),
        "message 1 of `messages` is empty",
    ),
    "prompt ends with assistant": (
        line(prompt=[{"role": "assistant", "content": SECRET}], completion="b"),
        "`prompt` ends with the assistant — expected the user's turn last",
    ),
    "two completions": (
        line(prompt="a", completion=[{"role": "user", "content": "b"}, {"role": "assistant", "content": SECRET}]),
        "`completion` has 2 messages — expected text, or one message of the assistant",
    ),
    "number for an entity": (line(question="a", answer="b", entity=7), "`entity` is a number — expected text"),
    "list for an id": (line(question="a", answer="b", id=[SECRET]), "`id` is a list — expected text of 1 to 200"),
    "bool for an id": (line(question="a", answer="b", id=True), "`id` is true or false — expected text of 1 to 200"),
    "empty id": (line(question="a", answer="b", id=""), "`id` is empty — expected text"),
    "number in perturbed": (
        line(question="a", answer="b", perturbed_answer=[SECRET, 3]),
        "`perturbed_answer` has an entry that is a number",
    ),
    "empty paraphrase": (
        line(question="a", answer="b", paraphrased_answer=""),
        "`paraphrased_answer` has an entry that is empty",
    ),
    "alternatives a list": (
        line(question="a", answer="b", alternatives=[SECRET]),
        "`alternatives` is a list — expected an object",
    ),
    "Latin-1": ("naïve".encode("latin-1"), "not UTF-8 at byte 3 of the line"),
}

FILES = {  # name, contents → the message
    "empty": ("f.jsonl", b"", "f.jsonl — the file is empty"),
    "only blank lines": ("f.jsonl", b"\n \n\r\n", "no rows for forget"),
    "gzip": ("f.jsonl", gzip.compress(GOOD.encode()), "the file is compressed with gzip: unpack it"),
    "zip": ("f.json", archive(), "the file is a zip archive"),
    "UTF-16": ("f.jsonl", GOOD.encode("utf-16"), "the file is UTF-16: save it as UTF-8"),
    "Parquet by another name": ("f.jsonl", table(question=["a"]), "the file is a Parquet file: call it .parquet"),
    "no known ending": ("f.txt", GOOD.encode(), "f.txt — cannot tell its format from its name"),
    "JSON object": ("f.json", b'{"rows": []}', "neither a list nor an object with a list under 'data'"),
    "JSON data no list": ("f.json", b'{"data": {"a": 1}}', "neither a list nor an object with a list under 'data'"),
    "JSON empty list": ("f.json", b"[]", "no rows for forget"),
    "JSON cut off": ("f.json", b"[" + GOOD.encode() + b",", "f.json — not valid JSON"),
    "JSON no comma": ("f.json", f"[{GOOD} {GOOD}]".encode(), "expected , or ] after row 1"),
    "JSON comma at the end": ("f.json", f"[{GOOD},]".encode(), "a comma before the closing ] after row 1"),
    "JSON text after the list": ("f.json", f"[{GOOD}] [{GOOD}]".encode(), "more text follows the list"),
    "JSON data given twice": ("f.json", b'{"data": [1], "data": [2]}', "key 'data' is given twice"),
    "JSON key twice in a row": (
        "f.json",
        b'{"data": [\n{"text": "a", "text": "b"}]}',
        "f.json:2 — key 'text' is given twice",
    ),
    "JSON text after the object": ("f.json", b'{"data": []} {}', "more text follows the object"),
    "JSON object cut off": ("f.json", b'{"data": [', "f.json â not valid JSON".encode("latin-1").decode()),
    "JSON that is JSONL": ("f.json", f"{GOOD}\n{GOOD}".encode(), "neither a list nor an object"),
    "JSON deep": ("f.json", b"[" * 50_000, "nested more than 32 levels deep"),
    "JSON Latin-1": ("f.json", b'[\n{"question": "\xe9"}]', "f.json:2 — not UTF-8"),
    "JSON bad row": (
        "f.json",
        b'[\n{"question": "a",\n "answer": 3},\n{"text": 4}]',
        "f.json:2 — `answer` is a number",
    ),
    "JSON NaN row": ("f.json", f"[{GOOD},\n{qa(chr(34) + 's' + chr(34) + ': NaN')}]".encode(), "f.json:2 — holds NaN"),
    "CSV header only": ("f.csv", b"question,answer\n", "no rows for forget"),
    "CSV short line": ("f.csv", f"question,answer\na,b\n{SECRET}\n".encode(), "f.csv:3 — 1 cells for 2 columns"),
    "CSV long line": ("f.csv", f"question,answer\na,{SECRET},c\n".encode(), "f.csv:2 — 3 cells for 2 columns"),
    "CSV column twice": (
        "f.csv",
        b"question,answer,answer\na,b,c\n",
        "f.csv:1 — column names are missing or given twice",
    ),
    "CSV column without name": ("f.csv", b"question,answer,\na,b,c\n", "f.csv:1 — column names are missing"),
    "CSV stray quote": ("f.csv", f'question,answer\na,b\n"a"{SECRET},b\n'.encode(), "f.csv:3 — broken quoting"),
    "CSV open quote": ("f.csv", f'question,answer\na,"{SECRET}\nc,d\n'.encode(), "f.csv:2 — broken quoting"),
    "CSV semicolons": ("f.csv", b"question;answer\na;b\n", "no prompt and answer among the keys ('question;answer')"),
    "CSV empty answer": ("f.csv", b"question,answer\na,\n", "f.csv:2 — `answer` is empty"),
    "CSV Latin-1": ("f.csv", b"question,answer\na,b\n\xe9,c\n", "f.csv:3 — not UTF-8"),
    "CSV NUL": ("f.csv", b"question,answer\na,b\x00\n", "f.csv:2 — holds a NUL character"),
    "Parquet damaged": ("f.parquet", b"PAR1" + b"x" * 60, "not a Parquet file, or a damaged one"),
    "Parquet cut off": ("f.parquet", table(question=["a"], answer=["b"])[:-20], "not a Parquet file, or a damaged one"),
    "Parquet null": ("f.parquet", table(question=["a", "b"], answer=["c", None]), "f.parquet:row 2 — `answer` is null"),
    "Parquet numbers": ("f.parquet", table(question=["a"], answer=[5]), "f.parquet:row 1 — `answer` is a number"),
    "Parquet bytes": (
        "f.parquet",
        table(question=["a"], answer=["b"], raw=[b"x"]),
        "holds bytes, which is no text, number",
    ),
    "Parquet NaN": ("f.parquet", table(question=["a"], answer=["b"], s=[float("nan")]), "holds NaN or Infinity"),
}


@pytest.mark.parametrize("name", LINES)
def test_bad_line(name, tmp_path):
    bad, message = LINES[name]
    path = tmp_path / "f.jsonl"
    bad = bad if isinstance(bad, bytes) else bad.encode()
    path.write_bytes(b"\n".join([GOOD.encode(), bad, GOOD.replace("Who", "Why").encode()]) + b"\n")
    with pytest.raises(DataError) as error:
        read_rows(path)
    found = [p for p in error.value.problems if message in p]
    assert found, error.value.problems
    assert re.match(r"f\.jsonl:2 — .+ — .+", found[0])
    assert error.value.problems[-1] == "forget: 1 of 3 rows are malformed"
    assert "data.skip_invalid=1" in error.value.hint
    assert SECRET not in str(error.value)
    assert len(read_rows(path, skip_invalid=1)) == 2


@pytest.mark.parametrize("name", FILES)
def test_bad_file(name, tmp_path):
    file, content, message = FILES[name]
    path = tmp_path / file
    path.write_bytes(content)
    with pytest.raises(DataError) as error:
        read_rows(path)
    assert message in str(error.value), str(error.value)
    assert SECRET not in str(error.value)
    assert error.value.exit_code == 2


def test_a_line_longer_than_the_limit_does_not_swallow_the_next(tmp_path):
    path = tmp_path / "f.jsonl"
    path.write_text(f"{GOOD}\n{line(text='a' * (16 * 2**20))}\n{GOOD.replace('Who', 'Why')}\n{line(text=3)}\n")
    with pytest.raises(DataError) as error:
        read_rows(path)
    assert error.value.problems == [
        "f.jsonl:2 — longer than 16 MiB — split the text into rows",
        "f.jsonl:4 — `text` is a number — expected text, so put quotes around it",
        "forget: 2 of 4 rows are malformed",
    ]


def test_all_problems_at_once_and_twenty_shown(tmp_path):
    path = tmp_path / "f.jsonl"
    path.write_text("\n".join(line(question="a", answer=i, entity=i) for i in range(30)))
    with pytest.raises(DataError) as error:
        read_rows(path)
    assert len(error.value.problems) == 61
    assert error.value.message.count("\n") == 20
    assert "… and 41 more" in error.value.message


def test_skipping_has_a_cap(tmp_path, caplog):
    path = tmp_path / "f.jsonl"
    path.write_text(f"{GOOD}\nx\ny\n")
    with pytest.raises(DataError, match="2 of 3 rows are malformed"):
        read_rows(path, skip_invalid=1)
    assert len(read_rows(path, skip_invalid=2)) == 1
    assert "2 of 3 malformed rows left out" in caplog.text
    with pytest.raises(DataError, match="skip_invalid is -1"):
        read_rows(path, skip_invalid=-1)


def test_rows_that_are_all_malformed_are_not_skipped_to_nothing(tmp_path):
    path = tmp_path / "f.jsonl"
    path.write_text("x\ny\n")
    with pytest.raises(DataError, match="no rows for forget"):
        read_rows(path, skip_invalid=5)


def test_an_id_given_twice(tmp_path):
    path = tmp_path / "f.jsonl"
    path.write_text("\n".join([line(text="a", id=1), line(text="b", id="2"), line(text="c", id="1")]))
    with pytest.raises(DataError, match=r"f.jsonl:3 — `id` is the one of f.jsonl:1"):
        read_rows(path)
