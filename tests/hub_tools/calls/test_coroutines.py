"""Coroutines run from a call that is not one, with and without a loop that runs already."""

from __future__ import annotations

import asyncio
import contextvars
import os
import signal
import threading
from typing import Any

import pytest

from hf_relabel.hub_tools.calls.coroutines import run_coroutine

NAME = contextvars.ContextVar("NAME", default="nobody")


async def where() -> tuple[str, threading.Thread]:
    await asyncio.sleep(0)
    return NAME.get(), threading.current_thread()


async def fails() -> None:
    raise LookupError("not there")


def in_a_loop(call: Any) -> Any:
    """What a call gives that is made while a loop runs, as every cell of a notebook is."""

    async def cell() -> Any:
        return call()

    return asyncio.run(cell())


def test_without_a_running_loop_nothing_changes_thread() -> None:
    assert run_coroutine(where()) == ("nobody", threading.current_thread())


def test_beside_a_running_loop_it_has_a_thread_and_the_context_variables() -> None:
    def call() -> Any:
        NAME.set("somebody")
        return run_coroutine(where())

    name, thread = in_a_loop(call)
    assert name == "somebody"
    assert thread is not threading.current_thread()
    assert not thread.is_alive() or thread.daemon


def test_errors_come_out_as_they_are() -> None:
    with pytest.raises(LookupError, match="not there"):
        in_a_loop(lambda: run_coroutine(fails()))


def interrupting(started: threading.Event) -> threading.Thread:
    def interrupt() -> None:
        started.wait()
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    return thread


def a_cell(call: Any) -> Any:
    """As `in_a_loop`, but Ctrl-C raises KeyboardInterrupt in the cell, as the kernel of a notebook has it."""

    async def cell() -> Any:
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            return call()
        finally:
            signal.signal(signal.SIGINT, before)

    return asyncio.run(cell())


@pytest.mark.timeout(60)
def test_ctrl_c_is_heard_whenever_it_comes() -> None:
    """Just before the wait, in the midst of it, while the thread comes to be: in one of 300 it was lost for ever."""
    for _ in range(200):
        check_clean_stop()
        check_cancelled()


def check_clean_stop() -> None:
    stop, started = asyncio.Event(), threading.Event()

    async def until_stopped() -> str:
        started.set()
        await stop.wait()
        return "what was done"

    thread = interrupting(started)
    assert a_cell(lambda: run_coroutine(until_stopped(), on_interrupt=stop.set)) == "what was done"
    thread.join()


def test_ctrl_c_is_a_clean_stop() -> None:
    check_clean_stop()


def test_ctrl_c_cancels_what_has_no_clean_stop() -> None:
    check_cancelled()


def check_cancelled() -> None:
    started, ended = threading.Event(), []

    async def forever() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    thread = interrupting(started)
    with pytest.raises(KeyboardInterrupt):
        a_cell(lambda: run_coroutine(forever()))
    assert ended
    thread.join()
