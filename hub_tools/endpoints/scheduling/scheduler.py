"""One scheduler above all judge endpoints: it decides what is sent where and when, and when to stop.

Requests are pulled from an iterator only when a slot is free. A request that failed waits in a heap, not in a slot, and
goes first when it is due. What happens in between is in `run.py`.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable, Sequence
from typing import Protocol

from hf_relabel.builders.endpoint import Endpoint, Request
from hf_relabel.builders.errors import ConfigError
from hf_relabel.hub_tools.endpoints.scheduling.budget import Budget
from hf_relabel.hub_tools.endpoints.scheduling.feeds import Feed, Requests
from hf_relabel.hub_tools.endpoints.scheduling.lane import Lane, Lanes
from hf_relabel.hub_tools.endpoints.scheduling.limits import Limits
from hf_relabel.hub_tools.endpoints.scheduling.run import Run
from hf_relabel.hub_tools.endpoints.scheduling.stats import EndpointStats, OnDone, OnProgress, RunStats

__all__ = ["Budget", "EndpointStats", "Feed", "Lanes", "Limits", "OnDone", "RunStats", "Scheduler", "Sends"]


class Sends(Protocol):
    """A `Scheduler`, or what stands for one that works elsewhere."""

    async def run(
        self, requests: Iterable[Request | None], on_done: OnDone, *, on_progress: OnProgress | None = None
    ) -> RunStats:
        """As `Scheduler.run`."""
        ...

    def stop(self, reason: str) -> None:
        """As `Scheduler.stop`."""
        ...


class Scheduler:
    """Sends requests to several endpoints at once, within limits.

    Times are the event loop's, so a test with a loop of its own has a clock of its own.

    Example:
            scheduler = Scheduler([make_endpoint("http://127.0.0.1:8080")], Limits(max_cost=5.0))
            stats = await scheduler.run(requests, on_done)

    Args:
        endpoints: at least one. They must be interchangeable: any may answer any request. They are not closed.
        limits: see `Limits`.
        rng: source of the jitter.
        lanes: of servers that other schedulers of this process ask too; None for lanes of its own.
        budget: of the run that this is a part of; None for one of its own.
    """

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        limits: Limits | None = None,
        *,
        rng: random.Random | None = None,
        lanes: Lanes | None = None,
        budget: Budget | None = None,
    ) -> None:
        if not endpoints:
            raise ConfigError("A judge that asks a server needs at least one endpoint.")
        self._endpoints = tuple(endpoints)
        self._limits = limits or Limits()
        self._rng = rng or random.Random()  # noqa: S311 - jitter
        self._lanes, self._budget = lanes, budget
        self._run: Run | None = None
        self._stop_first: str | None = None

    async def run(
        self,
        requests: Requests,
        on_done: OnDone,
        *,
        on_progress: OnProgress | None = None,
    ) -> RunStats:
        """Send every request and deliver every answer.

        Args:
            requests: may be an endless generator, asynchronous, or a `Feed`; requests are pulled in order, when there
                is room for one.
            on_done: called once per request, with its reply or with the error that ended it: a permanent one, or the
                last one when its attempts are used up. Where an endpoint raises what is no EndpointError, that is the
                error of this one request.
            on_progress: called about once a second, and at the end.

        Raises:
            JudgingStopped: the run ended early, after what was in flight was given time to finish. Its `stats` tell
                what was done. Requests that were pulled and not delivered are simply not delivered.
            Exception: whatever `requests`, `on_done` or `on_progress` raised; what was in flight is cancelled.
        """
        if self._run is not None:
            raise RuntimeError("This scheduler is already running.")
        run = self._run = Run(
            self._limits,
            self._rng,
            self._lane,
            on_done,
            on_progress,
            self._budget or Budget(clock=asyncio.get_running_loop().time),
        )
        try:
            if self._stop_first is not None:
                run.stop(self._stop_first)
            return await run.run(self._endpoints, requests)
        finally:
            self._run = self._stop_first = None

    def stop(self, reason: str) -> None:
        """End the run: nothing new is sent, and what is in flight has `Limits.grace` seconds. Called again: none.

        May be called from a signal handler or another thread. Called before `run`, it stops that run at its start.

        Args:
            reason: in a few words, for the message of `JudgingStopped`.
        """
        run = self._run
        if run is None:
            self._stop_first = reason
        else:
            run.loop.call_soon_threadsafe(run.stop, reason)

    def _lane(self, name: str, limit: int) -> Lane:
        if self._lanes is None:
            return Lane(self._limits, limit, self._rng)
        return self._lanes.lane(name, self._limits, limit, self._rng)
