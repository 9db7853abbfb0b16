"""Samples of a source."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.rows import Passage, Row
from hf_relabel.builders.sources import open_source
from hf_relabel.builders.sources.samples import PRESETS, Sample, content_hash, proportional


def rows(**sizes: int) -> list[Row]:
    return [
        Row(f"{subset}-{i}", f"query {i}", (Passage("p", "", "yes"),), (), subset)
        for subset, size in sizes.items()
        for i in range(size)
    ]


def drawn(sample: Sample, given_rows: list[Row]) -> list[Row]:
    choice = sample.choose(given_rows)
    return [row for row in given_rows if row in choice]


def sizes(given_rows: list[Row]) -> dict[str, int]:
    return dict(Counter(row.subset for row in given_rows))


def test_counts_per_subset() -> None:
    sample = Sample.per_subset({"nq": 30, "fever": 500})
    assert sizes(drawn(sample, rows(nq=3000, fever=100, fiqa=50))) == {"nq": 30, "fever": 100}


def test_a_total_is_shared_out_in_proportion() -> None:
    assert sizes(drawn(Sample.total(100), rows(nq=600, fever=300, fiqa=99))) == {"nq": 60, "fever": 30, "fiqa": 10}


def test_a_fraction_of_each_subset() -> None:
    assert sizes(drawn(Sample.fraction(0.1), rows(nq=600, fever=304, fiqa=5))) == {"nq": 60, "fever": 30, "fiqa": 1}


def test_a_preset_of_the_paper_knows_the_subsets_by_their_other_names() -> None:
    assert sum(PRESETS["rlhn-680k"].values()) == 680_223
    kept = drawn(Sample.preset("rlhn-100k"), rows(MSMARCO=50_000, NQ=6_200, unknown=10))
    assert sizes(kept) == {"MSMARCO": 49_571, "NQ": 6_110}


def test_the_choice_depends_on_the_seed_and_not_on_the_order() -> None:
    some = rows(nq=200)
    first = drawn(Sample.total(50, seed=1), some)
    assert set(drawn(Sample.total(50, seed=1), some[::-1])) == set(first)
    assert set(drawn(Sample.total(50, seed=2), some)) != set(first)


def test_repeated_rows_are_counted_one_by_one() -> None:
    repeated = rows(nq=10) * 3
    for size in range(31):
        assert len(drawn(Sample.total(size), repeated)) == size


@given(st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 60), min_size=1), st.integers(0, 200))
def test_a_total_is_exact(some: dict[str, int], total: int) -> None:
    given_rows = rows(**some)
    assert len(drawn(Sample.total(total), given_rows)) == min(total, len(given_rows))
    shares = proportional(some, total)
    assert all(0 <= shares[name] <= size for name, size in some.items())


def test_the_hash_is_of_the_whole_row() -> None:
    one = Row("q", "query", (Passage("p", "", "yes"),), (), "nq")
    others = [
        Row("q", "query", (Passage("p", "y", "es"),), (), "nq"),
        Row("q", "query", (), (Passage("p", "", "yes"),), "nq"),
        Row("q", "query", (Passage("p", "", "yes"),), (), "fever"),
    ]
    assert content_hash(one) == content_hash(Row("q", "query", (Passage("p", "", "yes"),), (), "nq"))
    assert content_hash(one) not in map(content_hash, others)


def test_a_source_is_sampled_after_its_subsets_are_chosen_and_before_the_limit(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_bytes(b"\n".join(orjson.dumps(row.to_dict()) for row in rows(nq=100, fever=100)))
    sampled = open_source(file, subset="nq", sample=Sample.total(40))
    kept = [numbered.row for numbered in sampled.rows()]
    assert sizes(kept) == {"nq": 40}
    assert [numbered.number for numbered in sampled.rows()] == list(range(40))
    limited = open_source(file, subset="nq", sample=Sample.total(40), limit=5)
    assert [numbered.row for numbered in limited.rows()] == kept[:5]
    assert limited.describe()["sample"] == {"total": 40, "seed": 0}


def test_mistakes_are_said() -> None:
    with pytest.raises(ConfigError, match="rlhn-100k"):
        Sample.preset("rlhn-1k")
    with pytest.raises(ConfigError, match="above 0"):
        Sample.fraction(1.5)
    with pytest.raises(ConfigError, match="exactly one"):
        Sample()
    with pytest.raises(ConfigError, match="fewer than 0"):
        Sample.total(-1)
    with pytest.raises(ConfigError, match="The source has: nq"):
        Sample.per_subset({"fevre": 3}).choose(rows(nq=3))
