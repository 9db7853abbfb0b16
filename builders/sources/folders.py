"""What of a local folder is read: one config and one split of it, as a data set on the Hub would be."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hf_relabel.builders.errors import CardError, SourceError
from hf_relabel.builders.messages.spelling import argument
from hf_relabel.builders.readme.front_matter import Readme
from hf_relabel.builders.sources.beir import is_beir
from hf_relabel.builders.sources.files import (
    DATA_FILES,
    SourceFile,
    data_files,
    exists,
    is_data_file,
    local_file,
)
from hf_relabel.builders.sources.paths import check_regular, did_you_mean_beside, without_secrets
from hf_relabel.builders.sources.saved import is_saved, saved_files
from hf_relabel.builders.sources.splits import TRAIN, files_of_split, is_word_of, split_of, split_of_folder
from hf_relabel.builders.techniques import Technique

_OTHER = f"Name the file or folder of that split, or leave {argument('split')} out to read what was named."


@dataclass(frozen=True)
class Opened:
    """The files of a path that are read.

    Attributes:
        format: "beir" for a BEIR folder, None where the rows tell.
        config, split: which config and split they are, None where there are none.
        left_out: the data files of the folder that are not read, being of another config or split.
    """

    files: tuple[SourceFile, ...]
    format: str | None = None
    config: str | None = None
    split: str | None = None
    left_out: tuple[str, ...] = ()


def files_of(path: Path, config: str | None = None, split: str | None = None, format: str | None = None) -> Opened:
    """The file itself, or what is read of a folder.

    Args:
        config: of a folder whose README.md declares some, else the name of a folder in it; None takes the default one,
            or all files where none is declared.
        split: None takes `train` where files are named after splits.

    Raises:
        SourceError: there is nothing at that path, no data file in it, or no such config or split.
    """
    if not exists(path):
        check_regular(path)
        raise SourceError(f"{without_secrets(str(path))}: there is no such file or folder.{did_you_mean_beside(path)}")
    if not path.is_dir():
        return _one_file(path, config, split, format)
    if format == "beir" or (format is None and is_beir([file.name for file in beir_folder(path)])):
        return Opened(beir_folder(path), "beir", split=split)
    if is_saved(path):
        if config is not None:
            raise SourceError(f"{path}: was written by save_to_disk and has no config {config!r}.")
        saved = saved_files(path, split)
        return Opened(saved.files, split=saved.split, left_out=saved.left_out)
    if configs := _declared(path):
        return _of_config(path, configs, config, split)
    return _listed(path, config, split)


def beir_folder(path: Path) -> tuple[SourceFile, ...]:
    if not path.is_dir():
        raise SourceError(f"{path}: a BEIR set is a folder with corpus.jsonl, queries.jsonl and qrels/.")
    found = [*path.glob("corpus.jsonl*"), *path.glob("queries.jsonl*"), *path.glob("qrels/*.tsv*")]
    # Most such folders are named after the data set.
    folder = path.resolve()
    subset = folder.parent.name if folder.name == "beir" else folder.name
    names = sorted(file.relative_to(path).as_posix() for file in found)
    return tuple(replace(local_file(path / name, name), subset=subset) for name in names)


def _one_file(path: Path, config: str | None, split: str | None, format: str | None) -> Opened:
    if format == "beir":
        return Opened(beir_folder(path))
    if config is not None:
        raise SourceError(f"{path}: is a file, which has no config {config!r}.")
    own = _own_split(path)
    if split is not None and own is not None and split_of(split) not in (None, own):
        raise SourceError(f"{path}: is named after the split {own!r}, not {split!r}. {_OTHER}")
    # What is in a zip file or a JSON document may be of several splits: see `check_split`.
    return Opened((local_file(path, str(path)),), split=split)


def _own_split(path: Path) -> str | None:
    return split_of(path.name) or split_of_folder(path.parent)


def check_split(path: Path, split: str | None, files: Sequence[SourceFile]) -> None:
    """Whether something says that the rows of one file are of the split that was asked for. What says nothing is for
    training.

    Args:
        files: what is read of it: the file itself, a field of a JSON document, or the files of a zip file.

    Raises:
        SourceError: nothing does.
    """
    if split is None or split_of(split) == TRAIN or _own_split(path) is not None or is_word_of(split, path.name):
        return
    inside = (file.rows_field or file.name.removeprefix(str(path)) for file in files)
    if not any(split_of(name) is not None or is_word_of(split, name) for name in inside):
        raise SourceError(f"{path}: nothing says that its rows are of the split {split!r}. {_OTHER}")


def _listed(path: Path, config: str | None, split: str | None) -> Opened:
    """The data files of a folder that declares no configs: a config is a folder, the split a word of the name."""
    names = _data_files(path)
    rows = data_files(names)
    ours = sorted({name.split("/")[0] for name in names} & set(Technique))
    if config is None and len(ours) > 1:
        raise SourceError(
            f"{path}: holds the configs {', '.join(ours)} and no README.md that names a default. Name one of them "
            f"({argument('config')})."
        )
    chosen = rows if config is None else [name for name in rows if name.startswith(f"{config}/")]
    if config is not None and not chosen:
        folders = sorted({name.split("/")[0] for name in rows if "/" in name})
        raise SourceError(f"{path}: there is no config {config!r}. There are: {', '.join(folders) or 'none'}.")
    if split is None and not any(map(split_of, chosen)):
        return _chosen(path, names, chosen, config, None)
    own = split_of_folder(path)
    if split is not None and own is not None and not any(map(split_of, chosen)) and split_of(split) not in (None, own):
        raise SourceError(f"{path}: is named after the split {own!r}, not {split!r}. {_OTHER}")
    split = split or TRAIN
    return _chosen(path, names, files_of_split(chosen, split, str(path)), config, split)


def _chosen(path: Path, names: Sequence[str], chosen: Sequence[str], config: str | None, split: str | None) -> Opened:
    files = tuple(local_file(path / name, name) for name in chosen)
    kept = set(chosen)
    return Opened(files, None, config, split, tuple(name for name in names if name not in kept))


def _data_files(path: Path) -> list[str]:
    try:
        found = {file.relative_to(path).as_posix(): file for file in _inside(path)}
        names = sorted(found)
        data = [name for name in names if is_data_file(name)]
        for name in data:
            check_regular(found[name])
    except OSError as error:
        raise SourceError(
            f"{path}: {error.filename}: {error.strerror}. Give a folder of which all may be read."
        ) from error
    if not data:
        held = ", ".join(names[:10]) or "nothing"
        raise SourceError(f"{path}: no {DATA_FILES} file is in this folder. It holds: {held}.")
    return data


def _inside(path: Path) -> Iterator[Path]:
    """All that is in a folder and in the folders below it, those that are linked too, each once."""

    def stop(error: OSError) -> None:
        raise error

    seen: set[str] = set()
    for folder, folders, files in os.walk(path, onerror=stop, followlinks=True):
        if (real := os.path.realpath(folder)) in seen:
            folders.clear()
            continue
        seen.add(real)
        yield from (Path(folder, name) for name in files)


# Configs of a README.md


def _declared(path: Path) -> Mapping[str, Mapping[str, Any]]:
    """The configs that the folder's README.md declares, by name, as they are written there."""
    readme = path / "README.md"
    if not readme.is_file():
        return {}
    try:
        metadata = Readme.parse(readme.read_text("utf-8", "replace")).metadata()
    except OSError as error:
        raise SourceError(
            f"{readme}: cannot be read: {error.strerror}. Mend it, or name the files themselves."
        ) from error
    except CardError as error:
        raise SourceError(f"{readme}: {error} Mend it, or name the files themselves.") from error
    if not metadata.get("configs"):
        return {}
    _check_configs(readme, metadata["configs"])
    from datasets.utils.metadata import MetadataConfigs

    try:
        found: Mapping[str, Mapping[str, Any]] = MetadataConfigs.from_dataset_card_data(metadata)
    except (TypeError, ValueError, AttributeError, KeyError) as error:
        raise SourceError(f"{readme}: `configs:` is not as the Hub wants it: {_line(error)}") from error
    return found


def _check_configs(readme: Path, configs: Any) -> None:
    """What the library takes for granted of `configs:`."""
    entries = configs if isinstance(configs, list) else [configs]
    for entry in entries:
        name = entry.get("config_name") if isinstance(entry, dict) else None
        if not isinstance(name, str):
            found = f"a config_name of {name!r}" if name is not None else "an entry without a config_name"
            raise SourceError(
                f"{readme}: `configs:` has {found}. Give each entry one that is text, such as `config_name: "
                f'"{name or "default"}"`.'
            )
        folder = entry.get("data_dir")
        if folder is not None and not isinstance(folder, str):
            raise SourceError(f"{readme}, config {name!r}: `data_dir` is {folder!r}. Give the name of a folder.")


def _of_config(path: Path, configs: Any, config: str | None, split: str | None) -> Opened:
    try:
        chosen = config or configs.get_default_config_name()
    except ValueError as error:
        raise SourceError(f"{path}: {_line(error)} Name one ({argument('config')}).") from error
    named = ", ".join(configs)
    if chosen is None:
        raise SourceError(f"{path}: has several configs, name one of them ({argument('config')}): {named}.")
    if chosen not in configs:
        raise SourceError(f"{path}: there is no config {chosen!r}. There are: {named}.")
    names = _data_files(path)
    settings = configs[chosen]
    if not settings.get("data_files"):
        folder = str(settings.get("data_dir") or ".").strip("/")
        inside = data_files(name for name in names if folder == "." or name.startswith(f"{folder}/"))
        split = split or TRAIN
        return _chosen(path, names, files_of_split(inside, split, f"{path}, config {chosen!r}"), chosen, split)
    splits = _patterns(path, chosen, settings["data_files"])
    split = split or TRAIN
    if split not in splits:
        raise SourceError(f"{path}, config {chosen!r}: there is no split {split!r}. There are: {', '.join(splits)}.")
    return _chosen(path, names, _matches(path, chosen, splits[split]), chosen, split)


def _patterns(path: Path, config: str, data_files: Any) -> dict[str, list[str]]:
    from datasets.data_files import sanitize_patterns

    try:
        splits: dict[str, list[str]] = sanitize_patterns(data_files)
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise SourceError(f"{path}/README.md, config {config!r}, `data_files`: {_line(error)}.") from error
    for split, patterns in splits.items():
        if not all(isinstance(text, str) for text in (split, *patterns)):
            raise SourceError(
                f"{path}/README.md, config {config!r}: `data_files` of the split {split!r} are {patterns!r}. Give names"
                " of files, or patterns."
            )
    return splits


def _matches(path: Path, config: str, patterns: Sequence[str]) -> list[str]:
    """The files that patterns of a README.md stand for. They stay inside the folder."""
    from datasets.data_files import resolve_pattern

    root = path.resolve()
    found: dict[str, None] = {}
    for pattern in patterns:
        if "://" in pattern or pattern.startswith("/") or ".." in Path(pattern).parts:
            raise SourceError(f"{path}/README.md, config {config!r}: {pattern!r} is outside of this folder.")
        try:
            resolved = resolve_pattern(pattern, glob.escape(str(root)))
        except FileNotFoundError as error:
            raise SourceError(f"{path}, config {config!r}: no file is {pattern!r}. Is the folder complete?") from error
        except (ValueError, OSError) as error:
            raise SourceError(f"{path}/README.md, config {config!r}: {pattern!r}: {_line(error)}.") from error
        found |= dict.fromkeys(Path(name).relative_to(root).as_posix() for name in sorted(resolved))
    return list(found)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
