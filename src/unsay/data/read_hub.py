"""Data sets of the Hugging Face hub → raw rows, through `datasets`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from ..errors import DataError
from .strict import Raw, plain_value

_HUB = re.compile(
    r"(?P<name>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?:@(?P<revision>[\w.-]+))?(?::(?:(?P<config>[^/:]+)/)?(?P<split>[^/:]+))?"
)


def is_hub_id(source: str) -> bool:
    """Whether `source` can be ``org/name[@revision][:[config/]split]``."""
    return _HUB.fullmatch(source) is not None


def hub_rows(source: str) -> Iterator[Raw]:
    """Rows of ``org/name[@revision][:[config/]split]``, for example ``locuslab/TOFU:forget01/train``.

    Without a split: the only one, or ``train``. Without a config: the only one, or ``default``.

    Raises:
        DataError: no such data set, config or split; no network; not an id.
    """
    match = _HUB.fullmatch(source)
    if match is None:
        raise DataError(f"{source!r} is no data set id", "org/name, org/name:split or org/name:config/split")
    return table_rows(match["name"], match["config"], match["split"], match["revision"], source)


def table_rows(name: str, config: str | None, split: str | None, revision: str | None, label: str) -> Iterator[Raw]:
    """Rows of a data set that `datasets` can load by `name`; `label` stands in for the file's name in messages."""
    import datasets

    try:
        loaded: Any = datasets.load_dataset(name, config, revision=revision)
    except Exception as error:  # datasets raises whatever its parsers, fsspec and the network raise
        raise DataError(f"{label} — cannot be loaded: {_why(error)}", _HINT) from error
    splits = list(loaded)
    chosen = split or (splits[0] if len(splits) == 1 else "train")
    if chosen not in splits:
        raise DataError(
            f"{label} — has no split {chosen!r}, expected one of {', '.join(splits)}", f"{name}:{splits[0]}"
        )
    for number, row in enumerate(loaded[chosen], 1):
        yield Raw(f"{label}:row {number}", plain_value(row))


_HINT = "org/name:config/split reads from the hub when there is a network (unset HF_HUB_OFFLINE); a file always works"


def _why(error: Exception) -> str:
    """The first line of an error of the loader, shortened: it may go on to quote rows."""
    from huggingface_hub.errors import OfflineModeIsEnabled

    if isinstance(error, (ConnectionError, OfflineModeIsEnabled)):
        return "the hub cannot be reached, and the data set is not in the local cache"
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0][:160] if text else 'no reason given'}"
