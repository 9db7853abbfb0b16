"""JSON documents that hold several splits, `{"train": [...], "test": [...]}`, as the one split that is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hf_relabel.builders.sources.files import NOT_OPENED, SourceFile
from hf_relabel.builders.sources.json_documents import splits_in
from hf_relabel.builders.sources.reading import Kind, kind_of
from hf_relabel.builders.sources.splits import TRAIN, files_of_split


def of_split(files: Sequence[SourceFile], split: str | None) -> tuple[tuple[SourceFile, ...], tuple[str, ...]]:
    """The files with the field of each that holds the split, and the fields that are left out (`rows.json:test`).

    Args:
        split: None takes the only one there is, or `train`.

    Raises:
        SourceError: a file cannot be read, or holds other splits only.
    """
    found: list[SourceFile] = []
    left_out: list[str] = []
    for file in files:
        fields = _fields(file) if len(files) == 1 or not file.name.endswith(NOT_OPENED) else []
        chosen = fields if split is None and len(fields) == 1 else _of_split(fields, split or TRAIN, file)
        # Where `dev` and `valid` are asked for as `validation`, each is read.
        found += [replace(file, rows_field=field) for field in chosen] or [file]
        left_out += [f"{file.name}:{field}" for field in fields if field not in chosen]
    return tuple(found), tuple(left_out)


def _fields(file: SourceFile) -> list[str]:
    return splits_in(file) if kind_of(file) is Kind.JSON_DOCUMENT else []


def _of_split(fields: Sequence[str], split: str, file: SourceFile) -> list[str]:
    return files_of_split(fields, split, file.name, "field") if fields else []
