"""Training sets on the Hub as sources, pinned to a commit.

The Hub's own libraries do the talking, so `HF_TOKEN`, `HF_ENDPOINT` and `HF_HOME` mean what they always mean.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from hf_relabel.builders.errors import SourceError
from hf_relabel.builders.sampling import Sample
from hf_relabel.builders.sources import Source, SourceFile, open_source, source_from_files
from hf_relabel.builders.sources.beir import MINED_NEGATIVES
from hf_relabel.builders.sources.files import is_data_file, subset_of
from hf_relabel.hub_tools.hub_errors import hub_errors
from hf_relabel.hub_tools.memory import give_back_large_blocks

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_URL = "hf://datasets/"
_NAME = r"[A-Za-z0-9][\w.-]{0,95}"
_ON_THE_HUB = re.compile(rf"(?P<repo>{_NAME}/{_NAME}?)(:(?P<config>[^@/]+))?(@(?P<revision>.+))?")


@dataclass(frozen=True)
class HubLocation:
    """A data set on the Hub as the user names it."""

    repo_id: str
    config: str | None = None
    revision: str | None = None

    @classmethod
    def parse(cls, location: str) -> HubLocation | None:
        """Read `user/repo`, `user/repo@revision`, `user/repo:config@revision`, the same after `hf://datasets/`.

        None where it is nothing of the kind.
        """
        match = _ON_THE_HUB.fullmatch(location.removeprefix(_URL).rstrip("/"))
        return None if match is None else cls(match["repo"], match["config"], match["revision"])


def resolve_source(
    location: str | Path,
    *,
    revision: str | None = None,
    config: str | None = None,
    split: str | None = None,
    token: str | bool | None = None,
    cache: bool = True,
    **options: Any,
) -> Source:
    """Open whatever `location` names: an existing file or folder, else a data set on the Hub.

    Args:
        location: a path, `user/repo`, `user/repo@revision`, `user/repo:config@revision` or `hf://datasets/user/repo`.
        revision, config: as in the location, for a data set on the Hub.
        split: of a data set on the Hub (`train` unless given) or of a BEIR folder.
        options: as for `open_source`.

    Raises:
        SourceError: there is nothing of that name, or it cannot be opened.
    """
    text = str(location)
    if not text.startswith(_URL) and Path(location).exists():
        return open_source(location, split=split, **options)
    hub = HubLocation.parse(text)
    # `data/rows.jsonl` could name a data set, but it is a file whose name has a mistake.
    if hub is None or is_data_file(text):
        raise SourceError(
            f"{text}: neither an existing file or folder nor a data set on the Hub (user/repo, user/repo@revision or "
            "user/repo:config@revision)."
        )
    if split is None and options.get("format") != "beir":
        split = "train"
    return open_hub_source(
        hub.repo_id,
        revision=revision or hub.revision,
        config=config or hub.config,
        split=split,
        token=token,
        cache=cache,
        **options,
    )


def open_hub_source(
    repo_id: str,
    *,
    revision: str | None = None,
    config: str | None = None,
    split: str | None = "train",
    token: str | bool | None = None,
    cache: bool = True,
    format: str | None = None,
    subset: str | Sequence[str] | None = None,
    sample: Sample | None = None,
    skip_bad_rows: bool = False,
    limit: int | None = None,
    mined_negatives: int = MINED_NEGATIVES,
) -> Source:
    """Open a data set on the Hub, pinned to the commit that the revision names now.

    Args:
        repo_id: `user/repo`.
        revision: a branch, a tag or a commit sha; None is the main branch.
        config: which of the data set's configs; None where it has one, or a default.
        split: which split of the config.
        token: None takes the stored token or `HF_TOKEN`, False sends none.
        cache: download each file into the Hub cache when its turn comes; False reads it over the network each time.
        format, subset, sample, skip_bad_rows, limit, mined_negatives: as for `open_source`.

    Raises:
        SourceError: the data set, the revision, the config or the split does not exist or may not be read, or the
            files are in no known format.
    """
    from huggingface_hub import HfApi

    name = f"{repo_id}:{config}" if config else repo_id
    api = HfApi(token=token)
    with hub_errors(repo_id, revision, token, SourceError):
        sha = cast(str, api.dataset_info(repo_id, revision=revision).sha)
        if format == "beir":
            # Its files are no split of anything, so no config can name them.
            paths = api.list_repo_files(repo_id, revision=sha, repo_type="dataset")
        else:
            paths = _data_files(api, repo_id, sha, config, split or "train", token)
    files = [_hub_file(repo_id, sha, path, token, cache) for path in paths]
    return source_from_files(
        files,
        name=name,
        revision=sha,
        config=config,
        split=split,
        format=format,
        subset=subset,
        sample=sample,
        skip_bad_rows=skip_bad_rows,
        limit=limit,
        mined_negatives=mined_negatives,
    )


def _data_files(
    api: HfApi, repo_id: str, sha: str, config: str | None, split: str, token: str | bool | None
) -> list[str]:
    """The paths, inside the repository, of the files of one split of one config."""
    by_split = _declared_files(repo_id, sha, config, token)
    if by_split is None:
        return _listed_files(api.list_repo_files(repo_id, revision=sha, repo_type="dataset"), repo_id, config, split)
    if split not in by_split:
        raise SourceError(f"{repo_id}: there is no split {split!r}. There are: {', '.join(sorted(by_split))}.")
    paths = [path for path in by_split[split] if is_data_file(path)]
    if not paths:
        raise SourceError(f"{repo_id}: the split {split!r} has no .jsonl, .json or .parquet file.")
    return paths


def _declared_files(
    repo_id: str, sha: str, config: str | None, token: str | bool | None
) -> dict[str, list[str]] | None:
    """Paths per split, as the datasets library reads them out of the card and the names; None where it cannot."""
    import datasets
    from datasets.exceptions import DatasetsError

    try:
        builder = datasets.load_dataset_builder(repo_id, config, revision=sha, token=token)
    except ValueError as error:
        configs = _config_names(repo_id, sha, token)
        if config is not None and config not in configs:
            raise SourceError(f"{repo_id}: there is no config {config!r}. There are: {', '.join(configs)}.") from error
        if config is None and len(configs) > 1:
            raise SourceError(f"{repo_id}: has several configs, name one of {', '.join(configs)}.") from error
        return None
    except (DatasetsError, FileNotFoundError, RuntimeError):
        # A repository with a loading script, with a card that cannot be read or with files the library does not know.
        return None
    prefix = f"{_URL}{repo_id}@{sha}/"
    found = builder.config.data_files or {}
    return {
        str(split): [str(url).removeprefix(prefix) for url in urls if str(url).startswith(prefix)]
        for split, urls in found.items()
    } or None


def _config_names(repo_id: str, sha: str, token: str | bool | None) -> list[str]:
    import datasets
    from datasets.exceptions import DatasetsError

    try:
        return list(datasets.get_dataset_config_names(repo_id, revision=sha, token=token))
    except (DatasetsError, ValueError, FileNotFoundError, RuntimeError):
        return []


def _listed_files(paths: Sequence[str], repo_id: str, config: str | None, split: str) -> list[str]:
    """The data files of a repository that declares none: the config is a folder, the split a word of the name."""
    data = sorted(path for path in paths if is_data_file(path))
    if config is not None:
        folders = sorted({path.split("/")[0] for path in data if "/" in path})
        data = [path for path in data if path.startswith(f"{config}/")]
        if not data:
            raise SourceError(f"{repo_id}: there is no config {config!r}. There are: {', '.join(folders) or 'none'}.")
    if not data:
        raise SourceError(f"{repo_id}: there is no .jsonl, .json or .parquet file in this data set.")
    of_split = [path for path in data if split in re.split(r"[^A-Za-z0-9]+", path)]
    named = [path for path in data if {"train", "test", "dev", "validation"} & set(re.split(r"[^A-Za-z0-9]+", path))]
    # Files that name no split are all for training, as the datasets library has it.
    if not of_split and (split != "train" or len(named) == len(data)):
        raise SourceError(f"{repo_id}: no file belongs to the split {split!r}. There are: {', '.join(data[:10])}.")
    return of_split or [path for path in data if path not in named]


def _hub_file(repo_id: str, sha: str, path: str, token: str | bool | None, cache: bool) -> SourceFile:
    opener = partial(_open_cached if cache else _open_streaming, repo_id, sha, path, token)
    return SourceFile(path, opener, subset_of(path))


def _open_cached(repo_id: str, sha: str, path: str, token: str | bool | None) -> BinaryIO:
    from huggingface_hub import hf_hub_download

    give_back_large_blocks()
    with hub_errors(repo_id, sha, token, SourceError):
        return Path(hf_hub_download(repo_id, path, repo_type="dataset", revision=sha, token=token)).open("rb")


def _open_streaming(repo_id: str, sha: str, path: str, token: str | bool | None) -> BinaryIO:
    from huggingface_hub import HfFileSystem

    with hub_errors(repo_id, sha, token, SourceError):
        return cast(BinaryIO, HfFileSystem(token=token).open(f"datasets/{repo_id}@{sha}/{path}", "rb"))
