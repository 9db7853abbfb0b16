"""Answers on their way to the Hub: a thread that commits them, some at a time, until they are there."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from hf_relabel.builders.errors import RelabelError
from hf_relabel.hub_tools.hub.limits import retry_after
from hf_relabel.hub_tools.space.people.answer_events import events_in
from hf_relabel.hub_tools.space.people.config_on_hub import Busy, HumanConfig
from hf_relabel.hub_tools.space.people.event_log import EventLog

DELAY = 5.0
"""Seconds from an answer to its commit, so that a commit holds several."""
APART = 6
"""Commits are as many delays apart: 30 seconds, as the Hub takes about 128 commits to a data set in an hour."""
LONGEST_WAIT = 300.0


@dataclass(frozen=True, slots=True)
class SyncState:
    """How the answers of this server stand with the Hub.

    Attributes:
        is_local: the release is a folder: answers stay on this machine.
        unsent: events that are on the disk and not yet on the Hub.
        commit: the last commit that this server made, None if none.
        error: one line on why the last attempt failed; None after one that did not.
        retry_in: seconds until the next attempt after a failure; None where none is waiting.
        unread: one line on why answers of others are not all here; None where they are.
    """

    is_local: bool
    unsent: int
    commit: str | None
    error: str | None
    retry_in: float | None
    unread: str | None = None


@dataclass
class Sender:
    """A thread that sends the events of a log when there are new ones, and tries again when that fails.

    Attributes:
        delay: seconds from an event to its commit, where the last commit was not just before, see `APART`.
    """

    log: EventLog
    config: HumanConfig
    delay: float = DELAY
    on_sent: Callable[[], None] = lambda: None
    _sent: dict[str, int] = field(default_factory=dict)
    _commit: str | None = None
    _error: str | None = None
    _due: float | None = None
    _failures: int = 0
    _attempts: int = 0
    _last: float = float("-inf")
    _change: threading.Condition = field(default_factory=threading.Condition)
    _thread: threading.Thread | None = None
    _stop: bool = False
    _busy: bool = False

    def start(self) -> None:
        """Begin, with what an earlier run left unsent."""
        self._thread = threading.Thread(target=self._run, name="space-sender", daemon=True)
        if self.unsent():
            self._due = time.monotonic()
        self._thread.start()

    def unsent(self) -> int:
        """Events on the disk of which it is not known that the Hub has them."""
        with self._change:
            sent = dict(self._sent)
        return sum(content.count(b"\n") for content in self.log.contents(sent).values())

    def notice(self) -> None:
        """There is a new event."""
        with self._change:
            if self._due is None:
                self._due = max(time.monotonic() + self.delay, self._last + APART * self.delay)
                self._change.notify_all()

    def flush(self, seconds: float) -> None:
        """Send what is unsent now, and wait for it at most so long."""
        give_up = time.monotonic() + seconds
        while self.unsent() and time.monotonic() < give_up:
            with self._change:
                if self._thread is None or self._stop:
                    return
                failures, attempts = self._failures, self._attempts
                if not self._busy:
                    self._due = time.monotonic()
                    self._change.notify_all()
                while self._attempts == attempts and time.monotonic() < give_up:
                    self._change.wait(give_up - time.monotonic())
                if self._failures > failures:
                    return

    def state(self) -> SyncState:
        unsent = self.unsent()
        with self._change:
            waits = self._error is not None and self._due is not None
            retry = max(0.0, (self._due or 0.0) - time.monotonic()) if waits else None
            return SyncState(False, unsent, self._commit, self._error, retry)

    def close(self, seconds: float) -> None:
        """Send what is unsent, for some seconds at most, and stop."""
        self.flush(seconds)
        with self._change:
            self._stop = True
            self._change.notify_all()
        if self._thread is not None:
            self._thread.join(1.0)

    def _run(self) -> None:
        while self._wait():
            self._try()

    def _wait(self) -> bool:
        """Wait until something is due. False when it is time to stop."""
        with self._change:
            while not self._stop and (self._due is None or self._due > time.monotonic()):
                self._change.wait(None if self._due is None else self._due - time.monotonic())
            self._busy, self._due = not self._stop, None
            return not self._stop

    def _try(self) -> None:
        contents = self.log.contents()
        runs = {name.removesuffix(".jsonl"): list(events_in(content)) for name, content in contents.items()}
        sizes = {name: len(content) for name, content in contents.items()}
        error: str | None = None
        wait: float | None = None
        commit = None
        try:
            commit = self.config.send(runs)
        except Busy as busy:
            error, wait = str(busy), retry_after(busy.__cause__, LONGEST_WAIT)
        except RelabelError as refused:
            error = str(refused)
        except Exception as unknown:  # a thread has nobody to raise to, and answers must go out in the end
            error = f"{self.config.repo_id}: answers could not be sent ({type(unknown).__name__})."
        with self._change:
            self._busy, self._error = False, error
            self._attempts += 1
            if error is None:
                self._failures, self._commit = 0, commit or self._commit
                if commit is not None:
                    self._last = time.monotonic()
                    if self._due is not None:  # noticed while this one was on its way
                        self._due = max(self._due, self._last + APART * self.delay)
                self._sent |= sizes
            else:
                self._failures += 1
                longest = min(LONGEST_WAIT, 2.0 ** min(self._failures, 20))
                backoff = random.uniform(longest / 2, longest)  # noqa: S311 - spreads servers out
                self._due = time.monotonic() + (backoff if wait is None else wait)
            self._change.notify_all()
        if error is None:
            self.on_sent()
            # What came while these were on their way.
            if self.unsent():
                self.notice()
