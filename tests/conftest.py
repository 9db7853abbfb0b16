"""Lets every test import the shared test server: `from tests.facade import Facade`. Starts with the longest files."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

_ROOT = str(Path(__file__).resolve().parent.parent)
if _ROOT not in sys.path:  # --import-mode=importlib leaves it alone
    sys.path.append(_ROOT)

# They take from four minutes to half a minute each. Begun last, one of them would keep one worker busy while the others
# have nothing left to do.
_LONGEST = (
    "test_distributed.py",
    "test_push.py",
    "test_main_job.py",
    "test_space_deploy.py",
    "test_push_model.py",
    "test_compare.py",
    "test_push_killed.py",
    "test_space_browser.py",
    "test_jobs.py",
    "test_local_endpoint.py",
    "test_judge_student.py",
    "test_rewriting.py",
    "test_metrics.py",
    "test_training.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    order = {name: place for place, name in enumerate(_LONGEST)}
    items.sort(key=lambda item: order.get(item.path.name, len(order)))
