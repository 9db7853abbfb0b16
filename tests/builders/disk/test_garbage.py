"""Garbage is looked for less often for a while, and then as before."""

from __future__ import annotations

import gc

import pytest

from hf_relabel.builders.disk.gc_pause import OBJECTS_BETWEEN_COLLECTIONS, fewer_collections


@pytest.mark.parametrize(
    ("before", "meanwhile"),
    [(700, OBJECTS_BETWEEN_COLLECTIONS), (OBJECTS_BETWEEN_COLLECTIONS + 1, OBJECTS_BETWEEN_COLLECTIONS + 1), (0, 0)],
)
def test_the_users_threshold_comes_back_and_is_never_lowered(before: int, meanwhile: int) -> None:
    users = gc.get_threshold()
    gc.set_threshold(before, 5, 7)
    try:
        with fewer_collections():
            assert gc.get_threshold() == (meanwhile, 5, 7)
        assert gc.get_threshold() == (before, 5, 7)
    finally:
        gc.set_threshold(*users)
