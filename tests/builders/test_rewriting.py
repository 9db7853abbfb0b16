"""Rewriting on Arrow columns: the same bytes as the way over rows, which is the definition."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_relabel.builders.configs.release import release_from_folder
from hf_relabel.builders.configs.rewriting import rewrite, rewrite_config
from hf_relabel.builders.configs.writing import write_configs
from hf_relabel.builders.errors import BuildError
from hf_relabel.builders.judgements import Outcome, Verdict
from hf_relabel.builders.rows import NumberedRow, Passage, Row
from hf_relabel.builders.techniques import Technique
from tests.examples import drawn

JudgedRow = tuple[NumberedRow, list[Verdict]]


@st.composite
def judged_rows(draw: st.DrawFn) -> list[JudgedRow]:
    """Rows with few different ids and texts, so that false negatives repeat each other and the positives."""
    text = st.sampled_from(["", "a", "b", "日本", "x" * 200])
    passage = st.builds(Passage, docid=st.sampled_from(["", "1", "2", "3"]), title=text, text=text)
    judged: list[JudgedRow] = []
    first = draw(st.integers(0, 3))
    for number in range(first, first + draw(st.integers(0, 12))):
        positives = tuple(draw(st.lists(passage, max_size=3)))
        negatives = tuple(draw(st.lists(passage, max_size=6)))
        row = Row(f"q{number}", draw(text), positives, negatives, draw(st.sampled_from(["", "nq"])))
        verdicts = [
            Verdict(position, negative.docid, draw(st.sampled_from(Outcome)), "judged")
            for position, negative in enumerate(negatives)
        ]
        judged.append((NumberedRow(number, row), verdicts))
    return judged


def built(judged: Sequence[JudgedRow], folder: Path, **options: Any) -> Path:
    write_configs(judged, folder, stage_names=[], **options)
    return folder


def only_file(folder: Path, config: str) -> Path:
    (path,) = (folder / config).glob("*.parquet")
    return path


@given(
    judged=judged_rows(),
    limit=st.integers(0, 3),
    row_group_bytes=st.sampled_from([1, 300, 32_000_000]),
    max_shard_bytes=st.sampled_from([1, 900, 250_000_000]),
)
@drawn(8)
def test_every_technique_gives_the_same_rows(
    judged: list[JudgedRow], limit: int, row_group_bytes: int, max_shard_bytes: int
) -> None:
    with tempfile.TemporaryDirectory() as name:
        settings = {"limit": limit, "row_group_bytes": row_group_bytes, "max_shard_bytes": max_shard_bytes}
        release = release_from_folder(built(judged, Path(name) / "built", **settings))
        for technique in Technique:
            counts = rewrite_config(release, technique, Path(name) / "one.parquet")
            simple = pa.concat_tables([pq.read_table(release.open_file(file)) for file in release.files(technique)])
            assert pq.read_table(Path(name) / "one.parquet").equals(simple)
            changed = release.manifest["configs"][technique]["total"]
            assert counts == {
                "rows_in": changed["rows_in"],
                "rows_out": simple.num_rows,
                "moved": changed["moved"],
                "dropped": sum(changed["dropped"].values()),
            }


@given(judged=judged_rows(), row_group_bytes=st.sampled_from([1, 300, 32_000_000]))
@drawn(5)
def test_a_single_file_has_the_same_bytes(judged: list[JudgedRow], row_group_bytes: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = built(judged, Path(name) / "built", row_group_bytes=row_group_bytes)
        for technique in Technique:
            rewrite_config(release_from_folder(folder), technique, Path(name) / "one.parquet")
            assert (Path(name) / "one.parquet").read_bytes() == only_file(folder, technique).read_bytes()


def some_rows() -> list[JudgedRow]:
    judged = []
    for number in range(20):
        negatives = tuple(Passage(f"{number}-{place}", "", f"text {number} {place}") for place in range(3))
        row = Row(f"q{number}", "a query", (Passage(f"{number}-p", "", "good"),), negatives, "nq")
        outcomes = [Outcome.FALSE_NEGATIVE if place == number % 4 else Outcome.NEGATIVE for place in range(3)]
        verdicts = [Verdict(place, negatives[place].docid, outcome, "judged") for place, outcome in enumerate(outcomes)]
        judged.append((NumberedRow(number, row), verdicts))
    return judged


def test_shards_and_row_groups_of_verdicts_need_not_meet_those_of_the_rows(tmp_path: Path) -> None:
    folder = built(some_rows(), tmp_path / "built", max_shard_bytes=700, row_group_bytes=200)
    assert len(release_from_folder(folder).files("original")) > 2

    rewrite_config(release_from_folder(folder), "relabel", tmp_path / "one.parquet")

    simple = [pq.read_table(folder / name) for name in release_from_folder(folder).files("relabel")]
    assert pq.read_table(tmp_path / "one.parquet").equals(pa.concat_tables(simple))


def test_a_part_of_a_table_is_rewritten_as_it_is(tmp_path: Path) -> None:
    folder = built(some_rows(), tmp_path / "built")
    rows, lines = pq.read_table(only_file(folder, "original")), pq.read_table(only_file(folder, "verdicts"))

    part = rewrite(rows.slice(4, 8), lines.slice(12, 24), Technique.RELABEL, limit=7, first=4).table

    assert part.to_pylist() == pq.read_table(only_file(folder, "relabel")).slice(4, 8).to_pylist()


def test_verdicts_of_another_build_are_refused(tmp_path: Path) -> None:
    folder = built(some_rows(), tmp_path / "built")
    other = built(some_rows()[:-1], tmp_path / "other")
    verdicts = only_file(folder, "verdicts")

    kept = verdicts.read_bytes()
    verdicts.write_bytes(only_file(other, "verdicts").read_bytes())
    with pytest.raises(BuildError, match=r"other negatives than `verdicts` speaks of"):
        rewrite_config(release_from_folder(folder), "relabel", tmp_path / "one.parquet")

    verdicts.write_bytes(kept)
    original = only_file(folder, "original")
    original.write_bytes(only_file(other, "original").read_bytes())
    with pytest.raises(BuildError, match=r"other negatives|does not have"):
        rewrite_config(release_from_folder(folder), "relabel", tmp_path / "one.parquet")
    original.write_bytes(b"PAR1 no such file PAR1")
    with pytest.raises(BuildError, match="cannot be read"):
        rewrite_config(release_from_folder(folder), "relabel", tmp_path / "one.parquet")
