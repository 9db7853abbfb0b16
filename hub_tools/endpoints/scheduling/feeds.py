"""Where the requests of a run come from: an iterable, an asynchronous one, or a feed of the caller's own."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable
from typing import Protocol, TypeAlias, runtime_checkable

from hf_relabel.builders.endpoint import Request

READ_AHEAD = 32
"""Requests of an asynchronous source held ready."""


@runtime_checkable
class Feed(Protocol):
    """Gives requests one at a time, each only when there is room for it."""

    @property
    def exhausted(self) -> bool:
        """Whether there will never be another request."""
        ...

    def attach(self, wake: Callable[[], None], slots: int) -> None:
        """The run begins.

        Args:
            wake: to be called when `pull` gave None and would give a request now, or never will.
            slots: the most requests that will be in flight.
        """
        ...

    def pull(self) -> Request | None:
        """The next request, None where there is none yet. What it raises ends the run."""
        ...

    async def close(self) -> None:
        """The run is over."""
        ...


Requests: TypeAlias = Iterable[Request | None] | AsyncIterable[Request] | Feed
"""An iterable gives None where it has worked for a while and found nothing yet: others get a turn before it goes on."""


def feed_of(requests: Requests) -> Feed:
    """A feed of whatever gives requests."""
    if isinstance(requests, Feed):
        return requests
    return AsyncFeed(aiter(requests)) if isinstance(requests, AsyncIterable) else IterableFeed(requests)


class IterableFeed:
    """Requests of an iterator."""

    def __init__(self, requests: Iterable[Request | None]) -> None:
        self._requests = iter(requests)
        self._wake: Callable[[], None] = lambda: None
        self.exhausted = False

    def attach(self, wake: Callable[[], None], slots: int) -> None:
        self._wake = wake

    def pull(self) -> Request | None:
        if self.exhausted:
            return None
        try:
            request = next(self._requests)
        except StopIteration:
            self.exhausted, self._requests = True, iter(())
            return None
        if request is None:
            self._wake()
        return request

    async def close(self) -> None:
        return


class AsyncFeed:
    """Requests of an asynchronous iterator, of which a few are held ready."""

    def __init__(self, requests: AsyncIterator[Request]) -> None:
        self._requests = requests
        self._ahead: deque[Request] = deque()
        self._room = asyncio.Event()
        self._reading: asyncio.Task[None] | None = None
        self._wake: Callable[[], None] = lambda: None
        self._ended = False
        self._failed: BaseException | None = None

    @property
    def exhausted(self) -> bool:
        return self._ended and not self._ahead

    def attach(self, wake: Callable[[], None], slots: int) -> None:
        self._wake = wake
        self._reading = asyncio.get_running_loop().create_task(self._read())

    def pull(self) -> Request | None:
        if self._failed is not None:
            raise self._failed
        if not self._ahead:
            return None
        self._room.set()
        return self._ahead.popleft()

    async def close(self) -> None:
        reading = self._reading
        if reading is None:
            return
        reading.cancel()
        await asyncio.wait([reading])
        if not reading.cancelled():
            reading.exception()  # about closing the source: not to be complained of again

    async def _read(self) -> None:
        try:
            async for request in self._requests:
                self._ahead.append(request)
                self._wake()
                while len(self._ahead) >= READ_AHEAD:
                    self._room.clear()
                    await self._room.wait()
            self._ended = True
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            self._failed = error
        finally:
            self._wake()
            if (aclose := getattr(self._requests, "aclose", None)) is not None:
                await aclose()
