"""Lets every test import what tests share: `from tests.facade import Facade`."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import hypothesis
import pytest

_ROOT = str(Path(__file__).resolve().parent.parent)
if _ROOT not in sys.path:  # --import-mode=importlib leaves it alone
    sys.path.append(_ROOT)

# Whoever starts the tests may block or ignore signals (a service manager, a job in the background), and every process
# would inherit that: Ctrl-C would do nothing, and nobody would hear that a child has ended.
signal.pthread_sigmask(signal.SIG_SETMASK, [])
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# There is a worker for each core already: more threads would wait for each other, and do it by spinning.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")


def pytest_configure() -> None:
    """A machine may be busy: no test is wrong because an example of it took long."""
    from tests.examples import PLAIN, TIMES

    hypothesis.settings.register_profile("busy", deadline=None, max_examples=PLAIN * TIMES)
    hypothesis.settings.load_profile("busy")


LONGEST = (
    "hub_tools/releases/test_push.py",
    "trainers/training/test_training.py",
    "pages/test_pages.py",
    "hub_tools/space/test_space_adjudication.py",
    "cards/test_model_card.py",
    "trainers/comparing/test_compare.py",
    "hub_tools/jobs/test_jobs.py",
    "hub_tools/endpoints/test_local_endpoint.py",
    "hub_tools/releases/test_push_killed.py",
    "hub_tools/judging/test_planning.py",
    "hub_tools/commands/test_main_job.py",
    "hub_tools/releases/test_push_model.py",
    "hub_tools/commands/test_extras.py",
    "hub_tools/space/test_space_deploy.py",
)
"""Files that take longest begin first, so that no worker is left alone with one of them at the end."""


@pytest.hookimpl(tryfirst=True)  # before tests are chosen by their marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Names are the same in every worker and every run; a worker has a file to itself (`--dist loadfile`)."""
    tests = Path(__file__).parent
    place = {tests / name: number for number, name in enumerate(LONGEST)}
    assert all(path.exists() for path in place), "a file of LONGEST is not there any longer"
    items.sort(key=lambda item: place.get(item.path, len(place)))
    for item in items:
        if getattr(getattr(item, "obj", None), "is_hypothesis_test", False):
            item.add_marker("fuzz")
        if " at 0x" in item.nodeid:
            raise pytest.UsageError(f"{item.nodeid}: an address is no name. Give the parameters other `ids`.")
        if "\\x1f\\x8b" in item.nodeid:
            raise pytest.UsageError(f"{item.nodeid}: what gzip writes holds the time. Give the parameters `ids`.")
