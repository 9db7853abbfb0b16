"""Training sets on the Hub as sources, pinned to a commit.

The Hub's own libraries do the talking, so `HF_TOKEN`, `HF_ENDPOINT` and `HF_HOME` mean what they always mean.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from hf_relabel.builders.errors import SourceError
from hf_relabel.builders.messages.expecting import SOURCE_OPTIONS, expects
from hf_relabel.builders.messages.spelling import argument
from hf_relabel.builders.sources import Source, SourceFile, source_from_files
from hf_relabel.builders.sources import open_source as open_here
from hf_relabel.builders.sources.beir import MINED_NEGATIVES
from hf_relabel.builders.sources.files import DATA_FILES, data_files, exists, is_data_file, subset_of
from hf_relabel.builders.sources.objects import size_told
from hf_relabel.builders.sources.paths import check_regular, did_you_mean_beside, without_secrets
from hf_relabel.builders.sources.samples import Sample
from hf_relabel.builders.sources.source_options import Options
from hf_relabel.builders.sources.splits import files_of_split
from hf_relabel.hub_tools.hub.errors import hub_errors
from hf_relabel.hub_tools.hub.memory import give_back_large_blocks
from hf_relabel.hub_tools.hub.redaction import redact

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_URL = "hf://datasets/"
_ON_HUB_TOLD = "a data set on the Hub (user/repo, user/repo@revision or user/repo:config@revision)"
_LONGEST_SHOWN = 300
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


@expects(**SOURCE_OPTIONS)
def open_source(
    data: Any,
    *,
    name: str | None = None,
    config: str | None = None,
    split: str | None = None,
    revision: str | None = None,
    format: str | None = None,
    subset: str | Sequence[str] | None = None,
    sample: Sample | None = None,
    skip_bad_rows: bool = False,
    limit: int | None = None,
    mined_negatives: int = MINED_NEGATIVES,
    columns: Mapping[str, str | Sequence[str]] | None = None,
    relevant_from: float | None = None,
    token: str | bool | None = None,
    cache: bool = True,
) -> Source:
    """Open a training set, whatever holds it. Its rows are read when they are asked for and never all held.

        open_source("train.jsonl")
        open_source("user/repo", config="relabel", split="train", revision="v1.2.0")
        open_source(datasets.load_dataset("user/repo", split="train"))
        open_source([{"query": "why is the sky blue", "pos": ["It scatters light."], "neg": ["It is grey."]}])

    Args:
        data: one of
            - a file, or a folder of them with the folders below it: JSON lines, a JSON list, CSV, TSV (also compressed
              with gzip, zstandard, xz or bzip2, or in a zip file, in UTF-8 or UTF-16), Parquet or Arrow; a folder that
              `save_to_disk` wrote; a BEIR folder;
            - a data set on the Hub: `user/repo`, `user/repo@revision`, `user/repo:config@revision` or
              `hf://datasets/user/repo`. A file or folder of that name comes first;
            - a `datasets.Dataset` or `IterableDataset`, a `DatasetDict` of them, a pandas or polars DataFrame, an Arrow
              table, or a list of dicts (or of `Row`). Missing values of pandas (NaN) are missing fields.
        name: what reports and manifests call it; None takes the path, the data set or the object's class.
        config: of a data set on the Hub or a folder: what its README.md declares under `configs:`, else the name of a
            folder in it. None takes the only one or the default; of a folder that declares none, all files.
        split: of a data set on the Hub (None: `train`), of a folder with files that are named after splits (None:
            `train`), of a `DatasetDict` (None where it has one only), or of a BEIR folder's judgements (None: train,
            dev or test, the first there is). Never are rows of two splits read as one.
        revision: of a data set on the Hub: a branch, a tag or a commit sha, pinned to the commit it names now.
        format: a name in `hf_relabel.builders.sources.FORMATS`; None reads it from the first rows.
        subset: keep only rows of this subset, or of one of these.
        sample: keep a sample, drawn from the rows of those subsets.
        skip_bad_rows: leave out rows that cannot be used and count them, instead of stopping at the first.
        limit: stop after so many rows.
        mined_negatives: of a BEIR folder, how many negatives to mine for each query.
        columns: which column, or which columns, play a role, where their names do not say it: `{"query": "prompt",
            "positive": "response", "negative": "negative_*"}`. See `hf_relabel.builders.sources.columns.ROLES`.
        relevant_from: of graded labels and scores, the least that makes a passage a positive.
        token: for the Hub. None takes the stored token or `HF_TOKEN`, False sends none.
        cache: download each file into the Hub cache when its turn comes; False reads it over the network each time.

    Raises:
        SourceError: there is nothing of that name, it may not be read, it is nothing that holds rows, or the rows are
            in no known format.
        BadRow: none of the first rows can be used.
    """
    hub = _on_the_hub(data)
    if hub is None:
        if revision is not None:
            told = str(data) if isinstance(data, (str, os.PathLike)) else size_told(data)
            raise SourceError(f"{told}: is no data set on the Hub, so it has no {argument('revision', revision)}.")
        return open_here(
            data,
            name=name,
            config=config,
            split=split,
            format=format,
            subset=subset,
            sample=sample,
            skip_bad_rows=skip_bad_rows,
            limit=limit,
            mined_negatives=mined_negatives,
            columns=columns,
            relevant_from=relevant_from,
        )
    config = config or hub.config
    called = name or (f"{hub.repo_id}:{config}" if config else hub.repo_id)
    options = Options.checked(called, subset, sample, skip_bad_rows, limit, mined_negatives, columns, relevant_from)
    if split is None and format != "beir":
        split = "train"
    try:
        sha, paths = _pinned_files(hub.repo_id, revision or hub.revision, config, split, token)
    except SourceError as error:
        raise _with_name_beside(Path(data), error) from error.__cause__
    files = [_hub_file(hub.repo_id, sha, path, token, cache) for path in paths]
    return source_from_files(
        files, name=called, revision=sha, config=config, split=split, format=format, options=options
    )


def _with_name_beside(given: Path, error: SourceError) -> SourceError:
    """`data/train.jsnl` could be a data set of the Hub, and is a file whose name has a mistake."""
    near = did_you_mean_beside(given)
    return SourceError(f"{error}{near} It is in {given.parent} here.") if near else error


@expects(repo_id=str)
def open_hub_source(repo_id: str, **options: Any) -> Source:
    """`open_source` of a data set that is on the Hub, whatever lies in this folder."""
    return open_source(f"{_URL}{repo_id.removeprefix(_URL)}", **options)


def is_here(location: str | os.PathLike[str]) -> bool:
    """Whether a file or folder of this machine is named, and not a data set on the Hub.

    Raises:
        SourceError: there is nothing of that name here, and it can be no name on the Hub.
    """
    return _on_the_hub(location) is None


def _on_the_hub(data: Any) -> HubLocation | None:
    """The data set on the Hub that is named; None where it is an object, or a file or folder that exists."""
    if not isinstance(data, (str, os.PathLike)):
        return None
    text = str(data)
    if not text:
        raise SourceError(f"The source is an empty text. Give a path, such as '.' for this folder, or {_ON_HUB_TOLD}.")
    if not text.startswith(_URL) and exists(Path(text)):
        return None
    hub = HubLocation.parse(text)
    # `data/rows.jsonl` could name a data set, but it is a file whose name has a mistake.
    if hub is None or is_data_file(text):
        check_regular(Path(text))
        plain = redact(without_secrets(text))
        shown = plain if len(plain) <= _LONGEST_SHOWN else f"{plain[:_LONGEST_SHOWN]}… ({len(plain):,} characters)"
        near = did_you_mean_beside(Path(text))
        raise SourceError(f"{shown}: neither an existing file or folder nor {_ON_HUB_TOLD}.{near}")
    return hub


def _pinned_files(
    repo_id: str, revision: str | None, config: str | None, split: str | None, token: str | bool | None
) -> tuple[str, list[str]]:
    """The commit that the revision names now, and the paths of the files in it that are read.

    Args:
        split: None for all files.
    """
    from hf_relabel.hub_tools.hub.api import HubApi

    api = HubApi(token=token)
    with hub_errors(repo_id, revision, token, SourceError):
        sha = cast(str, api.dataset_info(repo_id, revision=revision).sha)
        if split is None:
            return sha, api.list_repo_files(repo_id, revision=sha, repo_type="dataset")
        return sha, _data_files(api, repo_id, sha, config, split, token)


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
        raise SourceError(f"{repo_id}: the split {split!r} has no {DATA_FILES} file.")
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
    data = data_files(paths)
    if config is not None:
        folders = sorted({path.split("/")[0] for path in data if "/" in path})
        data = [path for path in data if path.startswith(f"{config}/")]
        if not data:
            raise SourceError(f"{repo_id}: there is no config {config!r}. There are: {', '.join(folders) or 'none'}.")
    if not data:
        raise SourceError(f"{repo_id}: there is no {DATA_FILES} file in this data set.")
    return files_of_split(data, split, repo_id)


def _hub_file(repo_id: str, sha: str, path: str, token: str | bool | None, cache: bool) -> SourceFile:
    opener = partial(_open_cached if cache else _open_streaming, repo_id, sha, path, token)
    return SourceFile(path, opener, subset_of(path))


def _open_cached(repo_id: str, sha: str, path: str, token: str | bool | None) -> BinaryIO:
    from hf_relabel.hub_tools.hub.api import HubApi

    give_back_large_blocks()
    with hub_errors(repo_id, sha, token, SourceError):
        return Path(HubApi(token=token).hf_hub_download(repo_id, path, repo_type="dataset", revision=sha)).open("rb")


def _open_streaming(repo_id: str, sha: str, path: str, token: str | bool | None) -> BinaryIO:
    from huggingface_hub import HfFileSystem

    with hub_errors(repo_id, sha, token, SourceError):
        return cast(BinaryIO, HfFileSystem(token=token).open(f"datasets/{repo_id}@{sha}/{path}", "rb"))
