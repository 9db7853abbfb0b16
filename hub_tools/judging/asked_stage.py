"""A judge of a stage that asks servers: candidates become questions, answers go into the journal."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import count
from typing import Any, TypeAlias

from hf_relabel.builders.disk.gc_pause import fewer_collections
from hf_relabel.builders.endpoint import Endpoint, EndpointError, Reply, Request
from hf_relabel.builders.errors import JournalError, JudgingStopped
from hf_relabel.builders.journal.keys import JudgeIdentity
from hf_relabel.builders.judgements import Judgement, Label
from hf_relabel.builders.judges.prompted.base import PromptedJudge
from hf_relabel.builders.judges.prompted.fitting_context import fitted
from hf_relabel.builders.judges.prompted.saved_replies import SavedRepliesJudge
from hf_relabel.builders.judges.protocols import PromptJudge
from hf_relabel.builders.messages.counted import counted
from hf_relabel.builders.rows import Row
from hf_relabel.hub_tools.calls.coroutines import run_coroutine
from hf_relabel.hub_tools.endpoints.scheduling.scheduler import Limits, RunStats, Scheduler, Sends
from hf_relabel.hub_tools.endpoints.sending import further
from hf_relabel.hub_tools.endpoints.special_tokens import special_tokens
from hf_relabel.hub_tools.hub.redaction import short
from hf_relabel.hub_tools.judging.adapting import instead_of, room_of, with_instead, with_judge
from hf_relabel.hub_tools.judging.replies import ReplyReader, Waiting
from hf_relabel.hub_tools.judging.stage_report import StageReport
from hf_relabel.hub_tools.judging.stage_rows import StageRows
from hf_relabel.hub_tools.judging.stages import (
    is_batch,
)

MOST_UNPROVEN = 1_000
"""Failed requests held back until it is known whether the server answers at all."""
OF_THE_RUN = ("unauthorized", "quota", "misaddressed")
"""Failures that say nothing of a candidate, where nothing else came."""
Answered: TypeAlias = tuple[Row, dict[int, bytes], dict[int, Judgement], Reply]
"""A row, the journal's keys of the candidates that were asked about, what was said of each, and the reply."""
Schedule: TypeAlias = Callable[[Sequence[Endpoint], Limits], Sends]
"""What makes a scheduler, or what stands for one, for the endpoints of a judge and its limits."""


class AskedStage(StageRows):
    """A judge that asks servers, at work on the rows of a source.

    Args:
        schedule: what sends the requests; None for a scheduler of its own.
    """

    def __init__(self, *given: Any, schedule: Schedule | None = None, **settings: Any) -> None:
        super().__init__(*given, **settings)
        self.schedule = schedule or partial(Scheduler, budget=self.budget)
        self.asked_as, self.instead, self.changed = self.identity, instead_of(self.identity), False
        self.report.instead = tuple(self.instead.items())
        self.used_before: tuple[int, int, int, float] = (0, 0, 0, 0.0)
        self.interrupted = self.hopeless = False
        self.scheduler: Sends | None = None
        self.unproven: list[tuple[Waiting, EndpointError]] = []
        self.answered: list[tuple[Waiting, dict[int, Judgement], Reply]] = []
        self.broken: JournalError | None = None

    def run(self) -> StageReport:
        """Judge what the journal has no answer for.

        Raises:
            JudgingStopped: interrupted, a limit was reached, or the servers answer nothing that can be used.
        """
        judge = self.member.judge
        assert not is_batch(judge), "judges that compute are no business of this class"
        assert not isinstance(judge, SavedRepliesJudge), "nor are those that read"
        with fewer_collections():
            asked = fitted(self._warned(judge), room_of(self.member.endpoints))
            run_coroutine(self._ask_servers(asked), on_interrupt=self._interrupt)
            while self.changed:
                self._begin_anew()
                run_coroutine(self._ask_servers(asked), on_interrupt=self._interrupt)
        return self.report

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
            if stats.succeeded or not all(error.kind in OF_THE_RUN for _, error in self.unproven):
                self._keep_failures()
            self._add_usage(stats)
            self._stop_if_turned_away(stats)
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
            self.counted_before.update(found)
        return dict(zip(positions, found, strict=True))

    def _change(self, instead: Mapping[str, str]) -> None:
        """The server was sent something else than this judge is known by: from here on it is another judge, and what
        was counted so far was another's."""
        self.changed, self.instead = True, dict(instead)
        self.identity = with_instead(self.identity, self.instead)
        self.all_run_stages[self.last] = with_judge(self.all_run_stages[self.last], self.number, self.identity)
        self.report.instead = tuple(self.instead.items())
        self._count_anew("labels", "asked", "cut", "fewer_positives")
        self.counted_before.clear()
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
        turned_away = [each for each in self.unproven if each[1].status == 401]  # never for what was asked
        for waiting, error in self.unproven:
            if error.status == 401:
                continue
            failed = Judgement(Label.FAILED, rationale=str(error)[:500])
            self.record(waiting.row, waiting.keys, dict.fromkeys(waiting.keys, failed), None)
            self.in_flight.difference_update(waiting.keys.values())
        self.unproven = turned_away

    def _stop_if_turned_away(self, stats: RunStats) -> None:
        """However few requests there were, too few for the scheduler to give the run up: with another token, or
        another address, the same command is to ask them again."""
        if not self.unproven or self.changed:
            return
        times = counted(len(self.unproven), "request")
        stats.stopped = f"{times} turned away, none of them for what it asks: {self.unproven[0][1]}"
        self.unproven.clear()
        raise stats.as_error()

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
