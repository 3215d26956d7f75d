"""Keep freed memory for the next step instead of handing it back to the system after every tensor."""

from __future__ import annotations

import contextlib
import ctypes
import platform
from collections.abc import Iterator

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # numbers of glibc's mallopt
_KEEP_ALL, _DEFAULT_TRIM, _DEFAULT_MMAP_MAX = 2**31 - 1, 128 * 1024, 65536


@contextlib.contextmanager
def steady_heap() -> Iterator[None]:
    """While training, let glibc's malloc serve large tensors from its heap and keep what is freed.

    By default every tensor above 32 MB is a fresh mapping whose pages the system fills with zeros at first touch; a
    training step makes and frees gigabytes of those. Affects the whole process; the defaults are put back, and free
    memory is returned, at the end. Does nothing where the C library is not glibc.
    """
    if platform.libc_ver()[0] != "glibc":
        yield
        return
    libc = ctypes.CDLL("libc.so.6")
    libc.mallopt(_MMAP_MAX, 0)
    libc.mallopt(_TRIM_THRESHOLD, _KEEP_ALL)
    try:
        yield
    finally:
        libc.mallopt(_MMAP_MAX, _DEFAULT_MMAP_MAX)
        libc.mallopt(_TRIM_THRESHOLD, _DEFAULT_TRIM)
        libc.malloc_trim(0)
