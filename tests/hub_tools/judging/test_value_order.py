"""A later stage begins where most is likely found, so that a budget that ends early has found the most."""

from __future__ import annotations

from array import array
from itertools import pairwise
from math import isnan, nan
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hf_relabel.builders.cascade.rules import Rule
from hf_relabel.builders.errors import JudgingStopped
from hf_relabel.builders.journal.store import Journal
from hf_relabel.builders.judgements import Judgement, Label
from hf_relabel.builders.sources import Source
from hf_relabel.hub_tools.endpoints.scheduling.scheduler import Limits
from hf_relabel.hub_tools.judging.run import judge
from hf_relabel.hub_tools.judging.stage_report import StageReport
from hf_relabel.hub_tools.judging.stages import Order, Stage, asks_by_value
from hf_relabel.hub_tools.judging.value_order import bands, of_band, value_of_row
from tests.hub_tools.judging.test_judging import MemoryEndpoint, WordJudge, write_rows
from tests.hub_tools.judging.test_pilot import ScoreJudge

PRICE: dict[str, Any] = {"price_prompt": 1000.0, "price_completion": 1000.0, "concurrency": 1}
"""A request of WordJudge takes 11 tokens: .011 dollars."""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    """A hundred rows. What the first stage scores high is better the more often."""
    drawn = np.random.default_rng(1)
    rows = []
    for number in range(100):
        scores = drawn.random(3).round(3)
        said = np.where(drawn.random(3) < scores**3, "better", "irrelevant")
        rows.append([f"{score} {word} {number} {place}" for place, (score, word) in enumerate(zip(scores, said))])  # noqa: B905
    return write_rows(tmp_path_factory.mktemp("rows") / "rows.jsonl", rows)


def cascade(order: Order | None, max_cost: float | None = None) -> tuple[list[Stage], MemoryEndpoint]:
    endpoint = MemoryEndpoint(lambda text: text.split()[1])
    limits = Limits(**PRICE, max_cost=max_cost)
    first = Stage("scores", ScoreJudge(better=0.9, worse=0.2), Rule())
    return [first, Stage("words", WordJudge(), Rule(), (endpoint,), limits, order=order)], endpoint


def judged(source: Source, path: Path, order: Order | None, max_cost: float | None = None) -> tuple[list[str], Any]:
    """What the second stage is asked, in order, and the reports; None where it stopped."""
    stages, endpoint = cascade(order, max_cost)
    with Journal(path) as journal:
        try:
            return endpoint.asked, judge(source, stages, journal, progress=None)
        except JudgingStopped:
            return endpoint.asked, None


def better(asked: list[str]) -> int:
    return sum(" better " in text for text in asked)


def test_a_budget_that_ends_early_has_found_more(source: Source, tmp_path: Path) -> None:
    by_source, none = judged(source, tmp_path / "source.sqlite", "source", 0.6)
    by_value, also_none = judged(source, tmp_path / "value.sqlite", None, 0.6)
    assert none is None
    assert also_none is None
    assert len(by_value) == pytest.approx(len(by_source), abs=2)
    assert better(by_value) > 1.3 * better(by_source)


def test_where_it_does_not_end_early_the_same_is_asked_and_kept(source: Source, tmp_path: Path) -> None:
    by_source, plain = judged(source, tmp_path / "source.sqlite", "source")
    by_value, ordered = judged(source, tmp_path / "value.sqlite", "value")
    assert by_value != by_source
    assert sorted(by_value) == sorted(by_source)
    assert keys(tmp_path / "value.sqlite") == keys(tmp_path / "source.sqlite")
    assert [counts(report) for report in ordered] == [counts(report) for report in plain]
    assert ordered[1].rows == 100


def keys(path: Path) -> set[bytes]:
    import sqlite3

    connection = sqlite3.connect(path)
    try:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        with_keys = [table for table in tables if _has_key(connection, table)]
        return {key for table in with_keys for (key,) in connection.execute(f"SELECT key FROM {table}")}
    finally:
        connection.close()


def _has_key(connection: Any, table: str) -> bool:
    return any(column[1] == "key" for column in connection.execute(f"PRAGMA table_info({table})"))


def counts(report: StageReport) -> tuple[Any, ...]:
    return report.rows, report.known, report.exempt, report.candidates, report.asked, dict(report.aside)


def test_a_stopped_run_goes_on_where_it_was(source: Source, tmp_path: Path) -> None:
    first, none = judged(source, tmp_path / "journal.sqlite", None, 0.6)
    assert none is None
    second, reports = judged(source, tmp_path / "journal.sqlite", "value")
    assert not set(first) & set(second)
    assert reports[1].known == len(first)
    assert reports[1].rows == 100
    again, reports = judged(source, tmp_path / "journal.sqlite", "value")
    assert again == []
    assert (reports[1].rows, reports[1].asked) == (100, 0)


def test_the_candidates_of_a_row_stay_together(source: Source, tmp_path: Path) -> None:
    asked, _ = judged(source, tmp_path / "journal.sqlite", "value")
    rows = [text.split()[2] for text in asked]
    changes = sum(one != other for one, other in pairwise(rows))
    assert changes == len(set(rows)) - 1


def test_only_a_run_that_may_end_early_is_put_into_another_order() -> None:
    def by_value(order: Order | None, **limits: Any) -> bool:
        return asks_by_value(Stage("one", WordJudge(), limits=Limits(price_prompt=1.0, **limits), order=order), 0)

    assert not by_value(None)
    assert by_value(None, max_cost=1.0)
    assert by_value(None, deadline=1.0)
    assert by_value("value")
    assert not by_value("source", max_cost=1.0)


def test_what_a_row_is_worth() -> None:
    before = {0: Judgement(Label.BETTER, 0.8), 1: Judgement(Label.WORSE), 2: Judgement(Label.BETTER)}
    assert value_of_row([0], before) == pytest.approx(0.4)
    assert value_of_row([0, 1, 2], before) == pytest.approx(2.3 / 4)
    assert value_of_row([5], before) == 0
    assert isnan(value_of_row([], before))


def test_bands_hold_every_value_once_and_the_highest_first() -> None:
    values = array("f", [0.1, nan, 0.9, 0.5, 0.5, 0.5, 0.3, nan])
    numbers = [[*of_band(range(8), values, band)] for band in bands(values)]
    assert numbers[0] == [2]
    assert numbers[-1] == [0]
    assert sorted(number for band in numbers for number in band) == [0, 2, 3, 4, 5, 6]
    assert bands(array("f", [nan])) == []
    assert [*of_band(range(3), array("f", [0.2] * 3), bands(array("f", [0.2] * 3))[0])] == [0, 1, 2]
