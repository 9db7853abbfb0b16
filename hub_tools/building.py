"""Building: source and journal become configs in a folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from hf_relabel.builders.configs import BuildReport, Shard, write_configs
from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.job import BuildSettings
from hf_relabel.builders.journal import Journal, JudgeIdentity
from hf_relabel.builders.judgements import Verdict
from hf_relabel.builders.rows import NumberedRow
from hf_relabel.builders.sources import Source
from hf_relabel.builders.techniques import Technique
from hf_relabel.hub_tools.judging import verdicts


def build_configs(
    source: Source,
    journal: Journal,
    settings: BuildSettings,
    *,
    progress: Callable[[int], None] | None = None,
    on_shard: Callable[[Shard], None] | None = None,
) -> BuildReport:
    """Build the configs of a source from the last run in a journal. Calls no judge.

    Args:
        progress: called with the rows done so far.
        on_shard: see `write_configs`.

    Raises:
        ConfigError: an unknown technique or default config.
        JournalError: the journal holds no run.
        BuildError: the folder cannot be written.
    """
    known = [str(technique) for technique in Technique]
    unknown = [name for name in settings.techniques if name not in known]
    if unknown:
        raise ConfigError(f"There is no technique {unknown[0]!r}. Techniques are: {', '.join(known)}.")
    if settings.default not in settings.techniques:
        raise ConfigError(
            f"The default config {settings.default!r} is not among those built: {', '.join(settings.techniques)}."
        )
    run = journal.last_run()
    return write_configs(
        _counted(verdicts(source, journal, run), progress),
        Path(settings.out),
        techniques=[Technique(name) for name in settings.techniques],
        limit=settings.limit,
        stage_names=[stage["name"] for stage in run["stages"]],
        stage_judges=[JudgeIdentity(**stage["judge"]).describe() for stage in run["stages"]],
        max_shard_bytes=settings.max_shard_bytes,
        default_config=settings.default,
        # Asked for when the rows have been read: only then is it known how many were skipped.
        manifest_extra=lambda: {"source": {**source.record(), "fingerprint": source.fingerprint()}, "run": run},
        on_shard=on_shard,
    )


def _counted(
    items: Iterator[tuple[NumberedRow, list[Verdict]]], progress: Callable[[int], None] | None
) -> Iterator[tuple[NumberedRow, list[Verdict]]]:
    for done, item in enumerate(items, start=1):
        yield item
        if progress is not None:
            progress(done)
