"""Coroutines run from calls that are not: at the command line, in scripts, and in notebooks, whose event loop runs."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")

HEARD_WITHIN = 0.2
"""Seconds in which Ctrl-C is heard, at the latest."""


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
        self._is_done = False
        self._working = threading.Lock()
        self._working.acquire()
        self._result: Any = None
        self._error: BaseException | None = None

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
        while True:
            try:
                # Ctrl-C that comes just before a wait is heard when the wait ends: without a timeout that is never.
                # In the midst of others' waits it does harm: a future's lock stays taken, a thread is taken for ended.
                while not self._is_done:
                    self._working.acquire(timeout=HEARD_WITHIN)
                break
            except KeyboardInterrupt:
                interrupted = self._interrupt()
        if interrupted and self._on_interrupt is None:
            raise KeyboardInterrupt
        if self._error is not None:
            raise self._error
        return self._result

    def _interrupt(self) -> bool:
        with contextlib.suppress(RuntimeError):  # it has just ended, and its loop is closed
            self._loop.call_soon_threadsafe(self._on_interrupt or self._cancel)
        return True

    def _work(self) -> None:
        self._begun.set()
        try:
            with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
                self._result = runner.run(self._coroutine)
        except BaseException as error:
            self._error = error
        finally:
            self._is_done = True
            self._working.release()

    def _cancel(self) -> None:
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
