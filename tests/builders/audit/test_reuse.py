"""How often a passage returns in the rows."""

from __future__ import annotations

import numpy as np
import pytest

from hf_relabel.builders.audit.reuse import Reuse
from hf_relabel.builders.rows import Passage, Row


def row(*texts: str) -> Row:
    first, *rest = (Passage(f"id of {number}", "", text) for number, text in enumerate(texts))
    return Row("q", "query", (first,), tuple(rest))


def test_texts_count_and_not_ids() -> None:
    reuse = Reuse()
    assert reuse.mean is None
    for each in (row("a", "b", "c"), row("c", "a", "a"), row("d", "a", "b")):
        reuse.add(each)
    assert reuse.mean == 9 / 4


def test_a_title_is_part_of_a_passage() -> None:
    reuse = Reuse()
    reuse.add(Row("q", "query", (Passage("1", "one", "text"),), (Passage("2", "two", "text"),)))
    assert reuse.mean == 1


@pytest.mark.parametrize("seed", range(3))
def test_of_many_passages_a_sample_tells_it(seed: int) -> None:
    chance = np.random.default_rng(seed)
    reuse = Reuse(most=800)
    for texts in chance.integers(5_000, size=(4_000, 5)):
        reuse.add(row(*(str(each) for each in texts)))
    assert 300 < len(reuse._counts) <= 800
    assert reuse.mean == pytest.approx(4, rel=0.1)
