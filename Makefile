# No logic here: what each target does is in the package, the tests or bench/.
PYTHON ?= python3.11
BIN := .venv/bin
export TOKENIZERS_PARALLELISM := false
# idle OpenMP threads must not spin on the core that another process needs
export GOMP_SPINCOUNT := 0

.PHONY: demo test test-quick check bench methods uipe unierase relearn lock browser golden

demo: .venv/ready  ## teach, unlearn, measure, attack, report: runs/demo/report.html
	$(BIN)/unsay run demo out=runs/demo --overwrite

test: .venv/ready browser  ## every test: the light ones on all cores, then the real model with the machine to itself
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto -m "not real_model"
	$(BIN)/pytest -m real_model

test-quick: .venv/ready  ## seconds to a few minutes
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto -m "not real_model and not slow and not browser"

check: .venv/ready  ## lint, types, architecture, spelling
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell README.md CONTRIBUTING.md CHANGELOG.md docs src

bench: .venv/ready  ## ratios against the plain loops of bench/, into BENCHMARKS.md
	$(BIN)/python -m bench

methods: .venv/ready  ## every method from its preset on people-small, into docs/methods.md
	$(BIN)/python -m bench.methods

uipe: .venv/ready  ## extrapolation: the trade-off, related knowledge, the coefficient, into docs/uipe.md
	$(BIN)/python -m bench.uipe

relearn: .venv/ready  ## ReLearn against GA and NPO on KnowUnDo, into docs/knowundo.md
	$(BIN)/python -m bench.relearn

unierase: .venv/ready  ## unierase beside other methods: batch, sequential, precise, into docs/unierase.md
	$(BIN)/python -m bench.unierase

lock: .venv/ready  ## write the exact versions that are installed
	$(BIN)/pip freeze --exclude-editable --exclude unsay | sed 's/+cpu$$//' > requirements.lock

browser:
	@command -v chromium >/dev/null && command -v chromedriver >/dev/null || \
	{ apt-get update -qq && apt-get install -y -qq chromium chromium-driver >/dev/null; }

.venv/ready: requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@
