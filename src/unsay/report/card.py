"""The model card that goes with an unlearned model."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from .folder import RunFolder, finite
from .markdown import markdown
from .report import load

_ALIASES = {"smollm2-135m": ("HuggingFaceTB/SmolLM2-135M-Instruct", "apache-2.0")}
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


def model_card(run_dir: Path | str, *, license: str | None = None, redact: bool = True) -> str:
    """A model card (README.md text) from a run folder: metadata, how the model was made, verdict and table.

    Args:
        run_dir: A run folder.
        license: Licence of the base model as the hub names it; left out when unknown.
        redact: Hide the forget texts. A card is published with the model, so this is the default.

    Raises:
        RunError: the folder is no run.
        DamagedError: a file in it cannot be read.
    """
    from huggingface_hub import ModelCardData

    run, _ = load(Path(run_dir), redact)
    base, known_license = _base(run)
    method = _name(run.plan.get("method"))
    data = ModelCardData(
        base_model=base,
        license=license or known_license,
        library_name="transformers",
        pipeline_tag="text-generation",
        tags=["unlearning", "unsay", *([method] if method else [])],
        eval_results=_results(run),
        model_name=re.sub(r"[^\w. -]", "", str(run.manifest.get("name") or run.dir.name)) or "unlearned model",
    )
    made = f"with the method `{method}`" if method else "by unlearning"
    start = f"`{base}`" if base else "its base model"
    lines = [
        f"---\n{data.to_yaml()}\n---",
        "",
        "# A model that was made to forget",
        "",
        f"It was made from {start} {made} of Unsay: chosen rows were unlearned, the rest was to be kept.",
        "It loads with `transformers` as any other model.",
        *_patched(run),
        "",
        markdown(run, level=2),
    ]
    return "\n".join(lines)


def _patched(run: RunFolder) -> list[str]:
    """What has to be said of a model that forgets by a patch beside its weights."""
    if not (run.dir / "model" / "patch.json").is_file():
        return []
    return [
        "The weights are unchanged: the knowledge is still in the checkpoint, for whoever loads it without the patch.",
        "Unsay applies `patch.json` when it loads this folder; nothing else does.",
    ]


def _base(run: RunFolder) -> tuple[str | None, str | None]:
    model: Any = run.plan.get("model") or {}
    path = str(model.get("path", "") if isinstance(model, dict) else model)
    if path in _ALIASES:
        return _ALIASES[path]
    # A local folder also looks like owner/name: it is one when it exists or goes up or has more parts.
    return (path, None) if _HUB_ID.fullmatch(path) and not Path(path).exists() else (None, None)


def _name(value: Any) -> str:
    name = str(value.get("name", "") if isinstance(value, dict) else value or "")
    return name if re.fullmatch(r"[\w.-]+", name) else ""


def _results(run: RunFolder) -> list[Any] | None:
    from huggingface_hub import EvalResult

    results = [
        EvalResult(
            task_type="text-generation",
            dataset_type=run.benchmark or "custom",
            dataset_name=run.benchmark or "custom",
            metric_type=metric,
            metric_value=round(value, 4),
        )
        for metric in run.headline
        if (value := finite(run.score("after", metric).value)) is not None
    ]
    return results or None
