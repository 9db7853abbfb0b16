"""How a run ends: by itself, stopped with grace and then without, given up, or by what is no server's doing."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Literal

from hf_relabel.builders.endpoint import Reply
from hf_relabel.hub_tools.endpoints.scheduling.reasons import Reasons
from hf_relabel.hub_tools.endpoints.scheduling.stats import RunStats


class Ending:
    """The phases of a run: in `running` requests are sent, in `draining` nothing new is, and in `cancelling` what is in
    flight is given up.

    Args:
        grace: seconds that requests in flight may take to finish when a run is stopped.
        tasks: what is in flight.
        stats: of the run, which say why it was stopped.
        reasons: what went wrong in it.

    Attributes:
        over: done when nothing is left to do.
        crashed: what ended it that was no server's doing.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        grace: float,
        tasks: Collection[asyncio.Task[Reply]],
        stats: RunStats,
        reasons: Reasons,
    ) -> None:
        self.phase: Literal["running", "draining", "cancelling"] = "running"
        self.over: asyncio.Future[None] = loop.create_future()
        self.crashed: BaseException | None = None
        self._loop, self._grace, self._tasks, self._stats, self._reasons = loop, grace, tasks, stats, reasons
        self._timers: list[asyncio.TimerHandle] = []

    @property
    def is_running(self) -> bool:
        """Whether requests are sent."""
        return self.phase == "running"

    def after(self, seconds: float, reason: str) -> None:
        """Give up when so much time is over."""
        self._timers.append(self._loop.call_later(seconds, self.give_up, reason))

    def stop(self, reason: str) -> None:
        """The caller's wish: the first time with grace, the second without."""
        if self.is_running:
            self.stop_sending(reason)
        else:
            self._cancel()

    def stop_sending(self, reason: str) -> None:
        """Send nothing new, and give what is in flight its grace."""
        if not self.is_running or self.over.done():
            return
        self.phase = "draining"
        self._stats.stopped = reason
        if not self._tasks:
            self.finish()
        else:
            self._timers.append(self._loop.call_later(self._grace, self._cancel))

    def give_up(self, reason: str) -> None:
        """Stop, and say what went wrong most."""
        told = self._reasons.told()
        self.stop_sending(f"{reason}; {told}" if told else reason)

    def finish(self) -> None:
        """There is nothing left to do."""
        if not self.over.done():
            self.over.set_result(None)

    def crash(self, error: BaseException) -> None:
        """Something that is not a server's doing went wrong: end the run with it."""
        if self.crashed is None:
            self.crashed = error
        self.phase = "cancelling"
        self.finish()

    def close(self) -> None:
        """Leave no timer behind. What is in flight by now is cancelled by who sent it."""
        if self._tasks or not self.over.done():
            self.phase = "cancelling"
        for timer in self._timers:
            timer.cancel()

    def _cancel(self) -> None:
        self.phase = "cancelling"
        for task in self._tasks:
            task.cancel()
        if not self._tasks:
            self.finish()
