"""The Hub's client, whose calls wait when the Hub says so.

The client waits by itself in some calls only (uploads, lists, downloads); in others, such as commits, tags and the
first look at a repository, one answer of 429 is an error. Here all wait as the answer says, and tell for how long.
"""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable
from itertools import count
from typing import Any, TypeVar

from huggingface_hub import HfApi

from hf_relabel.hub_tools.hub.limits import TOO_MANY, Refusal, span

T = TypeVar("T")

PATIENCE = 1800.0
"""Seconds that a call waits in all. The Hub counts requests in windows of five minutes."""
FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0
"""Seconds, doubled each time, where the Hub does not say for how long."""
MOST_FAILURES = 3
"""How often a question that the Hub failed to answer is asked again."""
_FAILED = (500, 502, 503, 504)
_QUESTIONS = (
    *("repo_info", "model_info", "dataset_info", "space_info", "whoami", "list_repo_refs", "list_repo_commits"),
    *("get_paths_info", "repo_exists", "file_exists", "hf_hub_download", "inspect_job"),
    *("list_jobs", "get_discussion_details"),
)
"""Calls that may be made twice without harm, which the client itself makes once only."""

_logger = logging.getLogger(__name__)


class HubApi(HfApi):
    """`HfApi` that waits where it is told to wait, for half an hour at most.

    An answer of 429 was refused before anything was done, so every call is made again then. A question that the Hub
    failed to answer (500, 502, 503, 504) is asked again a few times.
    """

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name.startswith("_") or not callable(found):
            return found
        return functools.wraps(found)(functools.partial(patiently, found, may_fail=name in _QUESTIONS))


def patiently(call: Callable[..., T], *arguments: Any, may_fail: bool = False, **options: Any) -> T:
    """What a call of the Hub gives, made again as long as the Hub asks to wait.

    Args:
        may_fail: make it again too, a few times, where the Hub failed.
    """
    waited = 0.0
    for number in count():
        try:
            return call(*arguments, **options)
        except Exception as error:
            wait = None if getattr(error, "_waited_for", False) else _wait(Refusal.of(error), number, may_fail)
            if wait is None or waited + wait > PATIENCE:
                error._waited_for = True  # type: ignore[attr-defined]  # a call around this one is not to wait again
                raise
        time.sleep(wait)
        waited += wait
    raise AssertionError


def _wait(refusal: Refusal | None, number: int, may_fail: bool) -> float | None:
    """Seconds to wait before a call is made again, which are told; None where it is not."""
    if refusal is None:
        return None
    is_busy = refusal.status == TOO_MANY
    if not is_busy and not (may_fail and refusal.status in _FAILED and number < MOST_FAILURES):
        return None
    said = refusal.seconds
    wait = min(FIRST_WAIT * 2**number, LONGEST_WAIT) if said is None else said
    why = "takes no more requests for now" if is_busy else f"answered {refusal.status}"
    allowed = f" ({refusal.told()})" if refusal.told() else ""
    if wait <= PATIENCE:
        _logger.warning("The Hub %s%s: waiting %s, then going on.", why, allowed, span(wait))
    return wait
