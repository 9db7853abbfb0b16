"""What the quickstart says at its end."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from hf_relabel.hub_tools.commands import quickstart_command as module
from hf_relabel.hub_tools.commands.quickstart_command import BETTER, NEXT_STEPS, Score, to_activate


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A virtual environment in the folder that is worked in, whose command is not on the PATH."""
    own = tmp_path / ".venv" / "bin"
    own.mkdir(parents=True)
    (own / "activate").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "prefix", str(own.parent))
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    return own


def test_the_environment_is_activated_first_where_its_command_is_not_found(
    environment: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert to_activate() == ".venv/bin/activate"
    script = environment / "hf-relabel"
    script.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(environment))
    assert to_activate() is None
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert to_activate() == str(environment / "activate")
    (tmp_path / "hf-relabel").touch(mode=0o755)
    assert to_activate() == str(environment / "activate"), "the one that is found is another installation's"
    (environment / "activate").unlink()
    assert to_activate() is None


def test_the_threshold_is_told_as_a_number(capsys: pytest.CaptureFixture[str]) -> None:
    module._show_score(Score())
    said = capsys.readouterr().out
    assert f"`judge --better {BETTER}`; the default is 0.9" in said


def test_what_to_run_next_has_a_way_without_a_server() -> None:
    assert "--judge similarity" in NEXT_STEPS
