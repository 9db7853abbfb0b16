"""Events as files of the config `human`, and back."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import fields
from typing import TYPE_CHECKING

from hf_relabel.hub_tools.space.people.answer_events import Event, event_of

if TYPE_CHECKING:
    import pyarrow as pa

_MOST_LINES = 1_000_000


def events_schema() -> pa.Schema:
    """The Arrow schema of the config, with the fields of `Event`."""
    import pyarrow as pa

    return pa.schema([(field.name, pa.int64() if field.type == "int" else pa.string()) for field in fields(Event)])


def parquet_of(events: Iterable[Event]) -> bytes:
    """Events as a Parquet file that tells `load_dataset` its features. The same events give the same bytes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from hf_relabel.builders.configs.parquet_files import with_features

    table = pa.Table.from_pylist([event.to_dict() for event in events], events_schema())
    out = io.BytesIO()
    pq.write_table(table.cast(with_features(events_schema())), out, compression="zstd", compression_level=3)
    return out.getvalue()


def events_in_parquet(content: bytes) -> tuple[list[Event], int]:
    """The events in a file of the config, and how many of its lines are none."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(io.BytesIO(content)) as file:
            if file.metadata.num_rows > _MOST_LINES:
                return [], int(file.metadata.num_rows)
            lines = file.read().to_pylist()
    except (OSError, pa.ArrowException, UnicodeDecodeError, ValueError):
        return [], 1
    events = [event for event in map(event_of, lines) if event is not None]
    return events, len(lines) - len(events)
