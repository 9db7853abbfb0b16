"""Models as they are on the Hub, written once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.trainers import real_shaped


@pytest.fixture(scope="session")
def real(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """The folder of a model of `real_shaped`, by name."""
    place = tmp_path_factory.mktemp("real")

    def folder(name: str) -> str:
        path: Path = place / name
        return str(path) if path.is_dir() else str(getattr(real_shaped, name)(path))

    return folder
