"""The names that `import unsay` promises exist, and every example in the README parses."""

import re
import shlex

import pytest

import unsay
from unsay.config.decode import read_plan


@pytest.mark.parametrize("name", unsay.__all__)
def test_public_names(name):
    assert getattr(unsay, name).__name__ == name


def test_unknown_name():
    with pytest.raises(AttributeError, match="nothing_like_it"):
        _ = unsay.nothing_like_it


def readme_commands(root) -> list[list[str]]:
    text = (root / "README.md").read_text(encoding="utf-8")
    return [shlex.split(line, comments=True) for line in re.findall(r"^ {4}unsay (.*)$", text, re.M)]


def test_readme_commands_parse(pytestconfig):
    commands = readme_commands(pytestconfig.rootpath)
    assert {c[0] for c in commands} >= {"run", "plan", "evaluate", "list", "show", "report", "doctor"}
    for name, *words in commands:
        if name in ("run", "plan"):
            start = words.pop(0) if "=" not in words[0] else None
            if start == "plan.yaml":
                start = None
            read_plan(start, words)
