"""Which passages are one passage, and which rows ask one query, told by hashes of 63 bits."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from hf_relabel.builders.rows import folded

Ids = tuple[int, int]
"""Two names of one thing. What has one of them in common is the same."""


def passage_ids(text: str, docid: str, subset: str) -> Ids:
    """Hashes of a text and of a docid, which names a passage within its subset only."""
    return _ids(text, docid, subset)


def query_ids(query: str, query_id: str, subset: str) -> Ids:
    """Hashes of a query, whatever its case and blanks, and of its id, which names a query within its subset only."""
    return _ids(folded(query), query_id, subset)


def groups_of(ids: Sequence[Ids]) -> list[int]:
    """A number for each: the same number for those that have a name in common, directly or by way of others."""
    groups: list[int] = []
    first: dict[tuple[int, int], int] = {}
    for number, (text, name) in enumerate(ids):
        found = {first[key] for key in ((0, text), (1, name)) if key in first}
        group = min(found, default=number)
        if len(found) > 1:
            groups = [group if each in found else each for each in groups]
            first = {key: group if each in found else each for key, each in first.items()}
        first[0, text] = first[1, name] = group
        groups.append(group)
    return groups


def _ids(text: str, name: str, subset: str) -> Ids:
    of_text = _hash(text)
    return of_text, _hash(f"{subset}\n{name}") if name else of_text


def _hash(value: str) -> int:
    """63 bits: never the 0 of a padding, and unique for any batch."""
    digest = hashlib.blake2b(value.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return (int.from_bytes(digest) >> 1) | 1
