"""Content-addressed cache of measurements and models, shared by all runs: what was computed once is not computed again.

``tables/ab/<key>.<digest>.parquet`` carries the digest of its own bytes in its name; ``models/<key>/`` is a folder
committed with a manifest. Both are verified when read, and a damaged one counts as absent. Any number of processes
may write at once.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import itertools
import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..naming import safe_name
from .atomic import commit_folder, damage, discard, folder_bytes, sweep, write_bytes
from .home import home

_logger = logging.getLogger("unsay")
_SPARED_SECONDS = 3600.0


class Store:
    """Tables and model folders by key.

    Keys are content hashes over everything the value depends on (see `unsay.naming.digest`), so an entry never goes
    stale.

    Args:
        root: Its folder, made when something is first put there; None is ``$UNSAY_HOME/store``.
    """

    def __init__(self, root: Path | str | None = None):
        self.root = Path(root) if root is not None else home() / "store"

    def has(self, key: str) -> bool:
        """Whether there is a table of that key (not verified yet)."""
        return bool(self._tables(key))

    def put_table(self, key: str, columns: Mapping[str, Sequence[Any]]) -> None:
        """Keep a table.

        Args:
            key: A name of 1 to 64 of ``A-Za-z0-9._-``.
            columns: Lists of equal length: numbers, texts, or 1-D numpy arrays of any lengths, whose dtype is kept.

        Raises:
            ResourceError: the disk is full or failed.
        """
        import pyarrow as pa
        from pyarrow import parquet

        buffer = io.BytesIO()
        table = pa.table({name: pa.array(values) for name, values in columns.items()})
        parquet.write_table(table, buffer, compression="zstd")
        data = buffer.getvalue()
        name = f"{safe_name(key)}.{_digest(data)}.parquet"
        write_bytes(self._shard(key) / name, data)
        for other in self._tables(key):
            if other.name != name:
                other.unlink(missing_ok=True)

    def get_table(self, key: str) -> dict[str, list[Any]] | None:
        """The columns: plain values, or a numpy array per row where arrays were put; None when absent or damaged."""
        import pyarrow as pa
        from pyarrow import parquet

        for path in self._tables(key):
            try:
                data = path.read_bytes()
            except FileNotFoundError:
                continue  # pruned meanwhile
            if path.name != f"{key}.{_digest(data)}.parquet":
                _logger.warning("%s is damaged; measuring again", path)
                continue
            _touch(path)
            table = parquet.read_table(pa.BufferReader(data))
            return {name: _column(table.column(name).combine_chunks()) for name in table.column_names}
        return None

    def model(self, key: str) -> Path | None:
        """The folder of a model, compared with its hashes; None when absent or damaged. Read only."""
        folder = self._model(key)
        if not folder.exists():
            return None
        if problem := damage(folder):
            _logger.warning("%s is damaged (%s); making it again", folder, problem)
            return None
        _touch(folder / "MANIFEST.json")
        return folder

    @contextlib.contextmanager
    def put_model(self, key: str, *, expect_bytes: int = 0) -> Iterator[Path]:
        """Yield an empty folder to save a model into; it is there for all when the block ends, and not at all if it
        raises.

        Args:
            key: As in `put_table`.
            expect_bytes: Size of what will be written, if known; refused at once when the disk has less.

        Raises:
            ResourceError: the disk is full or failed.
        """
        sweep(self.root / "models")
        with commit_folder(self._model(key), existing="keep", expect_bytes=expect_bytes) as folder:
            yield folder

    def size(self) -> int:
        """Bytes on disk."""
        return folder_bytes(self.root)

    def prune(self, keep_bytes: int, *, spare_seconds: float = _SPARED_SECONDS) -> int:
        """Remove what was used longest ago until at most `keep_bytes` are left.

        Args:
            keep_bytes: Size to come down to.
            spare_seconds: Entries used more recently stay even so: a running process may be about to read them.

        Returns:
            Bytes removed.
        """
        for folder in [self.root / "models", *self.root.glob("tables/*")]:
            sweep(folder)
        entries = sorted(self._entries())
        left = sum(size for _, size, _ in entries)
        removed = 0
        for used, size, path in entries:
            if left <= keep_bytes or used > time.time() - spare_seconds:
                break
            discard(path)
            left, removed = left - size, removed + size
        return removed

    def _entries(self) -> Iterator[tuple[float, int, Path]]:
        """Time of last use, bytes and path of everything kept."""
        for path in self.root.glob("tables/*/*.parquet"):
            with contextlib.suppress(FileNotFoundError):
                yield path.stat().st_mtime, path.stat().st_size, path
        for path in self.root.glob("models/*/MANIFEST.json"):
            with contextlib.suppress(FileNotFoundError):
                yield path.stat().st_mtime, folder_bytes(path.parent), path.parent

    def _shard(self, key: str) -> Path:
        return self.root / "tables" / safe_name(key)[:2]

    def _model(self, key: str) -> Path:
        return self.root / "models" / safe_name(key)

    def _tables(self, key: str) -> list[Path]:
        """Files of a key; more than one only while writers differ."""
        return sorted(path for path in self._shard(key).glob("*.parquet") if path.name.rsplit(".", 2)[0] == key)


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def _touch(path: Path) -> None:
    with contextlib.suppress(OSError):  # a store may be read-only
        os.utime(path)


def _column(column: Any) -> list[Any]:
    import pyarrow as pa

    if pa.types.is_list(column.type) and pa.types.is_primitive(column.type.value_type):
        values = column.values.to_numpy(zero_copy_only=False)
        offsets = column.offsets.to_numpy()
        return [values[start:end] for start, end in itertools.pairwise(offsets)]
    return list(column.to_pylist())
