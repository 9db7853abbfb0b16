"""One process at a time."""

from __future__ import annotations

from pathlib import Path

import pytest

from hf_relabel.builders.disk.one_process import one_process
from hf_relabel.builders.errors import ConfigError


def test_the_second_is_told_and_may_refuse(tmp_path: Path) -> None:
    def refuse() -> None:
        raise ConfigError("busy")

    place = tmp_path / "new" / ".lock"
    with one_process(place, refuse):
        with pytest.raises(ConfigError, match="busy"), one_process(place, refuse):
            pass
        assert place.exists()
    assert not place.exists()
    with one_process(place, refuse):
        pass


def test_a_place_that_cannot_be_written_is_one_plain_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(ConfigError, match=r"file cannot be written to \(.*\)\. Choose another folder\."),
        one_process(tmp_path / "file" / ".lock", lambda: None),
    ):
        pass
