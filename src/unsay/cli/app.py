"""The command line: documents in, exit codes out. Nothing heavy is imported before a command needs it."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from ..errors import PlanError, UnsayError
from .audit import audit
from .augment import augment
from .bench import bench
from .exports import export
from .imports import imports
from .probe import probe
from .selftest import selftest
from .words import numbers, start

app = typer.Typer(
    name="unsay",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="""Make a language model forget chosen data, and show how far it really forgot.

    [bold]Start here[/bold]

      unsay run demo                                            the whole path on a small bundled benchmark
      unsay run model=PATH forget=forget.jsonl retain=retain.jsonl
      unsay plan tofu-forget01 method=npo                       what would run, and where each value comes from
      unsay list methods · unsay show npo                       what there is, with equation and paper

    Settings are [cyan]key=value[/cyan] words on a plan: a YAML file, a preset, or nothing.
    Exit codes: 0 done, 2 bad input, 4 damaged files, 5 no disk or memory, 6 collapsed, 75 interrupted (rerun resumes).
    """,
)
app.add_typer(imports, name="import")
app.command("export")(export)
app.command("augment")(augment)
app.command("audit")(audit)
app.add_typer(bench, name="bench")
app.add_typer(probe, name="probe")
app.add_typer(selftest, name="selftest")
out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

Words = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[PLAN] [KEY=VALUE]...",
        help="A plan file or preset name, then settings: train.lr=1e-5 method=npo method.beta=0.2",
        show_default=False,
    ),
]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


@app.command()
def run(
    words: Words = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a run folder that holds another plan.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bars.")] = False,
    debug: Debug = False,
) -> None:
    """Unlearn, measure before and after, attack, report. A rerun of the same plan resumes.

    [bold]Examples[/bold]

      unsay run demo out=runs/demo
      unsay run model=Qwen/Qwen2.5-0.5B-Instruct forget=forget.jsonl retain=retain.jsonl method=npo method.beta=0.2
      unsay run plan.yaml train.epochs=3 model.adapter.rank=16
    """
    from ..config.decode import read_plan
    from . import show

    plan, _ = read_plan(*start(words))
    from ..pipeline import execute

    with show.reporter(quiet) as reporter:
        done = execute(plan, command=["unsay", *sys.argv[1:]], reporter=reporter, overwrite=overwrite)
    show.outcome(out, done.dir)


@app.command()
def plan(words: Words = None, debug: Debug = False) -> None:
    """Print the resolved plan as YAML, with where each value came from. Redirect it to a file to keep it.

    [bold]Examples[/bold]

      unsay plan tofu-forget01 method=npo
      unsay plan demo train.epochs=3 > plan.yaml
    """
    from ..config.decode import encode, read_plan, resolved
    from ..config.yaml12 import dump
    from . import show

    found, sources = read_plan(*start(words))
    out.print(show.annotated(dump(encode(resolved(found))), sources), markup=False, soft_wrap=True)


@app.command()
def evaluate(
    target: Annotated[
        str, typer.Argument(help="A run folder, or a model folder, hub id or alias; with --endpoint the server's name.")
    ],
    words: Words = None,
    benchmark: Annotated[
        str, typer.Option("--benchmark", "-b", help="What to measure on: 'unsay list benchmarks'.")
    ] = "",
    harness: Annotated[
        str, typer.Option("--harness", help="Tasks of lm-evaluation-harness to ask: mmlu,gsm8k,wmdp_bio.")
    ] = "",
    endpoint: Annotated[
        str,
        typer.Option("--endpoint", help="A server with OpenAI's interface that has the model: http://host:8000/v1."),
    ] = "",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bars.")] = False,
    debug: Debug = False,
) -> None:
    """Measure a finished run's models (or any model) on a benchmark. What was measured before is not measured again.

    [bold]Examples[/bold]

      unsay evaluate runs/mine --benchmark tofu benchmark.path=data/tofu
      unsay evaluate smollm2-135m --benchmark people
      unsay evaluate runs/mine metrics=calibrated-strength,exposure
      unsay evaluate runs/mine --harness mmlu,gsm8k harness.limit=100
      unsay evaluate my-model --endpoint http://localhost:8000/v1 --benchmark people endpoint.parallel=8

    An endpoint gives answers alone: what needs token probabilities is unscored there.
    """
    from . import show

    changes = list(words or [])
    if endpoint:
        from ..endpoint import evaluate_endpoint

        named = [f"benchmark={benchmark}"] if benchmark else []
        if harness:
            raise PlanError("--harness asks models on this machine, not an endpoint", "leave one of them out")
        with show.reporter(quiet) as reporter:
            folder = evaluate_endpoint(target, endpoint, [*named, *changes], reporter=reporter)
        show.outcome(out, folder)
        return
    if harness:
        from ..harness import evaluate_harness

        ours = [word for word in changes if not benchmark or word.startswith(("harness.", "model."))]
        with show.reporter(quiet) as reporter:
            folder = evaluate_harness(target, harness.split(","), ours, reporter=reporter)
        show.outcome(out, folder)
        if not benchmark:
            return
        changes = [word for word in changes if not word.startswith("harness.")]
    if benchmark:
        changes.insert(0, f"benchmark={benchmark}")
    from ..pipeline import evaluate as measure

    with show.reporter(quiet) as reporter:
        folder = measure(target, changes, reporter=reporter)
    show.outcome(out, folder)


@app.command()
def line(
    target: Annotated[str, typer.Argument(help="The folder of a finished run.")],
    at: Annotated[str, typer.Option("--at", help="Places s, separated by commas.")] = "",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bars.")] = False,
    debug: Debug = False,
) -> None:
    """Walk the line before + s·(after − before): calibrated below s = 1, extrapolated (UIPE) above. Writes RUN/line.

    [bold]Examples[/bold]

      unsay line runs/demo
      unsay line runs/demo --at 0,0.5,1,1.5,2
    """
    from ..line import PLACES
    from ..line import line as walk
    from . import show

    places = [float(place) for place in numbers(at, "--at")] if at else PLACES
    with show.reporter(quiet) as reporter:
        folder = walk(target, places, reporter=reporter)
    out.print((folder / "line.md").read_text(encoding="utf-8"), markup=False, soft_wrap=True)
    out.print(f"picture {folder / 'line.svg'}", markup=False, soft_wrap=True)


@app.command()
def extrapolate(
    before: Annotated[Path, typer.Argument(help="Folder of the model before unlearning.")],
    after: Annotated[Path, typer.Argument(help="Folder of the model after it.")],
    to: Annotated[Path, typer.Argument(metavar="OUT", help="New folder for the result.")],
    alpha: Annotated[
        float, typer.Option("--alpha", help="How much further than after: 0 is after, −1 before, −0.5 half way back.")
    ] = 0.5,
    debug: Debug = False,
) -> None:
    """Write before + (1 + α)·(after − before) (UIPE), from folder to folder, with one tensor in memory at a time.

    [bold]Examples[/bold]

      unsay extrapolate models/taught runs/mine/model models/further --alpha 0.5
      unsay evaluate models/further --benchmark tofu
    """
    from ..models.stream import write_between

    done = write_between(before, after, 1 + alpha, to)
    out.print(f"{done.tensors} tensors, {done.parameters:,} parameters → {done.folder}", markup=False, soft_wrap=True)
    if done.swallowed:
        share = done.swallowed / done.parameters
        note = f"{share:.1%} of the parameters moved less than the file's dtype can hold and stayed as in after"
        err.print(f"note: {note}", markup=False, soft_wrap=True)


@app.command()
def report(
    target: Annotated[Path, typer.Argument(help="A run folder.")],
    redact: Annotated[
        bool | None, typer.Option("--redact/--no-redact", help="Hide the texts of the forget rows.", show_default=False)
    ] = None,
    debug: Debug = False,
) -> None:
    """Write report.html and report.md of a run (or audit.html and audit.md of an audit) again, from its files alone."""
    from ..report.report import write_report
    from . import show

    (show.audited if write_report(target, redact=redact).name == "audit.html" else show.outcome)(out, target)


@app.command("list")
def list_names(
    kind: Annotated[
        str,
        typer.Argument(
            help="methods, metrics, benchmarks, attacks, presets; writers (of refusals and alternatives), and what a "
            "gradient method can be combined with: tokens (which count), combiners, stops."
        ),
    ],
    debug: Debug = False,
) -> None:
    """List what there is, one line each."""
    from . import show

    show.listing(out, kind)


@app.command("show")
def show_name(
    name: Annotated[str, typer.Argument(help="Anything that unsay list names.")],
    debug: Debug = False,
) -> None:
    """Show one thing: its equation, paper, limits and settings."""
    from . import show

    show.details(out, name)


@app.command()
def doctor(
    words: Words = None,
    debug: Debug = False,
) -> None:
    """Say what this machine has, and check a plan's model and data without training. Paste its output into bug reports.

    [bold]Examples[/bold]

      unsay doctor
      unsay doctor model=PATH forget=forget.jsonl retain=retain.jsonl
    """
    from . import doctor as checks

    checks.machine(out)
    if words:
        checks.inputs(out, *start(words))


def main() -> None:
    """Entry point: errors raised on purpose become two lines and their exit code."""
    debug = "--debug" in sys.argv
    logging.basicConfig(level=logging.DEBUG if debug else logging.WARNING, format="%(name)s: %(message)s")
    try:
        app()
    except UnsayError as error:
        if debug:
            raise
        err.print("error:", style="bold red", end=" ")
        err.print(error.message, markup=False, soft_wrap=True)
        if error.hint:
            err.print("hint:", style="bold", end=" ")
            err.print(error.hint, markup=False, soft_wrap=True)
        sys.exit(error.exit_code)
