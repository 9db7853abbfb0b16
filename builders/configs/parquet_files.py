"""Parquet files whose bytes follow from their content."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    import pyarrow as pa

ROW_GROUP_BYTES = 3_000_000
"""Of Arrow, in a row group. What is in memory at a time is a multiple of it, and who looks at one row fetches its row
group. All configs have the same rows in a row group, so that they have pages in common."""
MAX_ROW_GROUP_ROWS = 10_000
"""So that rows of a few bytes do not make row groups that take long to read."""
COLUMNS_WITH_STATISTICS = ["query_id", "subset", "row", "position", "outcome", "reason", "label", "score"]
"""Columns that readers filter on. The minimum of a passage text helps nobody and would be in every footer."""


def parquet_writer(place: Path | BinaryIO, schema: pa.Schema) -> Any:
    """A writer whose every setting is fixed here, because equal inputs must give equal bytes.

    Chunk boundaries follow the content, with the sizes that `datasets` uses, so that the Hub stores pages that configs
    and releases have in common once.
    """
    import pyarrow.parquet as pq

    return pq.ParquetWriter(
        place,
        schema,
        compression="zstd",
        compression_level=1,
        use_dictionary=["subset", "outcome", "reason", "label", "stages.list.element.stage"]
        + [f"stages.list.element.{name}" for name in ("judge", "label")],
        write_statistics=COLUMNS_WITH_STATISTICS,
        write_page_index=True,
        use_content_defined_chunking={"min_chunk_size": 256 * 1024, "max_chunk_size": 1024 * 1024, "norm_level": 0},
    )


def write_row_group(writer: Any, table: pa.Table, schema: pa.Schema) -> None:
    """Add a table to a file of `parquet_writer`, as one row group."""
    writer.write_table(table.replace_schema_metadata(schema.metadata), row_group_size=table.num_rows)


def with_features(schema: pa.Schema) -> pa.Schema:
    """The schema with the metadata by which `load_dataset` knows the features, whatever the first rows look like."""
    import datasets

    return datasets.Features.from_arrow_schema(schema).arrow_schema
