"""The changes between two releases as a data set: a folder that `load_dataset(folder, "diff")` loads.

diff/train-00000-of-00001.parquet     one line for each change, see `changes_schema`
diff.json                             the counts
README.md                             front matter that names the config, and what the columns mean
"""

from __future__ import annotations

import contextlib
import itertools
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_relabel.builders.differences.counts import Difference
from hf_relabel.builders.disk.atomic_folder import NewFolder, new_folder
from hf_relabel.builders.errors import BuildError

if TYPE_CHECKING:
    import pyarrow as pa

COUNTS_NAME = "diff.json"
CHANGES_NAME = "diff/train-00000-of-00001.parquet"
README_NAME = "README.md"
ROW_GROUP_ROWS = 20_000

_README = """\
---
configs:
- config_name: diff
  data_files:
  - split: train
    path: diff/train-*
  default: true
---
# Changes from `{before}` to `{after}`

`load_dataset(folder, "diff")` gives one line for each change, `{counts}` the counts.{empty}

| column | meaning |
|---|---|
| `kind` | `row_added`, `row_dropped`, `row_changed` or `verdict_changed` |
| `subset`, `query_id` | the row |
| `row_before`, `row_after` | its number in `original`, null where it is not there |
| `fields` | what differs in a changed row: `query`, `positive_passages`, `negative_passages` |
| `docid`, `position_before`, `position_after` | the candidate whose verdict changed, and its places in the row |
| `outcome_before`, `outcome_after`, `reason_before`, `reason_after` | the verdicts |
| `by` | the stages whose labels differ, with judges and labels; empty where the rule alone made the change |
"""
_EMPTY = " Nothing differs; load_dataset reads a config without rows only with `streaming=True`."


def changes_schema() -> pa.Schema:
    """The Arrow schema of the `diff` config. The fields are those of `differences.Change`."""
    import pyarrow as pa

    label = [("stage", pa.string())]
    label += [(f"{what}_{side}", pa.string()) for what in ("judge", "label") for side in ("before", "after")]
    verdict = [(f"{what}_{side}", pa.string()) for what in ("outcome", "reason") for side in ("before", "after")]
    return pa.schema(
        [
            ("kind", pa.string()),
            ("subset", pa.string()),
            ("query_id", pa.string()),
            ("row_before", pa.int64()),
            ("row_after", pa.int64()),
            ("fields", pa.list_(pa.string())),
            ("docid", pa.string()),
            ("position_before", pa.int32()),
            ("position_after", pa.int32()),
            *verdict,
            ("by", pa.list_(pa.struct(label))),
        ]
    )


def changes_folder(folder: Path, changes: Iterable[Difference], counts: Callable[[], Mapping[str, Any]]) -> None:
    """Write changes as they come, in bounded memory. The folder appears complete or not at all.

    Args:
        counts: gives the content of diff.json, with the names of the two sides, once all changes have been read.

    Raises:
        BuildError: there is a folder that this did not write, or it cannot be written.
    """
    with new_folder(folder, is_ours=_is_ours) as building:
        _write_changes(building, changes)
        found = counts()
        with building.disk_errors():
            text = json.dumps(found, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
            building.write(COUNTS_NAME, text.encode("utf-8", "backslashreplace"))
            building.write(README_NAME, _readme(found).encode())
            building.keep_others(ours=[CHANGES_NAME, COUNTS_NAME, README_NAME])


def _write_changes(building: NewFolder, changes: Iterable[Difference]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from hf_relabel.builders.configs.parquet_files import with_features

    schema = with_features(changes_schema())
    path = building.path / CHANGES_NAME
    with building.disk_errors():
        path.parent.mkdir()
        # Every setting is fixed, because equal inputs must give equal bytes.
        writer = pq.ParquetWriter(path, schema, compression="zstd", compression_level=1, write_page_index=True)
    try:
        remaining = iter(changes)
        while batch := [asdict(change) for change in itertools.islice(remaining, ROW_GROUP_ROWS)]:
            with building.disk_errors():
                writer.write_table(pa.Table.from_pylist(batch, schema), row_group_size=len(batch))
    except BaseException:
        with contextlib.suppress(OSError):  # On a full disk closing fails as well, and the folder is thrown away.
            writer.close()
        raise
    with building.disk_errors():
        writer.close()


def _readme(counts: Mapping[str, Any]) -> str:
    # The names come from a path or from a user: what could be markup is left out.
    before, after = (re.sub(r"[^\w./@: -]", "_", counts[side]["name"]) for side in ("before", "after"))
    rows = counts["rows"]["total"]
    lines = rows["added"] + rows["dropped"] + rows["changed"] + counts["candidates"]["total"]["verdict_changed"]
    return _README.format(before=before, after=after, counts=COUNTS_NAME, empty="" if lines else _EMPTY)


def _is_ours(folder: Path) -> bool:
    """Whether a folder may be replaced: it is empty, or holds changes that were written before."""
    if any(folder.iterdir()) and not (folder / COUNTS_NAME).is_file():
        raise BuildError(f"{folder} is not empty and holds no changes that hf-relabel wrote. Give another folder.")
    return True
