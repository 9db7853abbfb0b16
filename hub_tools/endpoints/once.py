"""Something asked of a server once, by whichever request needs it first."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class Once(Generic[Value]):
    """A value that is worked out at the first `get` and then kept. Requests that come meanwhile wait for the same work.

    A failure is not kept: the next `get` tries again. Works across event loops, as endpoints do.
    """

    def __init__(self, work: Callable[[], Awaitable[Value]]) -> None:
        self._work = work
        self._values: list[Value] = []
        self._task: asyncio.Task[Value] | None = None

    async def get(self) -> Value:
        if self._values:
            return self._values[0]
        if self._task is None or self._task.done() or self._task.get_loop() is not asyncio.get_running_loop():
            self._task = asyncio.create_task(self._run())
            self._task.add_done_callback(_look)
        # Shielded, since one waiting request that is cancelled must not take the others with it.
        return await asyncio.shield(self._task)

    async def _run(self) -> Value:
        value = await self._work()
        self._values = [value]
        return value


def _look(task: asyncio.Task[Value]) -> None:
    """Mark a failure as seen, for when everyone who waited for it was cancelled."""
    if not task.cancelled():
        task.exception()
