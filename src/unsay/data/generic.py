"""The bundled stand-in for a retain set: 200 everyday questions with short answers."""

from __future__ import annotations

from importlib.resources import as_file, files

from .example import Example


def generic_rows() -> list[Example]:
    """200 rows of general knowledge, instructions and small talk, written for this project (Apache-2.0).

    They keep a model able to talk while it forgets; they do not protect what is close to the forget rows. Rows of the
    user's own domain are the better retain set.
    """
    from .read import read_rows

    with as_file(files(__package__).joinpath("generic.jsonl")) as path:
        return read_rows(path, name="retain")
