"""What looks into a source and a journal and calls no judge, for callers who name files instead of opening them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from hf_relabel.builders.audit import draw as drawing
from hf_relabel.builders.cascade import verdicts as runs
from hf_relabel.builders.cascade.judged_in_run import JudgedRow
from hf_relabel.builders.judgements import Verdict
from hf_relabel.builders.rows import NumberedRow
from hf_relabel.builders.sources import inspection
from hf_relabel.builders.sources.inspection import Inspection
from hf_relabel.hub_tools.calls import progress_bars as bars
from hf_relabel.hub_tools.calls.given import AnyJournal, AnySource, as_journal, as_source

if TYPE_CHECKING:
    from hf_relabel.builders.audit.sample import AuditSample
    from hf_relabel.builders.cascade.calibration import Calibration

__all__ = ["draw_audit", "inspect", "judged_rows", "verdicts"]


def inspect(source: AnySource, progress: Callable[[int], None] | bool | None = True) -> Inspection:
    """Read a whole source and say what is in it. In memory it holds some bytes per row, never the rows.

    Example:
            print(inspect("train.jsonl").to_text())

    Args:
        source: what `open_source` gives or takes.
        progress: a bar at a terminal and in a notebook; False for none; or what is called with the rows read so far.

    Raises:
        SourceError: the source cannot be opened.
        BadRow: a row cannot be used, and the source was not opened with `skip_bad_rows`.
    """
    opened = as_source(source)
    with bars.counting(progress, "reading") as told:
        return inspection.inspect(opened, told)


def verdicts(
    source: AnySource,
    journal: AnyJournal,
    run: Mapping[str, Any] | None = None,
    *,
    calibration: Calibration | None = None,
) -> Iterator[tuple[NumberedRow, list[Verdict]]]:
    """The verdicts on every row of a source, worked out from the journal. Calls no judge.

    Example:
            for numbered, found in verdicts("train.jsonl", "journal.sqlite"):
                for verdict in found:
                    if verdict.is_false_negative:
                        print(numbered.row.query, numbered.row.negative_passages[verdict.position].text)

    Args:
        source: what `open_source` gives or takes.
        journal: a `Journal` or the path of one.
        run: the settings of the run to read, as `Journal.last_run` gives them; None for the last one that judged this
            source.
        calibration: its thresholds decide instead of the judges' labels, see hf_relabel.builders.cascade.zones.

    Yields:
        Each row with one verdict per negative, in their order.

    Raises:
        JournalError: there is no such journal, or it holds no run.
        SourceError, BadRow: the source cannot be opened or read.
    """
    for judged in judged_rows(source, journal, run, calibration=calibration):
        yield judged.numbered, judged.verdicts


def judged_rows(
    source: AnySource,
    journal: AnyJournal,
    run: Mapping[str, Any] | None = None,
    *,
    calibration: Calibration | None = None,
) -> Iterator[JudgedRow]:
    """Every row of a source with all that the journal says of it: verdicts, and each judge's own words. Calls no judge.

    Example:
            for judged in judged_rows("train.jsonl", "journal.sqlite"):
                for view in judged.views:  # one for each stage
                    print(judged.numbered.row.query_id, view.word)

    Args:
        source, journal, run, calibration: as for `verdicts`.

    Raises:
        As `verdicts` does.
    """
    opened = as_source(source)
    with as_journal(journal, write=False) as kept:
        yield from runs.judged_rows(opened, kept, run, calibration=calibration)


def draw_audit(
    source: AnySource,
    journal: AnyJournal,
    *,
    size: int = 400,
    seed: int = 0,
    calibration: Calibration | None = None,
    run: int | None = None,
    progress: Callable[[int], None] | bool | None = True,
) -> AuditSample:
    """Draw a blind, stratified sample of what the last run in a journal judged. Calls no judge.

    Example:
            sample = draw_audit("train.jsonl", "journal.sqlite", size=200)
            for item in sample.items:
                print(item.query, item.candidate)

    Args:
        source, journal: as for `verdicts`.
        size: candidates to draw.
        seed: another one draws others.
        calibration: audit the verdicts that its thresholds give, and not those of the judges' labels.
        run: number of the run to read; None for the last one whose judges answered nearly all of the source.
        progress: a bar, or what is called with the candidates read so far.

    Raises:
        ConfigError: nothing was judged, or the size is below 1.
        JournalError: the journal holds no run.
    """
    opened = as_source(source)
    with as_journal(journal, write=False) as kept, bars.counting(progress, "drawing") as told:
        return drawing.draw_audit(opened, kept, size=size, seed=seed, calibration=calibration, run=run, progress=told)
