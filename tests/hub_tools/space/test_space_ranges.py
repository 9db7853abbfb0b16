"""Parts of Parquet files, which come from others: what is read is what pyarrow reads of the whole, or refused."""

from __future__ import annotations

import io
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_relabel.builders.configs.release import Release, release_from_folder
from hf_relabel.builders.errors import BuildError
from hf_relabel.hub_tools.space.data import ranges
from hf_relabel.hub_tools.space.data.files import RangedFile
from hf_relabel.hub_tools.space.data.kept import ByteLimited
from hf_relabel.hub_tools.space.data.ranges import ConfigFiles, opened
from tests.examples import drawn
from tests.hub_tools.space_data import built


@drawn(8)
@given(
    st.lists(
        st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=30), max_size=4), min_size=1, max_size=60
    ),
    st.integers(1, 30),
    st.sampled_from([100, 1_000, 100_000]),
    st.sampled_from(["zstd", "snappy", "none"]),
    st.sampled_from(["1.0", "2.0"]),
    st.booleans(),
)
def test_rows_are_read_from_pages_of_any_kind(
    texts: list[list[str]], group_rows: int, page_bytes: int, compression: str, pages: str, dictionary: bool
) -> None:
    """Lists, nulls, dictionaries, both versions of pages: row by row what pyarrow reads as a whole."""
    lists = [None if len(each) == 3 else [{"text": text, "number": len(text)} for text in each] for each in texts]
    table = pa.table({"row": range(len(texts)), "lists": lists, "plain": [each[0] if each else None for each in texts]})
    out = io.BytesIO()
    pq.write_table(
        table, out, row_group_size=group_rows, data_page_size=page_bytes, compression=compression,
        data_page_version=pages, use_dictionary=dictionary, write_page_index=True, write_batch_size=4,
    )  # fmt: skip
    files = files_of(out.getvalue(), len(texts))
    whole = pq.read_table(io.BytesIO(out.getvalue())).to_pylist()
    for group in files.groups():
        for first in range(group.rows):
            count = min(2, group.rows - first)
            assert files.rows(group, first, count) == whole[group.first + first : group.first + first + count]


class _Memory:
    def __init__(self, content: bytes) -> None:
        self.content = content
        self.fetched = 0

    def fetch(self, path: str, start: int, stop: int) -> bytes:
        self.fetched += stop - start
        return self.content[start:stop]


def files_of(content: bytes, rows: int) -> ConfigFiles:
    entry = {"bytes": len(content), "rows": rows, "sha256": ""}
    manifest = {"files": {"made/train-0.parquet": entry}, "settings": {"techniques": []}}
    parts = opened(Release("made", None, manifest, Path), None, None, 10_000_000)
    parts.files = _Memory(content)
    return parts.config("made")


@drawn(60)
@given(st.data())
def test_a_damaged_footer_or_page_is_refused_or_harmless(data: st.DataObject) -> None:
    """Whatever byte is wrong: a line that says so, or rows (a checksum is what `verify` looks at), and nothing else."""
    content = bytearray(CONTENT)
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    files = files_of(bytes(content), 40)
    with suppress(BuildError):
        for group in files.groups():
            files.rows(group, 0, group.rows)
            files.read(group, ["row"])


def _made() -> bytes:
    table = pa.table({"row": range(40), "lists": [[{"text": f"text {n}" * 9}] * (n % 3) for n in range(40)]})
    out = io.BytesIO()
    pq.write_table(table, out, row_group_size=15, data_page_size=100, write_page_index=True, write_batch_size=4)
    return out.getvalue()


CONTENT = _made()


def test_a_row_is_fetched_with_its_row_group_and_then_its_neighbours_are_there(tmp_path: Path) -> None:
    release = release_from_folder(built(tmp_path / "large", 60, row_group_bytes=9_000, max_shard_bytes=50_000_000))
    path = release.files("original")[0]
    files = files_of((tmp_path / "large" / path).read_bytes(), 60)
    memory: Any = files.files
    group = files.group_with_line(30)
    before = memory.fetched
    files.rows(group, 30 - group.first, 1)
    assert 0 < memory.fetched - before < 0.5 * len(memory.content)
    before = memory.fetched
    assert len(files.rows(group, 0, group.rows)) == group.rows > 1
    assert memory.fetched == before


def test_a_row_group_too_large_to_be_kept_is_read_piece_by_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranges, "_WHOLE_BYTES", 0)
    monkeypatch.setattr(ranges, "_PART_ROWS", 4)
    files = files_of(CONTENT, 40)
    footer = sum(files.cache.bytes for _ in files.groups_of(0)[:1])
    whole = pq.read_table(io.BytesIO(CONTENT)).to_pylist()
    for group in files.groups():
        for first in range(group.rows - 2):
            start = group.first + first
            assert files.rows(group, first, 3) == whole[start : start + 3]
    assert files.cache.bytes == footer


@pytest.mark.parametrize("run_bytes", [0, 2_000, 10_000_000])
def test_small_row_groups_are_read_together(run_bytes: int) -> None:
    files = files_of(CONTENT, 40)
    runs = list(files.runs(run_bytes))
    assert {0: 3, 10_000_000: 1}.get(run_bytes, 2) == len(runs)
    tables = [files.read(run, ["row"]) for run in runs]
    assert [run.rows for run in runs] == [table.num_rows for table in tables]
    assert [run.first for run in runs] == [table["row"][0].as_py() for table in tables]
    assert pa.concat_tables(tables)["row"].to_pylist() == list(range(40))


def test_what_was_fetched_is_not_asked_for_again() -> None:
    memory = _Memory(bytes(range(256)) * 4_000)
    file = RangedFile(memory, "made", len(memory.content))
    with ThreadPoolExecutor(2) as pool:
        file.fetch([(1_000_000, 1_000_100), (10, 20), (200, 300)], pool)
        with pytest.raises(ValueError, match="a part that it does not have"):
            file.fetch([(0, 2_000_000)], pool)
    assert memory.fetched == 290 + 100
    for start, stop in ((10, 300), (1_000_000, 1_000_100)):
        file.seek(start)
        assert file.read(stop - start) == memory.content[start:stop]
    assert memory.fetched == 390
    assert file.read() == memory.content[1_000_100:]
    assert memory.fetched == 390 + len(memory.content) - 1_000_100
    file.seek(-1)
    with pytest.raises(ValueError, match="a part that it does not have"):
        file.read(1)


def test_who_wants_what_is_being_read_waits_for_it() -> None:
    cache, made, begun, go = ByteLimited(100), [], threading.Event(), threading.Event()

    def make() -> str:
        made.append("once")
        begun.set()
        assert go.wait(10)
        return "value"

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(cache.get_or_make, "key", make, len)
        assert begun.wait(10)
        second = pool.submit(cache.get_or_make, "key", make, len)
        go.set()
        assert (first.result(10), second.result(10)) == ("value", "value")
    assert made == ["once"]
