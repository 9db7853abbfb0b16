"""What the calls take where others would want a Stage, a Source or a Journal, and what they say of anything else."""

from __future__ import annotations

import asyncio
import io
import sys
from pathlib import Path
from typing import Any

import pytest

from hf_relabel.builders.cascade.rules import Rule
from hf_relabel.builders.errors import ConfigError, JournalError, SourceError
from hf_relabel.builders.journal.store import Journal
from hf_relabel.builders.judgements import Label
from hf_relabel.builders.judges.offline.similarity import SimilarityJudge
from hf_relabel.builders.judges.prompted.listwise import ListwiseJudge
from hf_relabel.hub_tools.calls.given import as_journal, as_source
from hf_relabel.hub_tools.judging.run import judge
from hf_relabel.hub_tools.judging.stages import Stage, as_stages
from hf_relabel.hub_tools.judging.suspects import search_suspects
from tests.facade import Facade, FunctionBackend
from tests.hub_tools.judging.test_judging import FAST, MemoryEndpoint, WordJudge, by_prefix, write_rows

URL = "http://127.0.0.1:9"


def names(stages: list[Stage]) -> list[tuple[str, int]]:
    return [(stage.name, sum(len(member.endpoints) for member in stage.members)) for stage in stages]


def test_a_stage_a_judge_and_a_kind_are_stages() -> None:
    assert names(as_stages(Stage("mine", SimilarityJudge()))) == [("mine", 0)]
    assert names(as_stages(SimilarityJudge())) == [("similarity", 0)]
    assert names(as_stages("listwise", endpoint=URL)) == [("listwise", 1)]
    assert names(as_stages(("similarity", ListwiseJudge()), endpoint=URL)) == [("similarity", 0), ("listwise", 1)]


def test_an_endpoint_is_a_url_an_endpoint_or_several() -> None:
    endpoint = MemoryEndpoint(by_prefix)
    assert as_stages(WordJudge(), endpoint=endpoint)[0].endpoints == (endpoint,)
    assert as_stages(WordJudge(), endpoint=[endpoint, URL])[0].endpoints[0] is endpoint
    assert len(as_stages(WordJudge(), endpoint=[endpoint, URL])[0].endpoints) == 2


def test_a_stage_keeps_the_endpoint_it_has() -> None:
    own = MemoryEndpoint(by_prefix)
    stages = as_stages([Stage("own", WordJudge(), endpoints=(own,)), ListwiseJudge()], endpoint=URL)
    assert stages[0].endpoints == (own,)
    assert len(stages[1].endpoints) == 1


def test_two_judges_of_one_kind_are_two_stages() -> None:
    assert names(as_stages([SimilarityJudge(), SimilarityJudge(better=0.7)])) == [
        ("similarity", 0),
        ("similarity-2", 0),
    ]


def test_a_judge_of_answers_is_its_three_judges() -> None:
    (stage,) = as_stages("answer", endpoint=URL)
    assert [member.judge.kind for member in stage.members] == ["span", "ranking", "ranking"]
    assert all(member.endpoints for member in stage.members)


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        (None, {}, "found NoneType None"),
        (7, {}, "found int 7"),
        (ListwiseJudge, {"endpoint": URL}, "found the class ListwiseJudge itself"),
        ([object()], {}, "found object"),
        ({}, {}, "found dict"),
        ([], {}, "at least one stage"),
        ("listwize", {}, "no judge of kind 'listwize'"),
        ("listwise", {}, "has no endpoint"),
        ("listwise", {"endpoint": 8080}, "endpoint: expected a URL .* found int 8080"),
        ("listwise", {"endpoint": "localhost:8080"}, "neither a URL"),
        ("similarity", {"endpoint": URL}, "nobody here needs one"),
    ],
)
def test_what_is_no_stage_is_refused(given: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        as_stages(given, **options)


def test_what_is_no_source_or_journal_is_refused() -> None:
    with pytest.raises(SourceError, match="int: cannot be read as rows"):
        as_source(7)
    with pytest.raises(SourceError, match="nowhere"):
        as_source("nowhere.jsonl")
    with pytest.raises(ConfigError, match="found int 7"), as_journal(7):  # type: ignore[arg-type]
        pass
    with pytest.raises(JournalError, match="no journal"), as_journal("nowhere.sqlite", write=False):
        pass


def test_the_whole_of_a_first_run_is_two_paths_and_a_url(tmp_path: Path) -> None:
    """Inside a running event loop, as in a notebook."""
    write_rows(tmp_path / "rows.jsonl", [["better: a", "worse: b"], ["irrelevant: c"]])

    async def cell(url: str) -> list[Any]:
        path = str(tmp_path / "rows.jsonl")
        reports = judge(path, "listwise", tmp_path / "journal.sqlite", endpoint=url)
        search_suspects(Path(path), ListwiseJudge(), str(tmp_path / "journal.sqlite"), endpoint=url)
        return reports

    with Facade(FunctionBackend(lambda question: '{"better": [], "worse": []}')) as facade:
        (report,) = asyncio.run(cell(facade.url))
    assert (report.rows, report.asked) == (2, 3)


def test_a_second_run_reports_the_judgements_of_both(tmp_path: Path) -> None:
    texts = [["better: a"], ["worse: b"], ["irrelevant: c"]]
    first, second = (Stage("only", WordJudge(), Rule(), (MemoryEndpoint(by_prefix),), FAST) for _ in range(2))
    with Journal(tmp_path / "journal.sqlite") as journal:
        judge(write_rows(tmp_path / "some.jsonl", texts[:2]), first, journal)
        (report,) = judge(write_rows(tmp_path / "all.jsonl", texts), second, journal)
    assert (report.asked, report.known) == (1, 2)
    assert report.totals == dict.fromkeys(Label, 0) | {Label.BETTER: 1, Label.WORSE: 1, Label.IRRELEVANT: 1}
    assert report.to_dict()["totals"]["better"] == 1


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_is_drawn_at_a_terminal_unless_it_is_not_wanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_rows(tmp_path / "rows.jsonl", [["better: a"]])
    monkeypatch.setattr("tqdm.std.tqdm.monitor_interval", 0)  # no thread of tqdm's own
    drawn = []
    for wanted in (True, False, None, lambda report: None):
        terminal = Terminal()
        monkeypatch.setattr(sys, "stderr", terminal)
        stage = Stage("words", WordJudge(), Rule(), (MemoryEndpoint(by_prefix),), FAST)
        judge(source, stage, tmp_path / "journal.sqlite", progress=wanted)
        drawn.append("words" in terminal.getvalue())
    assert drawn == [True, False, False, False]
