"""The example notebook in the repository: what its script writes, executed, and fit to be shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import pytest

from tests.notebook.make import PLACE, check, executed, notebook

MOST_BYTES = 300_000


def shown(made: Any) -> list[list[str]]:
    """For each cell the kinds of what it shows."""
    return [
        sorted({kind for output in cell.get("outputs", ()) for kind in output.get("data", {output.output_type: None})})
        for cell in made.cells
    ]


def test_the_notebook_is_that_of_the_script_with_outputs_that_anybody_may_see() -> None:
    there = nbformat.read(PLACE, as_version=4)
    nbformat.validate(there)
    assert [cell.source for cell in there.cells] == [cell.source for cell in notebook().cells], (
        "Write it anew: python -m tests.notebook.make"
    )
    check(there)
    assert PLACE.stat().st_size < MOST_BYTES
    kinds = {kind for cell in shown(there) for kind in cell}
    assert {"text/html", "text/markdown", "image/png", "stream"} <= kinds, "tables, a card, a figure and text"


def test_an_output_that_names_this_machine_is_refused() -> None:
    made = notebook()
    for output in (
        nbformat.v4.new_output("stream", text="Judgements: /home/somebody/journal.sqlite"),
        nbformat.v4.new_output("stream", name="stderr", text="a warning"),
        nbformat.v4.new_output("execute_result", data={"text/plain": "<object at 0x7f5c54a9f440>"}),
    ):
        made.cells[1].outputs = [output]
        with pytest.raises(ValueError, match="cell-01"):
            check(made)


@pytest.mark.soak
def test_it_runs_and_shows_what_the_one_in_the_repository_shows(tmp_path: Path) -> None:
    there = nbformat.read(PLACE, as_version=4)
    assert shown(executed(tmp_path)) == shown(there)
