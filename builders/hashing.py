"""Hashes of several texts, which lengths keep apart: ("ab", "c") is not ("a", "bc")."""

from __future__ import annotations

import hashlib
from typing import Literal


def feed(target: hashlib.blake2b, *texts: str, order: Literal["little", "big"] = "little") -> None:
    """Feed texts, lone surrogates and all, each after its length in this order of bytes."""
    for text in texts:
        data = text.encode("utf-8", "surrogatepass")
        target.update(len(data).to_bytes(8, order))
        if data:
            target.update(data)
