"""What pydantic finds wrong, as people read it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from hf_relabel.builders.messages.problems import first_line, first_problem, one_line


class Range(BaseModel):
    model_config = ConfigDict(extra="forbid")

    low: int
    high: int

    @model_validator(mode="after")
    def _in_order(self) -> Range:
        if self.low < 0:
            raise ValueError("`low` is below 0\n`high` may be as well")
        if self.low > self.high:
            raise AssertionError("`low` lies above `high`")
        return self


class Settings(BaseModel):
    ranges: tuple[Range, ...]


def error_of(**values: object) -> ValidationError:
    with pytest.raises(ValidationError) as caught:
        Settings(ranges=[values])  # type: ignore[arg-type]
    return caught.value


@pytest.mark.parametrize(
    ("values", "line", "first"),
    [
        (
            {"low": 2, "high": 1},
            "`ranges[0]`: `low` lies above `high`.",
            "`ranges[0]`: `low` lies above `high`.",
        ),
        (
            {"low": -1, "high": 1},
            "`ranges[0]`: `low` is below 0. `ranges[0]`: `high` may be as well.",
            "`ranges[0]`: `low` is below 0\n`high` may be as well.",
        ),
        (
            {"low": 1, "hihg": 1},
            "`ranges[0].high` is missing. `ranges[0].hihg`: there is no such setting. Did you mean 'high'?",
            "`ranges[0].high`: Field required.",
        ),
    ],
)
def test_a_problem_reads_without_the_names_that_pydantic_gives_it(
    values: dict[str, int], line: str, first: str
) -> None:
    error = error_of(**values)
    assert one_line(error, Settings) == line
    assert first_line(error) == first


@pytest.mark.parametrize("said", [first_line, lambda error: first_problem(error)[1], lambda e: one_line(e, Range)])
def test_a_problem_of_the_whole_needs_no_place(said: Callable[[ValidationError], str]) -> None:
    with pytest.raises(ValidationError) as caught:
        Range(low=2, high=1)
    assert said(caught.value).rstrip(".") == "`low` lies above `high`"
