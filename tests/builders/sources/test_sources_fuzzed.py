"""Whatever the fields hold, a record becomes a row or a `BadRow`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from hf_relabel.builders.errors import BadRow
from hf_relabel.builders.rows import Passage, Row, arrow_schema, text_docid
from hf_relabel.builders.sources import FORMATS, Context, Source, open_source
from hf_relabel.builders.sources.columns import Unbound
from tests.examples import drawn

PASSAGE = {"docid": "d", "title": "t", "text": "yes"}
GOOD: dict[str, dict[str, Any]] = {
    "tevatron": {"query": "q", "positive_passages": [PASSAGE], "negative_passages": [PASSAGE, {"text": "no"}]},
    "flagembedding": {"query": "q", "pos": ["yes"], "neg": ["no"]},
    "triplet": {"anchor": "q", "positive": "yes", "negative": "no"},
    "n-tuple": {"anchor": "q", "positive": "yes", "negative_1": "no", "negative_2": "never"},
    "labeled-list": {"query": "q", "docs": ["yes", "no"], "labels": [1, 0]},
}
GOOD["dpr"] = {"question": "q", "positive_ctxs": [PASSAGE], "hard_negative_ctxs": [{"text": "no", "passage_id": 3}]}
GOOD["msmarco"] = {"query": "q", "passages": {"is_selected": [1, 0], "passage_text": ["yes", "no"]}}
GOOD["negative-list"] = {"query": "q", "positive": "yes", "negatives": ["no"]}
GOOD["labeled-pairs"] = {"query": "q", "passage": "yes", "label": 1}
GOOD["pairs"] = {"query": "q", "positive": "yes"}
GOOD["beir"] = GOOD["tevatron"]
GOOD["rlhn-replies"] = GOOD["tevatron"] | {"response": "none", "finish_reason": ["stop"]}
HERE = Context("fuzzed.jsonl", 1, "fuzz")

# Text may hold lone surrogates here, and numbers may be NaN: Python values can, even where JSON cannot.
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(), max_size=8)
    | st.binary(max_size=3)
)
passages = st.fixed_dictionaries(
    {}, optional={"docid": scalars, "title": scalars, "text": st.text(max_size=5) | scalars, "other": scalars}
)
values = st.recursive(
    scalars | passages,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@st.composite
def spoiled(draw: st.DrawFn, name: str) -> dict[str, Any]:
    """A good record with some fields left out and others holding anything."""
    good = GOOD[name]
    fields = st.sampled_from([*good, "query_id", "subset", "negative_7", "other"])
    kept = {field: value for field, value in good.items() if field not in draw(st.sets(fields, max_size=1))}
    return kept | draw(st.dictionaries(fields, values, min_size=1, max_size=2))


@pytest.mark.parametrize("name", FORMATS)
@drawn(40)
@given(data=st.data())
def test_a_row_or_a_bad_row_and_nothing_else(name: str, data: st.DataObject) -> None:
    format, record = FORMATS[name], data.draw(spoiled(name))
    try:
        format.bound_if_fits(record, {})
    except Unbound as unbound:
        unbound.remedy.encode("utf-8", "replace")
    try:
        row = format.convert(record, HERE)
        if format.reply is not None:
            format.reply(record, HERE)
    except BadRow as bad:
        str(bad).encode()
    else:
        assert row.query.strip()
        assert row.positive_passages or format.groups == "query"
        assert row.query_id
        json.dumps(row.to_dict(), ensure_ascii=False).encode()


def rows_of(source: Source) -> list[Row]:
    return [numbered.row for numbered in source.rows()]


clean = st.text(max_size=12)
visible = clean.filter(lambda text: bool(text.strip()))
titled = st.builds(lambda title, text: Passage(text_docid(title, text), title, text), clean, visible)
good_rows = st.builds(
    Row,
    query_id=visible,
    query=visible,
    positive_passages=st.lists(titled, min_size=1, max_size=3).map(tuple),
    negative_passages=st.lists(titled, max_size=3).map(tuple),
    subset=visible,
)


@drawn(25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(good_rows, min_size=1, max_size=5))
def test_rows_come_back_from_json_lines_and_from_parquet(rows: list[Row], tmp_path: Path) -> None:
    plain, table = tmp_path / "rows.jsonl", tmp_path / "rows.parquet"
    plain.write_bytes(b"".join(json.dumps(row.to_dict()).encode() + b"\n" for row in rows))
    pq.write_table(pa.Table.from_pylist([row.to_dict() for row in rows], arrow_schema()), table)
    for file in (plain, table):
        assert rows_of(open_source(file)) == rows


@drawn(40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=st.lists(
        st.binary(max_size=40) | spoiled("flagembedding").map(lambda record: repr(record).encode("utf-8", "replace"))
    )
)
def test_a_file_of_anything_is_rows_or_skipped(content: list[bytes], tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    good = b'{"query": "q", "pos": "p", "neg": []}\n'
    file.write_bytes(good + b"\n".join(content))
    source = open_source(file, format="flagembedding", skip_bad_rows=True)
    assert rows_of(source)[0].query == "q"
