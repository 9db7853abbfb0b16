"""Building: source and journal become configs in a folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_relabel.builders.audit.draw import Counted, check_reuse, of_seldom
from hf_relabel.builders.audit.reuse import Reuse
from hf_relabel.builders.cascade.judged_share import ENOUGH, judged_enough
from hf_relabel.builders.cascade.run_choice import run_of, telling_of_others
from hf_relabel.builders.cascade.run_choice import told as told_run
from hf_relabel.builders.cascade.run_stages import stages_of_run
from hf_relabel.builders.cascade.suspects import Suspect, suspect_finder
from hf_relabel.builders.cascade.verdicts import verdicts
from hf_relabel.builders.config_names import SUSPECTS
from hf_relabel.builders.configs.config_writer import Shard
from hf_relabel.builders.configs.earlier_build import refuse_other_build
from hf_relabel.builders.configs.views import View, views_of
from hf_relabel.builders.configs.writing import BuildReport, check_folder, write_configs
from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.job.steps import BuildSettings
from hf_relabel.builders.journal.runs import Run
from hf_relabel.builders.journal.store import Journal
from hf_relabel.builders.judgements import Verdict
from hf_relabel.builders.messages.expecting import told
from hf_relabel.builders.messages.spelling import argument
from hf_relabel.builders.outputs import OutputFormat, write_formats
from hf_relabel.builders.outputs.writing import Originals
from hf_relabel.builders.rows import NumberedRow
from hf_relabel.builders.sources import Source
from hf_relabel.builders.techniques import Technique, check_default, named
from hf_relabel.hub_tools.calls import progress_bars as bars
from hf_relabel.hub_tools.calls.given import AnyJournal, AnySource, as_journal, as_source

if TYPE_CHECKING:
    from hf_relabel.builders.cascade.calibration import Calibration


def build_configs(
    source: AnySource,
    journal: AnyJournal,
    settings: BuildSettings | str | os.PathLike[str],
    *,
    run: int | None = None,
    min_judged: float | None = None,
    overwrite: bool = False,
    progress: Callable[[int], None] | bool | None = True,
    on_shard: Callable[[Shard], None] | None = None,
) -> BuildReport:
    """Build the configs of a source from a run in a journal. Calls no judge.

    Example:
            from datasets import load_dataset
            from hf_relabel import BuildSettings, build_configs

            print(build_configs("train.jsonl", "journal.sqlite", "cleaned").to_text())
            train = load_dataset("cleaned", "relabel", split="train")

            some = BuildSettings(out="some", techniques=("original", "relabel"), default="relabel", limit=3)
            build_configs("train.jsonl", "journal.sqlite", some)

    Args:
        source: what `open_source` gives or takes.
        journal: a `Journal` or the path of one.
        settings: what to build, or the folder to write alone. The folder is replaced if an earlier build of the same
            source and journal wrote it.
        run: number of the run whose judgements to take. None takes the last one that came to its end and judged all of
            this source, or nearly so; where none did, the one that judged most of it.
        min_judged: share of the candidates that must have been judged, of those that need a judge: no copies of a
            positive, no exempt subsets. None is what the settings say; where they say nothing, 0.95. 0 builds
            whatever there is.
        overwrite: replace that of another source or journal too.
        progress: a bar at a terminal and in a notebook; False for none; or what is called with the rows done so far.
        on_shard: see `write_configs`.

    Raises:
        ConfigError: an unknown technique or default config.
        JournalError: there is no such journal, or it holds no run, or none of that number.
        NotJudged: too little was judged, such as with the journal of another source. The message lists the runs.
        BuildError: the folder cannot be written, or holds a build of another source or journal.
        SourceError, BadRow: the source cannot be opened or read.
    """
    check_share("min_judged", min_judged)
    wanted, opened = as_settings(settings, overwrite=overwrite, min_judged=min_judged), as_source(source)
    with as_journal(journal, write=False) as kept, bars.counting(progress, "building") as show:
        return _build(opened, kept, wanted, run, show, on_shard)


def check_share(name: str, share: float | None) -> None:
    """Raises: ConfigError, it is a number that is no share."""
    if share is not None and not 0 <= share <= 1:
        raise ConfigError(f"{name}: expected a share from 0 to 1, such as 0.9, found {share!r}.")


def as_settings(
    given: BuildSettings | str | os.PathLike[str], *, overwrite: bool = False, min_judged: float | None = None
) -> BuildSettings:
    """What to build: all of it where only the folder is given.

    Raises:
        ConfigError: it is neither, or names what is not there.
    """
    if isinstance(given, (str, os.PathLike)):
        given = BuildSettings(out=os.fspath(given))
    if not isinstance(given, BuildSettings):
        raise ConfigError(f"What to build is a BuildSettings, or the folder to write; found {told(given)}.")
    check_names(given)
    changed = {
        **({"overwrite": True} if overwrite else {}),
        **({} if min_judged is None else {"min_judged": min_judged}),
    }
    return given.model_copy(update=changed) if changed else given


def _build(
    source: Source,
    journal: Journal,
    settings: BuildSettings,
    number: int | None,
    progress: Callable[[int], None] | None,
    on_shard: Callable[[Shard], None] | None,
) -> BuildReport:
    source.check_negatives()
    if on_shard is not None and settings.output_format:
        raise ConfigError("An output format is written into a folder: build first, then push the folder.")
    check_earlier(settings, source, journal)
    used = run_to_build(source, journal, settings, number)
    run = used.settings
    stages = stages_of_run(run)
    calibration = calibration_for(run, settings)
    reuse = Reuse()
    rows = Counted(source, reuse) if of_seldom(calibration) else source
    decided = verdicts(rows, journal, run, calibration=calibration)
    with telling_of_others(source, journal, used):
        report = write_configs(
            counted_rows(judged_enough(decided, source.name, journal, settings.min_judged, told_run(used)), progress),
            Path(settings.out),
            techniques=[Technique(name) for name in settings.techniques],
            limit=settings.limit,
            min_negatives=settings.min_negatives,
            stage_names=[stage.name for stage in stages],
            stage_judges=[stage.describe() for stage in stages],
            max_shard_bytes=settings.max_shard_bytes,
            default_config=settings.default,
            # Asked for when the rows have been read: only then is it known how many were skipped.
            manifest_extra=lambda: origin(source, run, calibration),
            suspects=finder_of_suspects(journal, run),
            on_shard=on_shard,
            scores=source.scored,
            views=views_of_settings(settings, scored=source.scored),
            beside=formats_of(settings, source, source.records),
        )
    check_reuse(calibration, reuse.mean)
    return replace(report, run=used)


def run_to_build(source: Source, journal: Journal, settings: BuildSettings, number: int | None) -> Run:
    """The run to build from, see `run_of`."""
    return run_of(source, journal, number, least=ENOUGH if settings.min_judged is None else settings.min_judged)


def check_earlier(settings: BuildSettings, source: Source, journal: Journal) -> None:
    """Raises: BuildError, see `refuse_other_build`."""
    if not settings.overwrite:
        out, kept = Path(settings.out), str(journal.path)
        refuse_other_build(out, source.record(), source.fingerprint, journal.has_run, kept)


def check_place(settings: BuildSettings, source: Source, journal: Journal) -> None:
    """Whether a build may go to its folder, before anything is judged for it.

    Raises:
        BuildError: it is a file, a folder that others wrote, or a build of something else.
    """
    check_folder(Path(settings.out))
    check_earlier(settings, source, journal)


def origin(source: Source, run: Mapping[str, Any], calibration: Calibration | None) -> dict[str, Any]:
    """What the manifest says of where the configs come from. The source has been read."""
    return {
        "source": {**source.record(), "fingerprint": source.fingerprint()},
        "run": run,
        **({} if calibration is None else {"evidence": {"zones": calibration.to_dict()}}),
    }


def calibration_of(settings: BuildSettings) -> Calibration | None:
    """The calibration that the settings name.

    Raises:
        ConfigError: there is none at that place.
    """
    if settings.calibration is None:
        return None
    from hf_relabel.builders.cascade.calibration import Calibration

    found = Calibration.read(Path(settings.calibration))
    return found if settings.zones_at is None else found.at(settings.zones_at)


def calibration_for(run: Mapping[str, Any], settings: BuildSettings) -> Calibration | None:
    """The same, to decide about the verdicts of a run. Warns where it does not say whose scores it was fitted on.

    Raises:
        ConfigError: there is none at that place, or it is of other judges.
    """
    from hf_relabel.builders.cascade.same_judges import tell_unknown

    calibration = calibration_of(settings)
    if calibration is None and settings.zones_at is not None:
        raise ConfigError(f"{argument('zones_at', settings.zones_at)} needs a calibration: name one, or audit first.")
    if calibration is not None and not calibration.check_judges(run):
        tell_unknown(str(settings.calibration), "its audit", "this build")
    return calibration


def finder_of_suspects(journal: Journal, run: Mapping[str, Any]) -> Callable[[NumberedRow], list[Suspect]] | None:
    """What finds suspected ground truths, where the same source was searched for them."""
    for found in journal.runs(SUSPECTS):
        if found.settings["source"] == run["source"]:
            return suspect_finder(journal, found.settings)
    return None


def views_of_settings(settings: BuildSettings, *, scored: bool) -> tuple[View, ...]:
    """The views that the settings ask for.

    Raises:
        ConfigError: of a technique that is not built.
    """
    return views_of(
        settings.views,
        of=settings.view_of,
        techniques=settings.techniques,
        default=settings.default,
        negatives=settings.view_negatives,
        scored=scored,
    )


def formats_of(
    settings: BuildSettings, source: Source | None, originals: Callable[[], Originals]
) -> Callable[[Path], dict[str, Any]] | None:
    """What writes the output format that the settings ask for; None where they ask for none.

    Args:
        source: what the rows came from; None for a release.
        originals: gives the rows with their records.

    Raises:
        ConfigError: it cannot be written.
    """
    if settings.output_format is None:
        return None
    format = OutputFormat(settings.output_format, source)
    format.check()
    techniques = [Technique(name) for name in dict.fromkeys(settings.techniques)]
    rules = {"limit": settings.limit, "min_negatives": settings.min_negatives}
    return lambda folder: write_formats(folder, format, originals(), techniques, **rules)


def check_names(settings: BuildSettings) -> None:
    """Whether techniques and default config are there.

    Raises:
        ConfigError: an unknown technique or default config.
    """
    for name in settings.techniques:
        named(name)
    check_default(settings.default, settings.techniques)


def counted_rows(
    items: Iterable[tuple[NumberedRow, list[Verdict]]], progress: Callable[[int], None] | None
) -> Iterator[tuple[NumberedRow, list[Verdict]]]:
    for done, item in enumerate(items, start=1):
        yield item
        if progress is not None:
            progress(done)
