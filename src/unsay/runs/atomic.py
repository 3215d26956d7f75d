"""Files and folders that are whole or not there: written aside, synced, renamed, verified.

A reader never sees half a file, whatever kills the writer. Scratch names start with ``.tmp-`` and are locked (flock)
while their writer lives, so `sweep` can tell a crash's leftovers from another process's work. A folder carries a
MANIFEST.json with the size and SHA-256 of every file; `damage` compares it with what is on disk.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import math
import os
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..errors import DamagedError, ResourceError, RunError, UnsayError
from ..naming import file_digest

MANIFEST = "MANIFEST.json"
SCHEMA_VERSION = 1
Existing = Literal["error", "replace", "keep"]
_SCRATCH = ".tmp-"
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_BROKEN = {errno.EIO, errno.EROFS}
_FORBIDDEN = {errno.EACCES, errno.EPERM}


def write_bytes(path: Path | str, data: bytes) -> None:
    """Replace `path` by `data` in one step; the old content stays whole until then.

    Raises:
        ResourceError: no space, a quota, a read-only or failing disk.
    """
    path = Path(path)
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, scratch = _scratch_file(path)
        try:
            try:
                view = memoryview(data)
                while view:
                    view = view[os.write(handle, view) :]
                os.fsync(handle)
                os.rename(scratch, path)
            finally:
                os.close(handle)
            sync_folder(path.parent)
        except BaseException:
            with contextlib.suppress(OSError):
                scratch.unlink(missing_ok=True)
            raise


def write_text(path: Path | str, text: str) -> None:
    """`write_bytes` of UTF-8 text; lone surrogates, which UTF-8 cannot hold, become ``?``."""
    write_bytes(path, text.encode("utf-8", errors="replace"))


def write_json(path: Path | str, value: Any) -> None:
    """`write_bytes` of indented JSON; NaN and infinities become null, numpy values plain ones."""
    write_text(path, json_text(value, indent=2) + "\n")


def write_jsonl(path: Path | str, rows: Iterable[Any]) -> None:
    """`write_bytes` of one JSON value a line, cleaned as by `write_json`."""
    write_text(path, "".join(json_text(row) + "\n" for row in rows))


def json_text(value: Any, indent: int | None = None) -> str:
    """Strict JSON (no NaN), non-ASCII characters kept."""
    return json.dumps(_clean(value), ensure_ascii=False, indent=indent, allow_nan=False)


def _clean(value: Any) -> Any:
    if isinstance(value, (np.generic, np.ndarray)):
        return _clean(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): _clean(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_clean(item) for item in value]
    return str(value) if isinstance(value, Path) else value


@contextlib.contextmanager
def commit_folder(
    final: Path | str, *, meta: Mapping[str, Any] | None = None, existing: Existing = "error", expect_bytes: int = 0
) -> Iterator[Path]:
    """Yield a scratch folder to fill; leaving the block makes it `final` with a MANIFEST.json, or leaves nothing.

    Every file is synced and hashed, the manifest is written last, the folder renamed, and the result read back and
    compared.

    Args:
        final: Where the folder will be.
        meta: JSON to keep in the manifest; read it back with `read_manifest`.
        existing: What to do when `final` is there: ``error``; ``replace`` it; ``keep`` it, if it is whole, and drop
            the new one.
        expect_bytes: Size of what will be written; a disk with less free space is refused before anything is written.

    Raises:
        RunError: `final` exists and `existing` is ``error``.
        ResourceError: no space, a quota, a read-only or failing disk. Nothing is left behind.
        DamagedError: what was read back is not what was written.
    """
    final = Path(final)
    with disk_errors(final):
        final.parent.mkdir(parents=True, exist_ok=True)
        preflight(final.parent, expect_bytes)
        handle, scratch = _scratch_folder(final)
        try:
            yield scratch
            _seal(scratch, dict(meta or {}))
            _put(scratch, final, existing)
        except BaseException:
            shutil.rmtree(scratch, ignore_errors=True)
            raise
        finally:
            os.close(handle)
    if problem := damage(final):
        raise DamagedError(
            f"{final} was read back damaged right after writing ({problem})",
            "the disk or the memory is faulty; use another one",
        )


def _put(scratch: Path, final: Path, existing: Existing) -> None:
    for _ in range(3):
        try:
            os.rename(scratch, final)  # a folder in the way makes it fail unless it is empty
            sync_folder(final.parent)
            break
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise
            if existing == "error":
                raise RunError(f"{final} exists already", "remove it or choose another place") from None
            if existing == "keep" and not damage(final):
                _remove(scratch)
                return
            discard(final)
    else:
        raise RunError(f"{final} is being written by someone else", "run again when that is over")


def _seal(folder: Path, meta: dict[str, Any]) -> None:
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())
    for name in names:
        if (folder / name).is_symlink():
            raise RunError(f"{name} is a symbolic link; only plain files can be committed", "copy the file instead")
    # The disk syncs while the processor hashes.
    with ThreadPoolExecutor(1) as pool:
        syncs = [pool.submit(_sync_file, folder / name) for name in names]
        files = {
            name: {"bytes": (folder / name).stat().st_size, "sha256": file_digest(folder / name)} for name in names
        }
        for sync in syncs:
            sync.result()
    with open(folder / MANIFEST, "xb") as out:
        out.write(_manifest_bytes({"schema_version": SCHEMA_VERSION, "files": files, "meta": meta}))
        out.flush()
        os.fsync(out.fileno())
    for inner in sorted((path for path in folder.rglob("*") if path.is_dir()), reverse=True):
        sync_folder(inner)
    sync_folder(folder)


def _manifest_bytes(body: Mapping[str, Any]) -> bytes:
    text = json_text(body, indent=1)
    return json_text({**body, "sha256": hashlib.sha256(text.encode()).hexdigest()}, indent=1).encode()


def read_manifest(folder: Path | str) -> dict[str, Any]:
    """The manifest of a committed folder: ``schema_version``, ``files`` {name: {bytes, sha256}} and ``meta``.

    Raises:
        DamagedError: it is missing, altered in any byte, or names files outside the folder.
    """
    path = Path(folder) / MANIFEST
    try:
        raw = path.read_bytes()
        body = json.loads(raw.decode())
        body.pop("sha256")
        whole = _manifest_bytes(body) == raw
        outside = [name for name in body["files"] if Path(name).is_absolute() or ".." in Path(name).parts]
    except OSError as error:
        raise DamagedError(f"{MANIFEST}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise DamagedError(f"{MANIFEST}: not as it was written") from None
    if not whole:
        raise DamagedError(f"{MANIFEST}: not as it was written")
    if outside:
        raise DamagedError(f"{MANIFEST}: names a file outside the folder: {outside[0]!r}")
    if body["schema_version"] != SCHEMA_VERSION:
        raise DamagedError(f"{MANIFEST}: has schema version {body['schema_version']}, expected {SCHEMA_VERSION}")
    return dict(body)


def damage(folder: Path | str, *, quick: bool = False) -> str:
    """What is wrong with a committed folder, such as ``model.safetensors: sha256 differs``; "" when it is whole.

    Args:
        folder: A folder made by `commit_folder`.
        quick: Compare names and sizes only, not the content.
    """
    folder = Path(folder)
    if not folder.is_dir():
        return "not a folder"
    try:
        files = read_manifest(folder)["files"]
    except DamagedError as error:
        return error.message
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if not path.is_dir()}
    for name, said in files.items():
        path = found.pop(name, None)
        if path is None:
            return f"{name}: missing"
        if path.is_symlink():
            return f"{name}: replaced by a symbolic link"
        try:
            if path.stat().st_size != said["bytes"]:
                return f"{name}: {path.stat().st_size} bytes, expected {said['bytes']}"
            if not quick and file_digest(path) != said["sha256"]:
                return f"{name}: sha256 differs"
        except OSError as error:
            return f"{name}: {error.strerror}"
    found.pop(MANIFEST, None)
    return f"{min(found)}: not in the manifest" if found else ""


def folder_bytes(folder: Path | str) -> int:
    """Bytes of all files below a folder; files that vanish meanwhile count nothing."""
    total = 0
    for path in Path(folder).rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            total += 0 if path.is_dir() else path.lstat().st_size
    return total


def preflight(folder: Path, expect_bytes: int) -> None:
    """Refuse to start writing what will not fit (1.3 × `expect_bytes` is asked for).

    Raises:
        ResourceError: less is free.
    """
    need, free = int(1.3 * expect_bytes), shutil.disk_usage(folder).free
    if need > free:
        raise ResourceError(
            f"{folder} has {free / 1e9:.2f} GB free, {need / 1e9:.2f} GB are needed",
            "free some space or choose another disk",
        )


def sweep(folder: Path | str) -> int:
    """Remove what crashed writers left in a folder, and count it; what a living process is writing stays."""
    removed = 0
    for path in Path(folder).glob(f"{_SCRATCH}*"):
        try:
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _remove(path)
            removed += 1
        except OSError:
            pass  # its writer lives
        finally:
            os.close(handle)
    return removed


def discard(path: Path) -> None:
    """Remove a file or folder so that a crash in between leaves a leftover for `sweep`, never a half-removed `path`."""
    aside = path.parent / f"{_SCRATCH}old-{path.name[:100]}-{secrets.token_hex(4)}"
    with contextlib.suppress(FileNotFoundError):
        os.rename(path, aside)
        _remove(aside)


def sync_folder(folder: Path) -> None:
    """Sync a folder to the disk, so that the names in it survive a power cut."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network disks have no such thing for folders
            raise
    finally:
        os.close(handle)


@contextlib.contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn a full or failing disk into a ResourceError that names `path`, a forbidden one into a RunError.

    Libraries written in Rust report the number inside the text of their own exception.
    """
    try:
        yield
    except UnsayError:
        raise
    except Exception as error:
        said = re.search(r"\(os error (\d+)\)", str(error))
        number = error.errno if isinstance(error, OSError) else int(said[1]) if said else None
        if number in _FULL:
            raise ResourceError(
                f"{path} could not be written: {os.strerror(number)}",
                "free some space, then run the same command again",
            ) from error
        if number in _BROKEN:
            raise ResourceError(f"{path} could not be written: {os.strerror(number)}", "use another disk") from error
        if number in _FORBIDDEN:
            raise RunError(
                f"{path} could not be written: {os.strerror(number)}", "choose a folder you may write to"
            ) from error
        raise


def _scratch_file(final: Path) -> tuple[int, Path]:
    while True:
        path = _scratch_name(final)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        if _hold(handle, path):
            return handle, path


def _scratch_folder(final: Path) -> tuple[int, Path]:
    while True:
        path = _scratch_name(final)
        path.mkdir()
        try:
            handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:  # a sweep was faster
            continue
        if _hold(handle, path):
            return handle, path


def _scratch_name(final: Path) -> Path:
    return final.parent / f"{_SCRATCH}{final.name[:100]}-{os.getpid()}-{secrets.token_hex(4)}"


def _hold(handle: int, path: Path) -> bool:
    """Lock a scratch file for as long as it is open; False when a sweep was faster and it is gone."""
    with contextlib.suppress(OSError):  # a disk without flock: nothing is swept there either
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    if path.exists():
        return True
    os.close(handle)
    return False


def _sync_file(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
