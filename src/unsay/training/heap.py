"""Keep freed memory for the next step instead of handing it back to the system after every micro-batch."""

from __future__ import annotations

import contextlib
import ctypes
import platform
from collections.abc import Iterator

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # numbers of glibc's mallopt
_LARGE = 32 << 20
_KEEP_ALL, _DEFAULT = 2**31 - 1, 128 << 10


@contextlib.contextmanager
def steady_heap() -> Iterator[None]:
    """While training, let glibc's malloc keep what is freed below 32 MB a block.

    By default it gives the top of its heap back as soon as a micro-batch's activations are freed, and the system fills
    the same pages with zeros again at the next one: gigabytes a step. Larger blocks stay mappings of their own, so that
    the heap does not break into pieces. Affects the whole process; at the end the defaults are put back and free memory
    is returned. Does nothing where the C library is not glibc.
    """
    if platform.libc_ver()[0] != "glibc":
        yield
        return
    libc = ctypes.CDLL("libc.so.6")
    libc.mallopt(_MMAP_THRESHOLD, _LARGE)
    libc.mallopt(_TRIM_THRESHOLD, _KEEP_ALL)
    try:
        yield
    finally:
        libc.mallopt(_MMAP_THRESHOLD, _DEFAULT)
        libc.mallopt(_TRIM_THRESHOLD, _DEFAULT)
        libc.malloc_trim(0)
