"""Reading what was built: the rows and verdicts of a folder of configs, or of a release that came from one.

Everything streams: no more than some hundred rows are in memory at a time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from hf_relabel.builders.cascade.suspects import Opinion, Suspect
from hf_relabel.builders.config_names import SUSPECTS, config_names
from hf_relabel.builders.configs.arrow_batches import complete
from hf_relabel.builders.configs.layout import VERDICTS
from hf_relabel.builders.configs.manifest import read_manifest
from hf_relabel.builders.configs.verdict_records import verdicts_from_records
from hf_relabel.builders.disk.parquet import record_batches
from hf_relabel.builders.errors import BuildError
from hf_relabel.builders.judgements import Verdict
from hf_relabel.builders.messages.expecting import PATH, expects
from hf_relabel.builders.messages.nearest import did_you_mean
from hf_relabel.builders.rows import NumberedRow, Passage, Row
from hf_relabel.builders.techniques import Technique, canonical

_BATCH_ROWS = 64
_BATCH_LINES = 1024


@dataclass(frozen=True)
class Release:
    """A built folder, or a release on the Hub, opened for reading.

    Example:
            release = open_release("user/train-relabeled@v1.0.0")
            for numbered in release.rows():
                print(numbered.row.query)

    Attributes:
        name: the folder, or `user/repo@revision`.
        revision: the commit, None for a folder.
        manifest: the content of its manifest.json.
        open_file: gives the local path of one of the manifest's files, downloading it if it must.
    """

    name: str
    revision: str | None
    manifest: Mapping[str, Any]
    open_file: Callable[[str], Path]

    def files(self, config: str) -> list[str]:
        """The Parquet files of a config, in order. `zones` is `relabel-filter`.

        Raises:
            BuildError: there is no such config.
        """
        files = sorted(name for name in self.manifest["files"] if name.startswith(f"{canonical(config)}/"))
        if not files:
            known = config_names(self.manifest["settings"])
            near = did_you_mean(str(config), known)
            raise BuildError(f"{self.name} has no config {str(config)!r}.{near} It has: {', '.join(known)}.")
        return files

    def rows(self, config: str = Technique.ORIGINAL) -> Iterator[NumberedRow]:
        """The rows of a config, numbered from the first row of the source it was built from."""
        first = self.manifest["rows"]["first"]
        for number, record in enumerate(self._records(config, _BATCH_ROWS), start=first):
            yield NumberedRow(number, row_of(record))

    def verdict_records(self) -> Iterator[dict[str, Any]]:
        """The lines of the `verdicts` config, see `arrow_batches.verdicts_schema`."""
        return self._records(VERDICTS, _BATCH_LINES)

    def suspect_reader(self) -> Callable[[NumberedRow], list[Suspect]] | None:
        """What tells the suspected ground truths of a row, if it is asked for the rows in order. None where the release
        has no config of them."""
        if not self.manifest["settings"].get("suspects"):
            return None
        by_row = groupby(self._records(SUSPECTS, _BATCH_LINES), key=lambda record: int(record["row"]))
        read = ((number, [_suspect(record) for record in records]) for number, records in by_row)
        waiting = next(read, None)

        def suspects_of(numbered: NumberedRow) -> list[Suspect]:
            nonlocal waiting
            if waiting is None or waiting[0] != numbered.number:
                return []
            found, waiting = waiting[1], next(read, None)
            return found

        return suspects_of

    def verdicts(self) -> Iterator[tuple[int, list[Verdict]]]:
        """The verdicts of each row that has negatives, with its number, in the order of the rows."""
        for number, records in groupby(self.verdict_records(), key=lambda record: int(record["row"])):
            by_position = verdicts_from_records(records)
            yield number, [by_position[position] for position in sorted(by_position)]

    def judged_rows(self) -> Iterator[tuple[NumberedRow, list[Verdict]]]:
        """The rows of `original`, each with one verdict per negative, in their order.

        Raises:
            BuildError: rows and verdicts do not fit: a file was changed, or is of another build.
        """
        verdicts = self.verdicts()
        waiting = next(verdicts, None)
        for numbered in self.rows():
            found: list[Verdict] = []
            if waiting is not None and waiting[0] == numbered.number:
                found, waiting = waiting[1], next(verdicts, None)
            yield numbered, self._fitting(numbered, found)
        if waiting is not None:
            raise BuildError(f"{self.name}: `verdicts` speaks of row {waiting[0]}, which `original` does not have.")

    def _fitting(self, numbered: NumberedRow, found: list[Verdict]) -> list[Verdict]:
        docids = [passage.docid for passage in numbered.row.negative_passages]
        if [verdict.docid for verdict in found] != docids or [verdict.position for verdict in found] != list(
            range(len(docids))
        ):
            raise BuildError(
                f"{self.name}: row {numbered.number} of `original` has other negatives than `verdicts` speaks of. The"
                " two configs are not of one build, or a file was changed."
            )
        return complete(numbered.row, found)

    def _records(self, config: str, batch: int) -> Iterator[dict[str, Any]]:
        import pyarrow as pa

        for name in self.files(config):
            path = self.open_file(name)
            try:
                for some in record_batches(path, batch):
                    yield from some.to_pylist()
            except (OSError, pa.ArrowInvalid, KeyError) as error:
                reason = " ".join(str(error).split())
                raise BuildError(f"{self.name}: {name} cannot be read: {reason}") from error


def _suspect(record: Mapping[str, Any]) -> Suspect:
    return Suspect(**{**record, "opinions": tuple(Opinion(**opinion) for opinion in record["opinions"])})


@expects(folder=PATH)
def release_from_folder(folder: str | Path, *, verify: bool = False) -> Release:
    """Open a folder that `write_configs` wrote, or `pull` downloaded.

    Example:
            release = release_from_folder(Path("cleaned"), verify=True)

    Args:
        verify: check the size and SHA-256 of every file first.

    Raises:
        BuildError: it is no such folder, or a file is missing or is not what the manifest says.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    root = folder.resolve()

    def open_file(name: str) -> Path:
        path = (folder / name).resolve()
        if not path.is_relative_to(root):
            raise BuildError(f"{folder}: its manifest names a file outside of it ({name!r}).")
        if not path.is_file():
            raise BuildError(f"{folder}: the file {name!r} of its manifest is missing.")
        return path

    if verify:
        for name, entry in manifest["files"].items():
            check_file(open_file(name), name, entry)
    return Release(str(folder), None, manifest, open_file)


def check_file(path: Path, name: str, entry: Mapping[str, Any]) -> None:
    """Check a file against its entry in the manifest.

    Raises:
        BuildError: its size or its SHA-256 differs.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if size != entry["bytes"] or digest != entry["sha256"]:
        raise BuildError(
            f"{name} is not what the manifest says: {size} bytes, sha256 {digest}, instead of {entry['bytes']} bytes,"
            f" sha256 {entry['sha256']}. Build or pull again."
        )


def row_of(record: Mapping[str, Any]) -> Row:
    """A record of a config as a `Row`."""
    return Row(
        query_id=record["query_id"],
        query=record["query"],
        positive_passages=tuple(Passage(**passage) for passage in record["positive_passages"]),
        negative_passages=tuple(Passage(**passage) for passage in record["negative_passages"]),
        subset=record.get("subset") or "",
    )
