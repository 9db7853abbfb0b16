"""Ctrl-C: what each command says of what is kept."""

from __future__ import annotations

from typing import Any

import pytest

from hf_relabel.builders.errors import JudgingStopped
from hf_relabel.hub_tools.commands import run
from hf_relabel.hub_tools.commands.interrupting import goes_on


def interrupted(*_: Any, **__: Any) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("work", "command", "said"),
    [
        ("hf_relabel.hub_tools.releases.pull.pull", ["pull", "user/set", "--out", "x"], "What was downloaded is kept"),
        ("hf_relabel.trainers.training.publishing.publish", ["push-model", "x", "user/model"], "is not sent again"),
        ("hf_relabel.hub_tools.commands.train_command.run_training", ["train", "x", "--out", "y"], "last checkpoint"),
        ("hf_relabel.hub_tools.releases.diff.diff", ["diff", "x", "y"], ""),
    ],
)
def test_each_command_speaks_of_what_it_keeps_and_no_other_of_a_journal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], work: str, command: list[str], said: str
) -> None:
    monkeypatch.setattr(work, interrupted)
    assert run(command) == 130
    error = capsys.readouterr().err.lstrip()
    assert error.startswith("Interrupted.")
    assert said in error
    assert "journal" not in error


def test_a_run_that_stopped_says_it_too_and_stays_an_error() -> None:
    with pytest.raises(JudgingStopped, match=r"^Judging stopped: deadline\. Go on so\.$"), goes_on(lambda: "Go on so."):
        raise JudgingStopped("Judging stopped: deadline.")
