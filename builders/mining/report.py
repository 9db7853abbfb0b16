"""What mining found, and the record of how it was done that lies beside the rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import datasets

    from hf_relabel.builders.sources import Source


@dataclass(frozen=True)
class MiningReport:
    """What mining found.

    Attributes:
        path: the file with the rows.
        source: what was mined for, as `Source.record` tells it.
        method: `bm25` or `dense`.
        settings: the settings that were used, those of the other method left out.
        models: the models by name with their revisions: a commit, or a digest of a folder's weights.
        rows: rows written, one for each query and id.
        rows_read: rows of the source; several with one query and id are one row.
        rows_without_negatives: rows for which none was found.
        negatives: negatives in all rows.
        passages: what was searched: the corpus and all positives, each text once.
        copies, blank: passages of the corpus that were left out: with the text of an earlier one, and without text.
        negatives_left_out: negatives that the source had; those that were mined stand in their place.
        scores: whether passages have a field for scores, because positives of the source have some.
        versions: of the libraries that the rows depend on.
    """

    path: Path
    source: dict[str, Any]
    method: str
    settings: dict[str, Any]
    models: dict[str, str | None]
    rows: int
    rows_read: int
    rows_without_negatives: int
    negatives: int
    passages: int
    copies: int = 0
    blank: int = 0
    negatives_left_out: int = 0
    scores: bool = False
    versions: dict[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values, ready for JSON; the path as text."""
        return {**self.__dict__, "path": str(self.path)}

    def record(self) -> dict[str, Any]:
        """What the file beside the rows says: as `to_dict`, with the file's name alone."""
        return {"rows_file": self.path.name} | {name: value for name, value in self.to_dict().items() if name != "path"}

    def to_text(self) -> str:
        """The same in some lines for people."""
        share = self.rows_without_negatives / self.rows
        lines = [
            f"{self.path}: {_counted(self.rows, 'row')}, {self.negatives / self.rows:.1f} negatives a row, mined by "
            f"{self._how()} among {_counted(self.passages, 'passage')}.",
            f"Rows without negatives: {self.rows_without_negatives:,} ({share:.1%}).",
        ]
        if self.rows_read != self.rows:
            lines.append(f"{self.rows_read:,} rows were read; those of one query became one row.")
        if self.negatives_left_out:
            left_out = _counted(self.negatives_left_out, "negative")
            lines.append(f"{left_out} that the source had stand no longer in the rows.")
        if self.copies or self.blank:
            lines.append(f"Left out of the corpus: {self.copies:,} copies, {self.blank:,} passages without text.")
        if skipped := self.source["skipped"]:
            lines.append(f"{_counted(skipped, 'bad row')} of the source were skipped.")
        lines.append(f"How it was done: {record_path(self.path)}")
        return "\n".join(lines)

    def _how(self) -> str:
        if self.method == "bm25":
            return "BM25"
        return " and ".join(f"{name}@{revision}" if revision else name for name, revision in self.models.items())

    def open(self, **options: Any) -> Source:
        """The rows as a source, for `judge` and all that follows. Options as for `hf_relabel.open_source`."""
        from hf_relabel.builders.sources import open_source

        return open_source(self.path, **options)

    def dataset(self) -> datasets.Dataset:
        """The rows as a `datasets.Dataset`."""
        from datasets import Dataset, Features

        from hf_relabel.builders.rows import arrow_schema

        if self.path.suffix == ".parquet":  # says its features itself
            return Dataset.from_parquet(str(self.path))
        return Dataset.from_json(str(self.path), features=Features.from_arrow_schema(arrow_schema(scores=self.scores)))


def record_path(path: Path) -> Path:
    """Where the record of a file of mined rows lies. YAML, because a .json file in a folder is taken for rows."""
    return path.with_name(f"{path.stem.removesuffix('.mined')}.mined.yaml")


def library_versions(method: str) -> dict[str, str]:
    """The versions of what the rows depend on."""
    names = ["hf-relabel", "bm25s"] if method == "bm25" else ["hf-relabel", "sentence-transformers", "torch"]
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"
