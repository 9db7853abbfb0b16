"""One judge of a stage at work: candidates become questions, answers go into the journal."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import count
from typing import TypeAlias

from hf_relabel.builders.cascade.rules import Findings, StageAnswers
from hf_relabel.builders.cascade.suspects import Rows
from hf_relabel.builders.cascade.verdicts import RunStage, StageView, in_batches, stage_views
from hf_relabel.builders.disk.gc_pause import fewer_collections
from hf_relabel.builders.endpoint import Endpoint, EndpointError, Reply, Request
from hf_relabel.builders.errors import ConfigError, JournalError, JudgingStopped
from hf_relabel.builders.journal.keys import JudgeIdentity
from hf_relabel.builders.journal.store import Journal
from hf_relabel.builders.judgements import Judgement, Label
from hf_relabel.builders.judges.offline.truth import TruthJudge
from hf_relabel.builders.judges.prompted.base import PromptedJudge
from hf_relabel.builders.judges.prompted.fitting_context import fitted
from hf_relabel.builders.judges.prompted.saved_replies import SavedRepliesJudge
from hf_relabel.builders.judges.protocols import BatchJudge, PromptJudge
from hf_relabel.builders.messages.counted import counted
from hf_relabel.builders.rows import Row
from hf_relabel.builders.sources.findings import free_findings
from hf_relabel.builders.sources.subsets import is_exempt
from hf_relabel.hub_tools.calls.coroutines import run_coroutine
from hf_relabel.hub_tools.endpoints.scheduling.scheduler import Budget, Limits, RunStats, Scheduler, Sends
from hf_relabel.hub_tools.endpoints.sending import further
from hf_relabel.hub_tools.endpoints.special_tokens import special_tokens
from hf_relabel.hub_tools.hub.redaction import short
from hf_relabel.hub_tools.judging.adapting import instead_of, room_of, with_instead, with_judge
from hf_relabel.hub_tools.judging.replies import ReplyReader, Waiting
from hf_relabel.hub_tools.judging.stage_report import Progress, StageReport
from hf_relabel.hub_tools.judging.stages import (
    Stage,
    is_batch,
)

BATCH_SECONDS = 10.0
"""What a batch of a judge that computes is to take, so that a killed run loses little. Longer rows make it more."""
FIRST_BATCH_ROWS = 4
MOST_UNPROVEN = 1_000
"""Failed requests held back until it is known whether the server answers at all."""
Answered: TypeAlias = tuple[Row, dict[int, bytes], dict[int, Judgement], Reply]
"""A row, the journal's keys of the candidates that were asked about, what was said of each, and the reply."""
Schedule: TypeAlias = Callable[[Sequence[Endpoint], Limits], Sends]
"""What makes a scheduler, or what stands for one, for the endpoints of a judge and its limits."""


class BatchPace:
    """How many rows a judge that computes gets at once: so many that what it said is written down every few seconds.

    Args:
        most: rows the judge takes at once.
        clock: seconds from any start.
    """

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.rows, self._most, self._clock = min(most, FIRST_BATCH_ROWS), most, clock

    @contextlib.contextmanager
    def measured(self, rows: int) -> Iterator[None]:
        """Around the work on a batch, which says how large the next one may be: at most twice as large."""
        began = self._clock()
        yield
        seconds = self._clock() - began
        fitting = int(rows * BATCH_SECONDS / seconds) if seconds > 0 else self._most
        self.rows = max(1, min(self._most, 2 * self.rows, fitting))


class StageRun:
    """One judge of the last of some stages, over all rows of a source."""

    def __init__(
        self,
        source: Rows,
        stages: Sequence[Stage],
        run_stages: list[RunStage],
        number: int,
        journal: Journal,
        *,
        exempt: frozenset[str],
        retry_failed: bool,
        progress: Progress | None,
        schedule: Schedule | None = None,
        budget: Budget | None = None,
    ) -> None:
        self.source, self.journal = source, journal
        self.number, self.all_run_stages, self.last = number, run_stages, len(stages) - 1
        self.member, self.identity = stages[-1].members[number], run_stages[self.last].judges[number]
        self.asked_as, self.instead, self.changed = self.identity, instead_of(self.identity), False
        self.recorded_as_changed: set[bytes] = set()
        self.used_before: tuple[int, int, int, float] = (0, 0, 0, 0.0)
        self.exempt = exempt
        self.retry_failed, self.progress = retry_failed, progress
        self.budget = budget or Budget()
        self.schedule = schedule or partial(Scheduler, budget=self.budget)
        name = stages[-1].name if not stages[-1].others else f"{stages[-1].name} #{number + 1}"
        self.report = StageReport(name, self.identity.describe(), instead=tuple(self.instead.items()))
        self.in_flight: set[bytes] = set()
        self.interrupted = self.hopeless = False
        self.scheduler: Sends | None = None
        self.unproven: list[tuple[Waiting, EndpointError]] = []
        self.answered: list[tuple[Waiting, dict[int, Judgement], Reply]] = []
        self.broken: JournalError | None = None

    @property
    def run_stages(self) -> Sequence[RunStage]:
        """Whom the journal knows the judges of these stages as."""
        return self.all_run_stages[: self.last + 1]

    def needed(self) -> Iterator[tuple[Row, dict[int, bytes]] | None]:
        """Rows with the candidates this stage has no answer for, with their keys by position. Now and then None: to
        skip what is known takes long, and others want to do something meanwhile.

        The keys are in flight from then on, until their answers are written down.
        """
        for batch in in_batches(self.source.rows()):
            rows = [numbered.row for numbered in batch if not is_exempt(numbered.row, self.exempt)]
            self.report.exempt += len(batch) - len(rows)
            found = [(row, free_findings(row)) for row in rows]
            views = stage_views(found, self.run_stages, self.journal)
            self._set_aside([numbered.row for numbered in batch], found, views)
            # For all rows before the first is given away: what was looked up is out of date after that.
            missing = [self._missing(of_row[-1].keys[self.number], of_row[-1].said[self.number]) for of_row in views]
            self.report.rows += len(batch)
            self._show()
            for row, keys in zip(rows, missing, strict=True):
                if keys:
                    yield row, keys
            yield None

    def _set_aside(
        self, batch: Sequence[Row], found: Sequence[tuple[Row, Findings]], views: Sequence[Sequence[StageView]]
    ) -> None:
        """Count the candidates of some rows, and those that this judge is not asked about."""
        aside, candidates = self.report.aside, sum(len(row.negative_passages) for row in batch)
        here = sum(len(row.negative_passages) for row, _ in found)
        free, asked = sum(len(of_row) for _, of_row in found), sum(len(view[-1].keys[self.number]) for view in views)
        self.report.candidates += candidates
        aside["exempt"] += candidates - here
        aside["free"] += free
        aside["settled"] += here - free - asked

    def _missing(self, asked: Mapping[int, bytes], known: StageAnswers) -> dict[int, bytes]:
        keys: dict[int, bytes] = {}
        for position, key in asked.items():
            judgement = known.get(position)
            if key in self.recorded_as_changed:
                continue  # counted when it was
            if judgement is not None and (judgement.label.is_answer or not self.retry_failed):
                self.report.known += 1
                self.report.known_labels[judgement.label] += 1
                self.report.unknown += judgement.is_unknown
            elif key not in self.in_flight:
                # The same text twice, in this row or in another, is asked once.
                keys[position] = key
                self.in_flight.add(key)
            else:
                self.report.aside["repeated"] += 1
        return keys

    def record(
        self, row: Row, keys: Mapping[int, bytes], judgements: Mapping[int, Judgement], reply: Reply | None
    ) -> None:
        self.journal.record(self.identity, row, keys, judgements, reply)
        self.count(judgements)

    def count(self, *of_rows: Mapping[int, Judgement]) -> None:
        """Count what was written down in one go, and tell of it once: of a burst only the first would be seen."""
        for judgements in of_rows:
            for judgement in judgements.values():
                self.report.labels[judgement.label] += 1
                self.report.cut += judgement.cut
                self.report.unknown += judgement.is_unknown
            self.report.asked += len(judgements)
        self._show()

    def _show(self) -> None:
        if self.progress is not None:
            self.progress(self.report)

    def run(self) -> StageReport:
        judge = self.member.judge
        with fewer_collections():
            if isinstance(judge, SavedRepliesJudge) or is_batch(judge):
                self._work_here(judge)
            else:
                asked = fitted(self._warned(judge), room_of(self.member.endpoints))
                run_coroutine(self._ask_servers(asked), on_interrupt=self._interrupt)
                while self.changed:
                    self._begin_anew()
                    run_coroutine(self._ask_servers(asked), on_interrupt=self._interrupt)
        return self.report

    def _work_here(self, judge: SavedRepliesJudge | BatchJudge) -> None:
        """Without a server. Ctrl-C is the same clean stop as with one; the batch in work is lost."""
        try:
            if isinstance(judge, SavedRepliesJudge):
                self._read_saved(judge)
            else:
                self._compute(judge)
        except KeyboardInterrupt:
            done = counted(self.report.asked, "candidate")
            stopped = JudgingStopped(f"Judging stopped: interrupted ({done} judged in this run).")
            stopped.interrupted = True
            raise stopped from None

    def _compute(self, judge: BatchJudge) -> None:
        batch: list[tuple[Row, dict[int, bytes]]] = []
        pace = BatchPace(judge.batch_rows)
        for item in filter(None, self.needed()):
            batch.append(item)
            if len(batch) >= pace.rows:
                self._check_deadline()
                with pace.measured(len(batch)):
                    self._compute_batch(judge, batch)
                batch = []
        if batch:
            self._compute_batch(judge, batch)
        if isinstance(judge, TruthJudge):
            judge.warn_of_unmatched()

    def _check_deadline(self) -> None:
        deadline = self.member.limits.deadline
        if deadline is not None and self.budget.elapsed > deadline:
            done = counted(self.report.asked, "candidate")
            raise JudgingStopped(
                f"Judging stopped: the deadline of {deadline:g} s has passed ({done} judged in this run)."
            )

    def _compute_batch(self, judge: BatchJudge, batch: Sequence[tuple[Row, dict[int, bytes]]]) -> None:
        results = judge.judge([(row, list(keys)) for row, keys in batch])
        items = [(row, keys, result) for (row, keys), result in zip(batch, results, strict=True)]
        self.journal.record_many(self.identity, items)
        for _, keys, _ in items:
            self.in_flight.difference_update(keys.values())
        self.count(*results)

    def _read_saved(self, judge: SavedRepliesJudge) -> None:
        if self.member.replies is None:
            raise ConfigError(f"Stage {self.report.name!r} reads saved replies and needs a file of them.")
        for numbered, response, finish_reason in self.member.replies.replies():
            row = numbered.row
            self.report.rows += 1
            judgements = judge.judgements(row, response, finish_reason)
            ((keys, found),) = self.journal.known(self.identity, [(row, list(judgements))])
            new = {
                position: judgement
                for position, judgement in judgements.items()
                if (known := found.get(position)) is None or (self.retry_failed and not known.label.is_answer)
            }
            for position in judgements.keys() - new.keys():
                self.report.known += 1
                self.report.known_labels[found[position].label] += 1
            self.report.candidates += len(row.negative_passages)
            self.report.aside["free"] += len(row.negative_passages) - len(judgements)
            if new:
                self.record(row, keys, new, Reply(response, model=self.identity.model, endpoint="saved replies"))

    def _warned(self, judge: PromptJudge) -> PromptJudge:
        """The judge, told what the served model reads as control tokens."""
        if not isinstance(judge, PromptedJudge):
            return judge
        found = special_tokens(self.member.endpoints, self.identity.model, self.identity.revision)
        return replace(judge, special_tokens=(*judge.special_tokens, *sorted(found)))

    async def _ask_servers(self, judge: PromptJudge) -> None:
        reader = ReplyReader(judge, self.member.limits.give_up_after)
        scheduler = self.scheduler = self.schedule(self.member.endpoints, self.member.limits)
        try:
            self._stop_on_interrupt()
            stats = await scheduler.run(
                self._requests(judge), lambda request, result: self._done(reader, scheduler, request, result)
            )
            self._write()
            self._keep_failures()
            self._add_usage(stats)
        except JudgingStopped as stopped:
            stopped.interrupted = self.interrupted
            raise
        finally:
            self._write()
            for endpoint in self.member.endpoints:
                await endpoint.close()

    def _stop_on_interrupt(self) -> None:
        """Make Ctrl-C a clean stop, see `_interrupt`."""
        # Not possible outside the main thread, where whoever waits for that thread calls it, or on other loops, where
        # Ctrl-C ends the run less gently.
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
            asyncio.get_running_loop().add_signal_handler(signal.SIGINT, self._interrupt)

    def _interrupt(self) -> None:
        """Nothing new is sent, what is in flight may still answer."""
        self.interrupted = True
        if self.scheduler is not None:
            self.scheduler.stop("interrupted")

    def _requests(self, judge: PromptJudge) -> Iterator[Request | None]:
        constrained = all(endpoint.constrains for endpoint in self.member.endpoints)
        numbers = count()
        for item in self.needed():
            if self.changed:
                return
            if item is None:
                yield None
                continue
            row, keys = item
            for ask in judge.asks(row, list(keys), constrained=constrained):
                of_ask = {position: keys[position] for position in ask.positions}
                yield replace(ask.request, tag=Waiting(ask, row, of_ask, next(numbers)))

    def _done(self, reader: ReplyReader, scheduler: Sends, request: Request, result: Reply | EndpointError) -> None:
        waiting: Waiting = request.tag
        self._add_cost(result.cost)
        if isinstance(result, Reply):
            if (instead := further(self.instead, dict(result.instead))) != self.instead:
                self._change(instead)
            self._keep_failures()
            self._add_tokens(result)
            if not self.answered:
                asyncio.get_running_loop().call_soon(self._write_or_stop, scheduler)
            self.answered.append((waiting, reader.read(waiting, result), result))
            if reader.hopeless and not self.hopeless:
                self.hopeless = True  # once: the second time would be without grace
                scheduler.stop(reader.hopeless)
            return
        self.unproven.append((waiting, result))
        if len(self.unproven) >= MOST_UNPROVEN:
            self._keep_failures()

    def _write_or_stop(self, scheduler: Sends) -> None:
        try:
            self._write()
        except JournalError:
            scheduler.stop("the journal cannot be written")

    def _write(self) -> None:
        """Write down the replies that came in one turn of the event loop, in one transaction: a transaction of its own
        for each would cost more than all other work on it."""
        if self.broken is not None:
            raise self.broken
        answered, self.answered = self.answered, []
        if not answered:
            return
        try:
            for identity, items in self._by_identity(answered):
                self._record(identity, items)
        except JournalError as error:
            self.broken = error
            raise
        answered = [each for each in answered if dict(each[2].instead) == self.instead]
        for waiting, _, _ in answered:
            self.in_flight.difference_update(waiting.keys.values())
            self.report.fewer_positives += len(waiting.keys) if waiting.ask.positives_left_out else 0
        self.count(*(judgements for _, judgements, _ in answered))

    def _record(self, identity: JudgeIdentity, items: Sequence[Answered]) -> None:
        """Where the replies of one turn cannot be written down together, each for itself, and what cannot be written
        down at all is a failure that says so."""
        try:
            self.journal.record_replies(identity, items)
        except JournalError:
            raise
        except Exception as error:
            if len(items) > 1:
                for item in items:
                    self._record(identity, [item])
                return
            ((row, keys, judgements, _),) = items
            why = f"The reply could not be written down: {type(error).__name__} {short(str(error))}"
            judgements = dict.fromkeys(judgements, Judgement(Label.FAILED, rationale=why))
            self.journal.record(identity, row, keys, judgements, None)

    def _by_identity(
        self, answered: Sequence[tuple[Waiting, dict[int, Judgement], Reply]]
    ) -> Iterator[tuple[JudgeIdentity, list[Answered]]]:
        """Answers by whom the journal is to know them as: a judge whose server was sent something else is another."""
        groups: dict[tuple[tuple[str, str], ...], list[Answered]] = {}
        for waiting, judgements, reply in answered:
            keys = waiting.keys
            if dict(reply.instead) != instead_of(self.asked_as):
                keys = self._keys_as(dict(reply.instead), waiting)
            groups.setdefault(reply.instead, []).append((waiting.row, keys, judgements, reply))
        for instead, items in groups.items():
            yield with_instead(self.identity, dict(instead)), items

    def _keys_as(self, instead: Mapping[str, str], waiting: Waiting) -> dict[int, bytes]:
        """The keys under which such an answer is found again."""
        positions = list(waiting.keys)
        found = with_instead(self.identity, instead).keys()(waiting.row, positions)
        if instead == self.instead:
            self.recorded_as_changed.update(found)
        return dict(zip(positions, found, strict=True))

    def _change(self, instead: Mapping[str, str]) -> None:
        """The server was sent something else than this judge is known by: from here on it is another judge, and what
        was counted so far was another's."""
        self.changed, self.instead = True, dict(instead)
        self.identity = with_instead(self.identity, self.instead)
        self.all_run_stages[self.last] = with_judge(self.all_run_stages[self.last], self.number, self.identity)
        self.report.instead = tuple(self.instead.items())
        self._count_anew("labels", "asked", "cut", "fewer_positives")
        self.recorded_as_changed.clear()
        self.unproven.clear()

    def _begin_anew(self) -> None:
        """Look through all rows again, for what the judge as it is now has no answer for."""
        report = self.report
        self.changed, self.asked_as = False, self.identity
        self.in_flight.clear()
        self.unproven.clear()
        self._count_anew("rows", "known", "known_labels", "unknown", "exempt", "candidates", "aside")
        self.used_before = report.requests, report.prompt_tokens, report.completion_tokens, report.seconds

    def _count_anew(self, *names: str) -> None:
        fresh = StageReport("", "")
        for name in names:
            setattr(self.report, name, getattr(fresh, name))

    def _keep_failures(self) -> None:
        """Write down the failures so far. They wait until the server has answered somebody: where it answers nobody
        (a wrong token, a dead machine) the run is given up, and it was the run that failed, not these candidates."""
        if self.changed:
            return  # they are asked again
        for waiting, error in self.unproven:
            failed = Judgement(Label.FAILED, rationale=str(error)[:500])
            self.record(waiting.row, waiting.keys, dict.fromkeys(waiting.keys, failed), None)
            self.in_flight.difference_update(waiting.keys.values())
        self.unproven.clear()

    def _add_tokens(self, reply: Reply) -> None:
        report = self.report
        report.requests += 1
        report.prompt_tokens += reply.prompt_tokens or 0
        report.completion_tokens += reply.completion_tokens or 0
        report.untold += reply.prompt_tokens is None or reply.completion_tokens is None

    def _add_cost(self, cost: float) -> None:
        if self.member.limits.is_priced:
            self.report.cost = (self.report.cost or 0.0) + cost

    def _add_usage(self, stats: RunStats) -> None:
        requests, prompt_tokens, completion_tokens, seconds = self.used_before
        self.report.requests = requests + stats.sent
        self.report.prompt_tokens = prompt_tokens + stats.prompt_tokens
        self.report.completion_tokens = completion_tokens + stats.completion_tokens
        self.report.seconds = seconds + stats.seconds
