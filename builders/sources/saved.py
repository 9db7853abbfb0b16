"""Folders that `save_to_disk` of the datasets library wrote of a Dataset or a DatasetDict."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson

from hf_relabel.builders.errors import SourceError
from hf_relabel.builders.messages.spelling import argument
from hf_relabel.builders.sources.files import SourceFile, local_file
from hf_relabel.builders.sources.splits import TRAIN, is_of_split, split_of_folder

_DICT, _STATE, _INFO = "dataset_dict.json", "state.json", "dataset_info.json"


@dataclass(frozen=True)
class Saved:
    """What is read of such a folder: see `folders.Opened`."""

    files: tuple[SourceFile, ...]
    split: str | None
    left_out: tuple[str, ...] = ()


def is_saved(path: Path) -> bool:
    return (path / _DICT).is_file() or (path / _STATE).is_file()


def saved_files(path: Path, split: str | None) -> Saved:
    """The files of one split.

    Args:
        split: None takes the only one, or `train`.

    Raises:
        SourceError: there is no such split, or what `save_to_disk` wrote beside the rows is not whole.
    """
    if not (path / _DICT).is_file():
        own = _checked_split(path, split)
        return Saved(_files(path, ""), own)
    splits = _splits(path / _DICT)
    chosen = split or (splits[0] if len(splits) == 1 else TRAIN)
    if chosen not in splits:
        raise SourceError(
            f"{path}: there is no split {chosen!r}. There are: {', '.join(splits) or 'none'} ({argument('split')})."
        )
    left_out = tuple(f"{other}/" for other in splits if other != chosen)
    return Saved(_files(path, f"{chosen}/"), chosen, left_out)


def _checked_split(path: Path, split: str | None) -> str | None:
    """The split that a folder of a single Dataset holds. What says nothing is for training, as a file would be.

    Raises:
        SourceError: it is of another split, or nothing says that it is of this one.
    """
    own = _own_split(path)
    if split is None:
        return own
    if own is None and split != TRAIN:
        raise SourceError(
            f"{path}: nothing says that it is the split {split!r}. Leave {argument('split')} out to read it as it is."
        )
    if own is not None and not is_of_split(own, split):
        raise SourceError(
            f"{path}: is the split {own!r}, not {split!r}. Give the folder of that split, or leave"
            f" {argument('split')} out to read this one."
        )
    return own or split


def _own_split(path: Path) -> str | None:
    """By what was written with it, else by the DatasetDict that it is a part of, else by the folder's name."""
    told = _object(path / _STATE).get("_split")
    if told is not None:
        if not isinstance(told, str):
            raise _odd(path / _STATE, f"its `_split` is {told!r}")
        return told
    folder = path.resolve()
    if (folder.parent / _DICT).is_file() and folder.name in _splits(folder.parent / _DICT):
        return folder.name
    splits = _object(path / _INFO).get("splits") if (path / _INFO).is_file() else None
    if isinstance(splits, dict) and len(splits) == 1:
        return str(next(iter(splits)))
    return split_of_folder(path)


def _splits(path: Path) -> list[str]:
    splits = _object(path).get("splits")
    if not isinstance(splits, list) or not all(isinstance(name, str) for name in splits):
        raise _odd(path, f"its `splits` are {_shown(splits)}")
    for name in splits:
        _check_name(path, name)
    return splits


def _files(path: Path, prefix: str) -> tuple[SourceFile, ...]:
    state = path / prefix / _STATE
    listed = _object(state).get("_data_files")
    entries = listed if isinstance(listed, list) else []
    found = [entry.get("filename") for entry in entries if isinstance(entry, dict)]
    names = [name for name in found if isinstance(name, str)]
    if not names or len(names) != len(entries):
        raise _odd(state, f"its `_data_files` are {_shown(listed)}")
    for name in names:
        _check_name(state, name)
    told = [f"{prefix}{name}" for name in names]
    return tuple(replace(local_file(path / name, name), subset="") for name in told)


def _check_name(file: Path, name: str) -> None:
    """Whether a name in a file that came with the data is that of something beside it, and no path elsewhere."""
    if name in ("", ".", "..") or any(mark in name for mark in "/\\:\0"):
        raise SourceError(
            f"{file}: names {name[:80]!r}, which lies outside of its folder. Names there are of files in it only; load "
            "what you trust with the datasets library, and save it again."
        )


def _object(path: Path) -> dict[str, Any]:
    try:
        values = orjson.loads(path.read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        raise SourceError(f"{path}: cannot be read: {error}. Was the folder copied whole?") from error
    if not isinstance(values, dict):
        raise _odd(path, f"it holds {_shown(values)}")
    return values


def _odd(path: Path, found: str) -> SourceError:
    return SourceError(f"{path}: is not as save_to_disk writes it: {found}. Save the data set again.")


def _shown(value: Any) -> str:
    return "missing" if value is None else repr(value)[:80]
