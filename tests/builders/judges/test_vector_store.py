"""Vectors kept on the disk."""

from __future__ import annotations

import logging
import sqlite3

import numpy as np
import pytest

from hf_relabel.builders.judges.offline.vector_store import VectorStore


def vectors(*texts: str, size: int = 256) -> dict[str, np.ndarray]:
    return {text: np.full(size, len(text), dtype=np.float32) for text in texts}


def test_what_was_added_is_found_bit_for_bit() -> None:
    store = VectorStore(10**6)
    given = {"a": np.random.default_rng(0).normal(size=384).astype(np.float32)}
    store.add("document", given)
    found = store.find("document", ["a", "b"])
    assert list(found) == ["a"]
    assert found["a"].tobytes() == given["a"].tobytes()
    assert store.find("query", ["a"]) == {}


def test_lone_surrogates_are_texts_too() -> None:
    store = VectorStore(10**6)
    store.add("document", vectors("\ud800"))
    assert list(store.find("document", ["\ud800"])) == ["\ud800"]


def test_the_oldest_go_where_there_is_no_room() -> None:
    store = VectorStore(2_000_000)  # room for 1,845 of 1,024 bytes
    texts = [f"text {number}" for number in range(6_000)]
    for start in range(0, len(texts), 500):
        store.add("document", vectors(*texts[start : start + 500]))
    kept = store.find("document", texts)
    assert 1_500 < len(kept) < 1_900
    assert texts[-1] in kept
    assert texts[0] not in kept
    database = store._database
    pages, size = (database.execute(f"PRAGMA {what}").fetchone()[0] for what in ("page_count", "page_size"))
    assert pages * size < 2_500_000


def test_more_at_once_than_there_is_room_for_leaves_the_last() -> None:
    store = VectorStore(2_000)
    store.add("document", vectors("a", "b", "c"))
    assert list(store.find("document", ["a", "b", "c"])) == ["c"]


def test_a_full_disk_is_logged_and_lived_with(caplog: pytest.LogCaptureFixture) -> None:
    class Full:
        def execute(self, *_: object) -> None:
            raise sqlite3.OperationalError("database or disk is full")

    store = VectorStore(10**6)
    store._database = Full()  # type: ignore[assignment]
    with caplog.at_level(logging.WARNING):
        store.add("document", vectors("a"))
        store.add("document", vectors("b"))
    assert [record.message for record in caplog.records] == [
        "Vectors are not kept any more, so texts that come again are encoded again: database or disk is full"
    ]
    assert store.find("document", ["a"]) == {}
