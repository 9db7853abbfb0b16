"""What people answered in the Space of a release, read from the Hub."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hf_relabel.builders.audit.answers import Answer
from hf_relabel.builders.audit.sample import AuditSample
from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.messages.counted import counted
from hf_relabel.hub_tools.space.data.browsing import Browser
from hf_relabel.hub_tools.space.people.answer_events import ANSWER, Event
from hf_relabel.hub_tools.space.people.answers import Answers
from hf_relabel.hub_tools.space.people.config_on_hub import HumanConfig
from hf_relabel.hub_tools.space.people.sample_drawing import draw_blind

_logger = logging.getLogger(__name__)


class NobodyAnswered(ConfigError):
    """There is no answer to a release.

    Args:
        manifest: of it.
    """

    def __init__(self, message: str, manifest: Mapping[str, Any]) -> None:
        self.manifest = manifest
        super().__init__(message)


def audit_of(location: str | Path, *, token: str | bool | None = None) -> tuple[AuditSample, list[Answer]]:
    """What people answered in the Space of a release, with the sample that most of the answers are to.

    Args:
        location: `user/repo` or `user/repo@revision`; answers are always those of the main branch.
        token: None takes the stored token or `HF_TOKEN`, False sends none.

    Raises:
        ReleaseError, BuildError: it cannot be read.
        ConfigError: it is a folder.
        NobodyAnswered: that is so.
    """
    with Browser.open(location, token=token, index=False) as browser:
        if browser.repo_id is None:
            raise ConfigError(f"{location} is a folder: the answers of a Space are with releases on the Hub.")
        events: list[Event] = []
        HumanConfig(browser.repo_id, token).read(events.extend)
        samples = Counter((event.size, event.seed) for event in events if event.action == ANSWER and event.size > 0)
        if not samples:
            raise NobodyAnswered(
                f"{browser.repo_id}: nobody has answered in a Space yet (there is no config `human`).",
                browser.release.manifest,
            )
        # Of equally many the same one, whatever the order of the files.
        size, seed = max(samples, key=lambda sample: (samples[sample], sample))
        sample = draw_blind(browser, size, seed=seed)
    found = Answers()
    for event in events:
        found.add(event)
    items = {item.id for item in sample.items}
    if kept := found.elsewhere(items):
        _logger.warning(
            "%s: %s to candidates that the sample of size %d and seed %d does not draw. They are kept, and left out"
            " here.",
            browser.repo_id,
            counted(kept, "answer is", "answers are"),
            size,
            seed,
        )
    return sample, found.to_audit(items)
