"""Which run of a journal speaks of a source.

A journal holds runs of several sources, by several judges, of few rows or all, to the end or not. What a run says of a
source is found by looking: the judgements of its stages on these very rows, whatever the source was called when it was
judged. So the last run that judged (nearly) all of the source is taken, not the last run.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from hf_relabel.builders.cascade.judged_in_run import judged_in_run
from hf_relabel.builders.cascade.judged_share import ENOUGH, share_of
from hf_relabel.builders.cascade.run_stages import RunStage, stages_of_run
from hf_relabel.builders.cascade.suspects import Rows
from hf_relabel.builders.errors import JournalError, NotJudged
from hf_relabel.builders.journal.runs import Run
from hf_relabel.builders.journal.store import Journal
from hf_relabel.builders.messages.counted import percent
from hf_relabel.builders.messages.spelling import argument
from hf_relabel.builders.rows import NumberedRow
from hf_relabel.builders.sources.samples import RowsDrawn

LOOKED_AT = 1_000
"""Rows of a source on which runs are compared, drawn by a hash of their content; they are held in memory."""
NOTABLY = 0.01
"""A run that judged so much more than another, as a share of the candidates, is spoken of."""
_SHOWN = 5

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Covering:
    """A run, and for which share of what needs a judge in a source the journal holds answers of its judges, whichever
    run they were asked in."""

    run: Run
    share: float

    def told(self) -> str:
        return f"{told(self.run)}: {percent(self.share)}"


def run_of(source: Rows, journal: Journal, number: int | None = None, *, least: float = 0.0) -> Run:
    """The run to read the verdicts on a source from: the last complete one that judged nearly all of it; where none
    did, the one that judged most. Warns where another judged more.

    Args:
        number: of the run that is wanted; None for `Journal.used_run`, or to choose.
        least: share of what needs a judge that a run must have judged to be chosen.

    Raises:
        JournalError: the journal holds no run, or none of that number.
        NotJudged: no run judged so much of the source. The message lists them.
    """
    runs = journal.runs()
    if not runs:
        journal.newest_run()  # says so
    wanted = journal.used_run if number is None else number
    if wanted is not None:
        return _named(runs, wanted, journal)
    ways = {_way(run): run for run in reversed(runs)}  # the verdicts follow from judges and rules alone
    if len(ways) == 1:
        return runs[0]
    covering = _measured(source, journal, [run for run in runs if ways[_way(run)] is run])
    most = max(covering, key=lambda found: found.share)
    if most.share < least:
        raise NotJudged(_too_little(source, journal, covering))
    chosen = next((found for found in covering if found.share >= ENOUGH), most)
    if most.share > chosen.share + NOTABLY:
        _logger.warning(
            "%s is read: the journal holds its judges' answers for %s of what needs a judge, and those of the judges of"
            " %s. Take that with %s.",
            told(chosen.run), percent(chosen.share), most.told(), argument("run", most.run.number),
        )  # fmt: skip
    return chosen.run


def told(run: Run) -> str:
    """A run as messages name it: `run 3 (listwise some/model on train.jsonl, limit 20)`."""
    judges = ", then ".join(map(_judges, stages_of_run(run.settings)))
    source = run.settings.get("source") or {}
    parts = [f"{name} {_short(source[name])}" for name in ("config", "split", "subset", "sample", "limit")
             if source.get(name)]  # fmt: skip
    unfinished = "" if run.complete else "; not finished"
    return f"run {run.number} ({judges} on {', '.join([str(source.get('name')), *parts])}{unfinished})"


def _judges(stage: RunStage) -> str:
    return " + ".join(dict.fromkeys(f"{judge.kind} {judge.model}" for judge in stage.judges))


def _short(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return json.dumps(value) if isinstance(value, dict) else str(value)


def _way(run: Run) -> str:
    return json.dumps([run.settings["stages"], run.settings["exempt"]], sort_keys=True)


def _named(runs: Sequence[Run], number: int, journal: Journal) -> Run:
    for run in runs:
        if run.number == number:
            return run
    raise JournalError(f"{journal.path} has no run {number}. It has: {_listed([told(run) for run in runs])}.")


def _listed(said: Sequence[str]) -> str:
    return "; ".join([*said[:_SHOWN], *(["…"] if len(said) > _SHOWN else [])])


def _too_little(source: Rows, journal: Journal, covering: Sequence[Covering]) -> str:
    shares = _listed([found.told() for found in sorted(covering, key=lambda found: -found.share)])
    return (
        f"The judges of no run in {journal.path} answered enough of {source.record().get('name')}. Of what needs a"
        f" judge there, it holds the answers of those of {shares}. Judge the rest, name another with"
        f" {argument('journal')}, or take what there is with {argument('min_judged', 0)}."
    )


@contextmanager
def telling_of_others(source: Rows, journal: Journal, run: Run) -> Iterator[None]:
    """Around the reading of a run: where its judges answered too little, the message names the runs whose judges
    answered nearly all."""
    try:
        yield
    except NotJudged as error:
        ways = {_way(other): other for other in reversed(journal.runs()) if _way(other) != _way(run)}
        covering = [found for found in _measured(source, journal, list(ways.values())) if found.share >= ENOUGH]
        if not covering:
            raise
        shares = _listed([found.told() for found in sorted(covering, key=lambda found: -found.run.number)])
        raise NotJudged(f"{error} The journal holds answers of the judges of {shares}.") from error


@dataclass(frozen=True, slots=True)
class _Held:
    """Some rows of a source, in its order."""

    kept: tuple[NumberedRow, ...]
    source: Rows

    def rows(self) -> Iterator[NumberedRow]:
        return iter(self.kept)

    def record(self) -> dict[str, Any]:
        return self.source.record()


def _measured(source: Rows, journal: Journal, runs: Sequence[Run]) -> list[Covering]:
    drawn = RowsDrawn(LOOKED_AT)
    for numbered in source.rows():
        drawn.add(numbered)
    held = _Held(drawn.in_order(), source)
    found = []
    for run in runs:
        outcomes: Counter[tuple[str, str]] = Counter()
        for judged in judged_in_run(held, journal, run.settings):
            outcomes.update((str(verdict.outcome), verdict.reason) for verdict in judged.verdicts)
        found.append(Covering(run, share_of(outcomes).share))
    return found
