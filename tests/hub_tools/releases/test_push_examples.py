"""Examples of `push` work on files of one's own, whose license nobody knows."""

from __future__ import annotations

import pytest

from hf_relabel.hub_tools.commands import hub_command, push_command, quickstart_command


@pytest.mark.parametrize("text", [push_command.EPILOG, hub_command.EPILOG, quickstart_command.NEXT_STEPS])
def test_examples_of_push_name_a_license(text: str) -> None:
    examples = [line for line in text.splitlines() if "hf relabel push " in line]
    assert examples
    assert all("--license" in line for line in examples)
