"""Hashes by which saved answers, drawn items and rows of releases are found again: what they were, they stay."""

from __future__ import annotations

import hashlib

from hf_relabel.builders.audit.selection import draw
from hf_relabel.builders.differences.reading import digest
from hf_relabel.builders.hashing import feed
from hf_relabel.builders.journal.keys import JudgeIdentity
from hf_relabel.builders.judgements import Label
from hf_relabel.builders.judges.prompted.fencing import digest_of
from tests.builders.audit.test_audit import candidate


def fed(*texts: str) -> str:
    target = hashlib.blake2b(digest_size=8)
    feed(target, *texts)
    return target.hexdigest()


def test_texts_are_kept_apart_by_their_lengths() -> None:
    assert len({fed("ab", "c"), fed("a", "bc"), fed("abc"), fed("abc", ""), fed("", "abc")}) == 5
    assert fed("\ud800") != fed("?")


def test_what_was_saved_by_a_hash_is_found_again() -> None:
    drawn = candidate(7, Label.BETTER, text="Ærø \ud800")
    [key] = JudgeIdentity("listwise", "m", "r", {"wording": "w", "wordings": {}}).keys()(drawn.row, [0])
    [item] = draw(lambda _: [drawn], 1, seed=3).items
    assert [key.hex(), item.id, digest("a", "bc"), digest_of("a", "bc").hex()[:16]] == [
        "8a43e22457064001c8d3d25b2d389139",
        "f5f1762d7cd841d9",
        "f14abc19c330e936bb9c8506d69bac9b",
        "1a867ce4c94ebddb",
    ]
