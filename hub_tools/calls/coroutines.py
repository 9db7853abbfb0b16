"""Coroutines run from calls that are not: at the command line, in scripts, and in notebooks, whose event loop runs."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, wait
from typing import Any, TypeVar

Result = TypeVar("Result")


def run_coroutine(coroutine: Coroutine[Any, Any, Result], *, on_interrupt: Callable[[], None] | None = None) -> Result:
    """Run a coroutine to its end and give what it returns.

    Where an event loop is running in this thread already, as in Jupyter, the coroutine gets a loop of its own in
    another thread, with the context variables of this one, and the call waits for it.

    Args:
        on_interrupt: what Ctrl-C calls, in the coroutine's loop, while such a thread is waited for; None cancels the
            coroutine. Elsewhere a handler of SIGINT that the coroutine has set is in charge.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    result: Result = _Beside(coroutine, on_interrupt).result()
    return result


class _Beside:
    """A coroutine in a thread of its own, beside the running loop of this one."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any], on_interrupt: Callable[[], None] | None) -> None:
        self._coroutine, self._on_interrupt = coroutine, on_interrupt
        self._loop = asyncio.new_event_loop()
        self._begun = threading.Event()
        self._ended: Future[Any] = Future()

    def result(self) -> Any:
        context = contextvars.copy_context()
        thread = threading.Thread(target=context.run, args=(self._work,), name="hf-relabel coroutine", daemon=True)
        interrupted = False
        try:
            thread.start()
        except KeyboardInterrupt:  # while it came to be
            if not self._begun.wait(timeout=5):
                self._coroutine.close()
                raise
            interrupted = self._interrupt()
        while not self._ended.done():
            try:
                wait([self._ended])
            except KeyboardInterrupt:
                interrupted = self._interrupt()
        if interrupted and self._on_interrupt is None:
            raise KeyboardInterrupt
        return self._ended.result()

    def _interrupt(self) -> bool:
        with contextlib.suppress(RuntimeError):  # it has just ended, and its loop is closed
            self._loop.call_soon_threadsafe(self._on_interrupt or self._cancel)
        return True

    def _work(self) -> None:
        self._begun.set()
        try:
            with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
                self._ended.set_result(runner.run(self._coroutine))
        except BaseException as error:
            self._ended.set_exception(error)

    def _cancel(self) -> None:
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
