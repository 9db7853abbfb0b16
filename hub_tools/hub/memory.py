"""Memory of uploads and downloads that stays bounded however many files there are."""

from __future__ import annotations

from contextlib import suppress

_M_MMAP_THRESHOLD = -3  # malloc.h of glibc
_LARGE_BYTES = 2**20


def give_back_large_blocks() -> None:
    """Have the C library return blocks of 1 MiB or more to the system as soon as they are freed, in this process.

    Xet works with blocks of up to 64 MiB in many threads. After the first of them is freed glibc keeps others of up to
    32 MiB for the thread that asked for them (mallopt(3), M_MMAP_THRESHOLD), and its memory grows with the number of
    files: by 270 MB over 24 files of 100 MB, and not at all with this. Does nothing where the C library is another one.
    """
    import ctypes

    with suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
