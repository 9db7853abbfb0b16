"""The sample that people answer for, drawn in the background while the page is up already."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path

from hf_relabel.builders.audit.names import name_key
from hf_relabel.builders.audit.sample import AuditSample, Item
from hf_relabel.builders.errors import ConfigError, RelabelError
from hf_relabel.hub_tools.space.data.browsing import Browser
from hf_relabel.hub_tools.space.people.questions import SampleState
from hf_relabel.hub_tools.space.people.sample_drawing import draw_blind


class BlindSample:
    """The sample of one release, of a size and a seed.

    Args:
        folder: where it is kept once it is drawn.
        change: held while anything here is read or set, and told of every change.
        closing: set where the drawing is to end.

    Attributes:
        items: by their id; empty until the sample is ready.
    """

    def __init__(
        self,
        browser: Browser,
        folder: Path,
        size: int,
        seed: int,
        change: threading.Condition,
        closing: threading.Event,
    ) -> None:
        self._browser, self._size, self._seed = browser, size, seed
        self._change, self._closing = change, closing
        commit = (browser.release.revision or "folder")[:12]
        self._kept_in = folder / f"sample-{commit}-{size}-{seed}"
        self._sample: AuditSample | None = None
        self._orders: dict[str, list[Item]] = {}
        self.items: dict[str, Item] = {}
        self.state = SampleState(0, 1, False, None)

    def ready(self) -> AuditSample:
        """Raises: ConfigError, where the sample is not drawn yet, or cannot be."""
        if self._sample is None:
            raise ConfigError(self.state.error or "The sample is being drawn. Try again in a moment.")
        return self._sample

    def order(self, person: str) -> list[Item]:
        """The items in the order in which this person is asked, which is nobody else's. Raises: as `ready`."""
        sample = self.ready()
        key = name_key(person)
        known = self._orders.get(key)
        if known is None:

            def place(item: Item) -> bytes:
                return hashlib.blake2b(f"{key}\0{item.id}".encode("utf-8", "replace"), digest_size=16).digest()

            known = self._orders[key] = sorted(sample.items, key=place)
        return known

    def draw(self) -> None:
        """Draw the sample, or read it where it was drawn before."""
        try:
            sample = self._kept() or self._drawn()
        except RelabelError as error:
            self._set_state(SampleState(0, 1, False, str(error)))
        except Exception as error:  # a thread has nobody to raise to
            self._set_state(SampleState(0, 1, False, f"The sample cannot be drawn: {type(error).__name__}."))
        else:
            with self._change:
                self._sample, self.items = sample, {item.id: item for item in sample.items}
                self._set_state(SampleState(self.state.of, self.state.of, True, None))

    def _kept(self) -> AuditSample | None:
        # A folder may be built again under the same name; a commit never changes.
        if self._browser.release.revision is None or not self._kept_in.is_dir():
            return None
        try:
            return AuditSample.read(self._kept_in)
        except RelabelError:
            return None

    def _drawn(self) -> AuditSample:
        def progress(done: int, of: int) -> None:
            if self._closing.is_set():
                raise ConfigError("The Space is being closed.")
            self._set_state(SampleState(done, of, False, None))

        sample = draw_blind(self._browser, self._size, seed=self._seed, progress=progress)
        if self._browser.release.revision is not None:
            sample.write(self._kept_in)
        return sample

    def _set_state(self, state: SampleState) -> None:
        with self._change:
            self.state = state
            self._change.notify_all()
