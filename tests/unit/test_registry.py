"""The folder is the list; reading it imports nothing heavy."""

import subprocess
import sys

import pytest

from unsay import registry
from unsay.errors import PlanError


def python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


HEAVY = "{'torch', 'transformers', 'peft', 'accelerate', 'datasets', 'pandas', 'matplotlib'} & set(sys.modules)"


@pytest.mark.parametrize(
    "code",
    [
        "import unsay",
        "import unsay.cli.app",
        "from unsay import registry; [registry.summary(k, n) for k in registry.KINDS for n in registry.names(k)]",
        "import unsay.metrics.score, unsay.report.report, unsay.runs.run, unsay.config.decode",
    ],
)
def test_light_imports(code):
    assert python(f"import sys; {code}; print({HEAVY})").strip() == "set()"


def test_help_imports_no_torch():
    code = (
        "import sys; sys.argv = ['unsay', '--help']\nfrom unsay.cli.app import main\n"
        f"try:\n    main()\nexcept SystemExit as e:\n    assert not e.code\nprint({HEAVY})"
    )
    assert python(code).strip().splitlines()[-1] == "set()"


@pytest.mark.parametrize("kind", registry.KINDS)
def test_every_name_loads_to_one_class(kind):
    for name in registry.names(kind):
        cls = registry.load(kind, name)
        assert registry.name_of(cls) == name
        assert registry.summary(kind, name)


def test_issue_methods_are_there():
    wanted = ["fine-tune", "retrain", "grad-ascent", "grad-diff", "kl-min", "npo", "sim-npo", "idk", "extrapolate"]
    assert set(wanted) <= set(registry.names("methods"))


@pytest.mark.parametrize("name", registry.names("methods"))
def test_method_headers_have_equation_and_paper(name):
    header = registry.header("methods", name)
    assert "Paper" in header and ("=" in header or "←" in header)


def test_unknown_kind_and_name():
    with pytest.raises(PlanError, match="no such kind"):
        registry.names("colours")
    with pytest.raises(PlanError, match="did you mean 'npo'"):
        registry.header("methods", "nop")
