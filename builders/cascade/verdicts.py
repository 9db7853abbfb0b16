"""The verdicts on a source, as a journal has them.

Verdicts are a pure function of the source, the journal and the settings of the run, so a new technique, another way of
combining the same judges or another threshold costs no judge calls.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from hf_relabel.builders.cascade.judged_in_run import JudgedRow, judged_in_run
from hf_relabel.builders.cascade.run_choice import run_of
from hf_relabel.builders.journal.store import Journal
from hf_relabel.builders.judgements import Verdict
from hf_relabel.builders.rows import NumberedRow

if TYPE_CHECKING:
    from hf_relabel.builders.cascade.calibration import Calibration
    from hf_relabel.builders.cascade.suspects import Rows


def judged_rows(
    source: Rows,
    journal: Journal,
    run: Mapping[str, Any] | None = None,
    *,
    calibration: Calibration | None = None,
) -> Iterator[JudgedRow]:
    """Every row of a source with what the journal says of it. Calls no judge.

    Args:
        run: the settings of the run to read, as `Journal.last_run` gives them; None for the one that speaks of this
            source, see hf_relabel.builders.cascade.run_choice.
        calibration: its thresholds decide instead of the judges' labels, see hf_relabel.builders.cascade.zones.

    Raises:
        ConfigError: the calibration is of other judges.
    """
    settings = run_of(source, journal).settings if run is None else run
    yield from judged_in_run(source, journal, settings, calibration)


def verdicts(
    source: Rows,
    journal: Journal,
    run: Mapping[str, Any] | None = None,
    *,
    calibration: Calibration | None = None,
) -> Iterator[tuple[NumberedRow, list[Verdict]]]:
    """The verdicts on every row of a source, worked out from the journal. Calls no judge.

    Args:
        run, calibration: see `judged_rows`.

    Yields:
        Each row with one verdict per negative, in their order.
    """
    for judged in judged_rows(source, journal, run, calibration=calibration):
        yield judged.numbered, judged.verdicts
