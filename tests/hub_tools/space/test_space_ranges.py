"""Footers and page headers of Parquet, which come from others: what is read is what pyarrow reads, or refused."""

from __future__ import annotations

import io
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_relabel.builders.configs.release import Release, release_from_folder
from hf_relabel.builders.errors import BuildError
from hf_relabel.hub_tools.space.data.ranges import ConfigFiles, opened
from hf_relabel.hub_tools.space.data.thrift import BINARY, DOUBLE, I32, I64, LIST, STRUCT, TRUE, Reader, Struct, written
from tests.examples import drawn
from tests.hub_tools.space_data import built


def footer_of(path: Path) -> bytes:
    content = path.read_bytes()
    length = int.from_bytes(content[-8:-4], "little")
    return content[-8 - length : -8]


def test_a_footer_that_is_read_and_written_is_the_same(tmp_path: Path) -> None:
    for path in built(tmp_path / "release", 40).rglob("*.parquet"):
        footer = footer_of(path)
        assert written(Reader(footer).struct()) == footer


def values(depth: int) -> st.SearchStrategy[tuple[int, Any]]:
    plain = [
        st.tuples(st.just(TRUE), st.booleans()),
        st.tuples(st.sampled_from([I32, I64]), st.integers(-(2**63), 2**63 - 1)),
        st.tuples(st.just(DOUBLE), st.floats(allow_nan=False)),
        st.tuples(st.just(BINARY), st.binary(max_size=20)),
    ]
    if depth:
        plain.append(st.tuples(st.just(STRUCT), structs(depth - 1)))
        lists = [
            st.tuples(st.just(I64), st.lists(st.integers(-(2**63), 2**63 - 1), max_size=20)),
            st.tuples(st.just(STRUCT), st.lists(structs(depth - 1), max_size=3)),
            st.tuples(st.just(TRUE), st.lists(st.booleans(), max_size=20)),
        ]
        plain.append(st.tuples(st.just(LIST), st.one_of(lists)))
    return st.one_of(plain)


def structs(depth: int) -> st.SearchStrategy[Struct]:
    fields = st.dictionaries(st.integers(1, 40), values(depth), max_size=5)
    return fields.map(lambda found: Struct(dict(sorted(found.items()))))


@settings(deadline=None)
@given(structs(2))
def test_structs_come_back_as_they_were(value: Struct) -> None:
    read = Reader(written(value)).struct()
    assert written(read) == written(value)
    assert set(read.fields) == set(value.fields)


@given(st.binary(max_size=200))
def test_bytes_that_are_no_struct_are_refused(content: bytes) -> None:
    with suppress(BuildError):
        assert isinstance(Reader(content).struct(), Struct)


def test_a_struct_in_a_struct_in_a_struct_ends_somewhere() -> None:
    with pytest.raises(BuildError, match="nested too deep"):
        Reader(b"\x1c" * 10_000).struct()
    with pytest.raises(BuildError, match="longer than itself"):
        Reader(b"\x19\xf8\xff\xff\xff\xff\x0f").struct()


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


@pytest.mark.soak
def test_few_bytes_are_fetched_for_a_row(tmp_path: Path) -> None:
    folder = built(tmp_path / "large", 60, characters=60_000, row_group_bytes=6_000_000, max_shard_bytes=50_000_000)
    release = release_from_folder(folder)
    path = release.files("original")[0]
    files = files_of((folder / path).read_bytes(), 60)
    memory: Any = files.files
    group = files.group_with_line(30)
    files.rows(group, 30 - group.first, 1)
    assert memory.fetched < 0.4 * len(memory.content)
    before = memory.fetched
    files.rows(group, 30 - group.first, 1)
    assert memory.fetched == before
