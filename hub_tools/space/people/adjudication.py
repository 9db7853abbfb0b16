"""Blind adjudication: people answer for a sample of the candidates, without seeing what the judges said.

The sample is that of an audit (builders/audit/selection): stratified and seeded, so a release, a size and a seed always
give the same one. Each person has an order of their own. An answer is on the disk before `answer` returns, and goes to
the config `human` of the data set in the background.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from hf_relabel.builders.audit.answers import Answer
from hf_relabel.builders.audit.exports import CHOICES
from hf_relabel.builders.audit.sample import AuditSample, Item
from hf_relabel.builders.errors import ConfigError
from hf_relabel.hub_tools.space.data.browsing import Browser
from hf_relabel.hub_tools.space.people.agreement import Agreement, AgreementByNow
from hf_relabel.hub_tools.space.people.allowed import local_person
from hf_relabel.hub_tools.space.people.answer_events import ANSWER, UNDO, Event, events_in
from hf_relabel.hub_tools.space.people.answers import Answers
from hf_relabel.hub_tools.space.people.blind_sample import BlindSample
from hf_relabel.hub_tools.space.people.config_on_hub import HumanConfig, Unread
from hf_relabel.hub_tools.space.people.event_log import EventLog
from hf_relabel.hub_tools.space.people.questions import Progress, Question, SampleState, shown_passage
from hf_relabel.hub_tools.space.people.sending import DELAY, Sender, SyncState

REFRESH_SECONDS = 60.0
"""How often other servers' answers are looked for on the Hub."""
_LAST_SECONDS = 15.0
"""How long `close` tries to send what is unsent."""


class Adjudication:
    """The adjudication of one release by any number of people. Safe to use from several threads."""

    def __init__(self, browser: Browser, folder: Path, size: int, seed: int, config: HumanConfig | None) -> None:
        self._browser, self._size, self._seed, self._config = browser, size, seed, config
        self._folder = folder
        self._log = EventLog(folder / "answers")
        self._answers = Answers()
        self._read: dict[str, int] = {}
        self._sender: Sender | None = None
        self._unread: str | None = None
        self._agreement = AgreementByNow()
        self._change = threading.Condition(threading.RLock())
        self._closing = threading.Event()
        self._sample = BlindSample(browser, folder, size, seed, self._change, self._closing)

    @classmethod
    def open(
        cls,
        browser: Browser,
        folder: Path,
        *,
        size: int = 400,
        seed: int = 0,
        token: str | None = None,
        push: bool = True,
        delay: float = DELAY,
        refresh: float = REFRESH_SECONDS,
    ) -> Adjudication:
        """Begin, or go on: reads what is in `folder` and in the config `human`, and draws the sample in the background.

        Args:
            folder: where answers are kept on this machine, in a folder of its own for each data set. Several processes
                may share it.
            size, seed: of the sample.
            token: with which answers are committed, the server's own; None takes the stored token or `HF_TOKEN`.
            push: commit answers to the data set that was opened (its main branch); never for a folder.
            delay: seconds from an answer to its commit, so that a commit holds several. Commits are six times as far
                apart.
            refresh: seconds from one look at other servers' answers to the next.

        Raises:
            ConfigError: the folder cannot be written to, or the size is below 1.
            ReleaseError: the config `human` cannot be read. Where one of its files cannot, the others are, and it is
                tried again with every look.
        """
        if size < 1:
            raise ConfigError(f"The size of a sample must be at least 1, found {size}.")
        config = HumanConfig(browser.repo_id, token) if browser.repo_id is not None else None
        found = cls(browser, Path(folder) / folder_of(browser), size, seed, config)
        with suppress(Unread):  # the others count, and the page says that some are not here yet
            found.refresh()
        if config is not None and push:
            found._sender = Sender(found._log, config, delay)
            found._sender.start()
        threading.Thread(target=found._sample.draw, name="space-sample", daemon=True).start()
        threading.Thread(target=found._keep_fresh, args=(refresh,), name="space-refresh", daemon=True).start()
        return found

    def sample_state(self) -> SampleState:
        """How far the drawing of the sample is."""
        with self._change:
            return self._sample.state

    def wait_for_sample(self, seconds: float | None = None) -> SampleState:
        """Wait until the sample is drawn, has failed, or the time is over."""
        with self._change:
            self._change.wait_for(lambda: self._sample.state.is_over, seconds)
            return self._sample.state

    def next(self, person: str) -> Question | None:
        """The first item in the person's order that they have not answered; None where none is left.

        Raises:
            ConfigError: the sample is not ready, see `sample_state`.
        """
        with self._change:
            order, mine = self._sample.order(person), self._answers.of(person)
            for number, item in enumerate(order, start=1):
                if item.id not in mine:
                    return self._question(person, number, item)
            return None

    def answer(self, person: str, item: str, value: str) -> Progress:
        """Keep an answer. It is on the disk when this returns.

        The same answer to the same item again changes nothing, so that a key pressed twice or a request sent twice
        counts once; another answer to it takes the place of the first.

        Args:
            item: of the question.
            value: one of `CHOICES`.

        Raises:
            ConfigError: no such item or answer, no name of a person, or the sample is not ready.
            BuildError: the disk would not take it; nothing was kept.
        """
        with self._change:
            self._sample.order(checked(person))
            if item not in self._sample.items:
                raise ConfigError(f"There is no item {ascii(item)[:60]} in this sample. Reload the page.")
            if value not in CHOICES:
                raise ConfigError(f"{ascii(value)[:60]} is no answer. Answers are {', '.join(CHOICES)}.")
            self._read_local()
            standing = self._answers.of(person).get(item)
            if standing is None or standing.answer != value:
                self._keep(person, self._sample.items[item], ANSWER, value, "")
            return self.progress(person)

    def undo(self, person: str, item: str | None = None) -> Question | None:
        """Take the person's last answer back and give its question again; None where there is nothing to take back.

        Where that answer had taken the place of an earlier one, the earlier one stands again.

        Args:
            item: take nothing back unless the last answer is to this item, so that a key pressed twice counts once.

        Raises:
            ConfigError: the sample is not ready.
            BuildError: the disk would not take it; nothing was taken back.
        """
        with self._change:
            order = self._sample.order(checked(person))
            self._read_local()
            last = self._answers.last(person, self._sample.items)
            if last is None or item not in (None, last.item):
                return None
            self._keep(person, self._sample.items[last.item], UNDO, "", last.event)
            number = next(place for place, item in enumerate(order, start=1) if item.id == last.item)
            return self._question(person, number, self._sample.items[last.item])

    def progress(self, person: str) -> Progress:
        """How far a person is. Everything is 0 until the sample is ready."""
        with self._change:
            all_of_them = self._answers.of(person)
            mine = [item for item in all_of_them if item in self._sample.items]
            kept = len(all_of_them) - len(mine) if self._sample.state.is_ready else 0
            everybody = self._answers.answered(self._sample.items)
            return Progress(person, len(mine), len(self._sample.items), everybody, bool(mine), kept)

    def agreement(self, *, newest: bool = False) -> Agreement:
        """How people and judges agree by now. May be asked for often: it is kept until the next answer.

        Args:
            newest: work it out after every answer. Without, where that takes long (ties between many people), it may be
                behind, so that no more than a tenth of the time goes on it.

        Raises:
            ConfigError: the sample is not ready, or a library of audits is missing.
        """
        with self._change:
            sample, answers = self.to_audit()
            version = len(self._answers)
        return self._agreement.found(sample, answers, version, newest=newest)

    def sync_state(self) -> SyncState:
        """How many answers are not yet on the Hub, and why."""
        state = SyncState(True, 0, None, None, None) if self._sender is None else self._sender.state()
        return replace(state, unread=self._unread)

    def flush(self, seconds: float = 30) -> SyncState:
        """Send what is unsent now and wait for it, at most so long."""
        if self._sender is not None:
            self._sender.flush(seconds)
        return self.sync_state()

    def refresh(self) -> None:
        """Read what other servers have committed and other processes have written since.

        Raises:
            ReleaseError: the Hub cannot be asked, or does not give one of the files.
        """
        with self._change:
            self._read_local()
        if self._config is None:
            return
        try:
            self._config.read(self._take)
        except Unread as problem:
            self._unread = str(problem)
            raise
        self._unread = None

    def to_audit(self) -> tuple[AuditSample, list[Answer]]:
        """The sample and all answers, as `builders.audit.report.audit_report` takes them. Not blind.

        Raises:
            ConfigError: the sample is not ready.
        """
        with self._change:
            return self._sample.ready(), self._answers.to_audit(self._sample.items)

    def close(self) -> None:
        """Send what is unsent, for some seconds at most, and stop. What could not be sent is sent the next time."""
        self._closing.set()
        if self._sender is not None:
            self._sender.close(_LAST_SECONDS)
        self._log.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _question(self, person: str, number: int, item: Item) -> Question:
        standing = self._answers.of(person).get(item.id) or self._answers.last_undone(person, item.id)
        return Question(
            item=item.id,
            number=number,
            of=len(self._sample.items),
            query=item.query,
            positives=tuple(map(shown_passage, item.positives)),
            candidate=shown_passage(item.candidate),
            earlier=None if standing is None else standing.answer,
        )

    def _keep(self, person: str, item: Item, action: str, answer: str, undoes: str) -> None:
        event = self._log.write(
            person=person,
            action=action,
            item=item.id,
            answer=answer,
            undoes=undoes,
            query_id=item.query_id,
            subset=item.subset,
            docid=item.docid,
            position=item.position,
            release=self._browser.release.revision or "",
            seed=self._seed,
            size=self._size,
        )
        self._take([event])
        if self._sender is not None:
            self._sender.notice()

    def _read_local(self) -> None:
        """Take what other processes have written to the folder."""
        for name, content in self._log.contents(self._read).items():
            self._take(events_in(content))
            self._read[name] = self._read.get(name, 0) + len(content)

    def _take(self, events: Iterable[Event]) -> None:
        with self._change:
            for event in events:
                if self._answers.add(event):
                    self._log.catch_up(event.time)

    def _keep_fresh(self, seconds: float) -> None:
        while not self._closing.wait(seconds):
            try:
                self.refresh()
            except Exception:  # noqa: S112 - one look that fails is no reason to look no more; the sender tells of the Hub
                continue


def folder_of(browser: Browser) -> str:
    """The name of the folder that the answers for a data set are kept in."""
    if browser.repo_id is not None:
        return browser.repo_id.replace("/", "--")
    path = Path(browser.release.name).resolve()
    digest = hashlib.blake2b(str(path).encode("utf-8", "surrogateescape"), digest_size=4).hexdigest()
    return f"folder-{re.sub(r'[^A-Za-z0-9_-]', '_', path.name)[:40]}-{digest}"


def checked(person: str) -> str:
    """A name by which answers are kept. Raises as `local_person`."""
    local_person(person)
    return person
