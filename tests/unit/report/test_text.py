import json
import math

import pytest

from unsay.report.text import interval, island, number, percent, seconds, shorten, size, visible


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "␛[31mred␛[0m"),
        ("a\x00b\x07\r\n\tc", "a␀b␇␍\n\tc"),
        ("\u202egnp.exe\u202c", "⟨U+202E⟩gnp.exe⟨U+202C⟩"),
        ("\u2066x\u2069\u200f", "⟨U+2066⟩x⟨U+2069⟩⟨U+200F⟩"),
        ("a\u2028b\u2029", "a⟨U+2028⟩b⟨U+2029⟩"),
        ("\ud800", "⟨U+D800⟩"),
        ("\x9b31m\x7f", "⟨U+009B⟩31m␡"),
        ("hid\U000e0041den\ufeff\u200b", "hid⟨U+E0041⟩den⟨U+FEFF⟩⟨U+200B⟩"),
        ("Zoë, 日本語, नमस्ते, 👩‍👩‍👧, می‌خواهم", "Zoë, 日本語, नमस्ते, 👩‍👩‍👧, می‌خواهم"),
    ],
)
def test_acting_characters_are_shown_and_others_left_alone(raw, shown):
    assert visible(raw) == shown


@pytest.mark.parametrize("text", ["</script><script>x", "<!--<script>", "]]>", "&lt;", "a\u2028b\u2029c", "\\u003c"])
def test_island_cannot_end_its_element_and_reads_back(text):
    made = island({"t": text})
    assert not set("<>&\u2028\u2029") & set(made)
    assert json.loads(made) == {"t": text}


def test_island_refuses_nan():
    with pytest.raises(ValueError):
        island([math.nan])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"), (math.nan, "–"), (math.inf, "–"), (0.0, "0.000"), (0.41249, "0.412"), (-0.5, "−0.500"),
        (1.9e-5, "1.9e-05"), (12.345, "12.3"), (1234.5, "1,234"), (3.2e8, "3.20e+08"),
    ],
)  # fmt: skip
def test_number(value, text):
    assert number(value) == text


def test_small_forms():
    assert interval((0.314, 0.526), 2) == "[0.31, 0.53]"
    assert interval(None) == ""
    assert [percent(x).replace("\u00a0", " ") for x in (0.41, 0.001, 0.0, -0.12)] == ["41 %", "< 1 %", "0 %", "−12 %"]
    assert [seconds(x) for x in (4.21, 59, 187, 7500)] == ["4.2 s", "59 s", "3 min 07 s", "2 h 05 min"]
    assert [size(x) for x in (8.12e8, 5.44e9)] == ["812 MB", "5.4 GB"]
    assert shorten("abcdef", 4) == "abcd … (2 more characters)"
    assert shorten("abcd", 4) == "abcd"
