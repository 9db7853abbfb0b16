"""When a run ends early and what it says; what it costs; and what becomes of answers that nobody can handle."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hf_relabel.builders.cascade.combining import Combine
from hf_relabel.builders.endpoint import EndpointError, EndpointInfo, ErrorKind, Reply, Request
from hf_relabel.builders.errors import JudgingStopped
from hf_relabel.builders.journal.store import Journal
from hf_relabel.builders.judgements import Judgement, Label
from hf_relabel.builders.judges.protocols import Ask
from hf_relabel.builders.rows import Row
from hf_relabel.hub_tools.endpoints.scheduling.scheduler import Limits
from hf_relabel.hub_tools.judging import identities
from hf_relabel.hub_tools.judging.run import judge
from hf_relabel.hub_tools.judging.stages import Member, Stage
from tests.hub_tools.judging.test_judging import FAST, MemoryEndpoint, WordJudge, by_prefix, stage_of, write_rows


def many(rows: int) -> list[list[str]]:
    return [[f"better: {number}"] for number in range(rows)]


@pytest.mark.parametrize("good", [0, 30])
def test_replies_that_nobody_can_read_end_a_run(tmp_path: Path, good: int) -> None:
    """After a success too: a judge that talks and never says a label would go through everything at full price."""
    source = write_rows(tmp_path / "rows.jsonl", many(1000))
    stage, endpoint = stage_of(lambda text: "better" if int(text.split()[1]) < good else "Let me think about it!")
    with pytest.raises(JudgingStopped, match=r"\d+ replies in a row could not be read .*'Let me think about it!'"):
        judge(source, [stage], tmp_path / "journal.sqlite")
    assert len(endpoint.asked) < good + 20 + 2 * 64
    with Journal(tmp_path / "journal.sqlite") as journal:
        assert journal.counts()[Label.BETTER] == good


def test_every_other_reply_unreadable_ends_nothing(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "rows.jsonl", many(200))
    stage, _ = stage_of(lambda text: "better" if int(text.split()[1]) % 2 else "hm")
    (report,) = judge(source, [stage], tmp_path / "journal.sqlite")
    assert (report.labels[Label.BETTER], report.labels[Label.UNPARSABLE]) == (100, 100)


@pytest.mark.parametrize("kind", ["refused", "too_long", "unauthorized", "quota"])
@pytest.mark.parametrize("good", [0, 30])
def test_a_server_that_refuses_everything_ends_a_run_and_no_candidate_is_to_blame(
    tmp_path: Path, kind: ErrorKind, good: int
) -> None:
    source = write_rows(tmp_path / "rows.jsonl", many(2000))

    def refuse(text: str) -> str:
        if int(text.split()[1]) >= good:
            raise EndpointError("memory: HTTP 400: `response_format` is unknown here", kind=kind)
        return "better"

    stage, endpoint = stage_of(refuse)
    with pytest.raises(JudgingStopped, match="`response_format` is unknown here"):
        judge(source, [stage], tmp_path / "journal.sqlite")
    assert len(endpoint.asked) < good + 300
    with Journal(tmp_path / "journal.sqlite") as journal:
        assert list(journal.failures()) == [], "the right server is asked about them by the same command"
        assert journal.counts()[Label.BETTER] == good


class Stumbling(WordJudge):
    """Reads some replies with a bug."""

    def read(self, ask: Ask, reply: Reply) -> dict[int, Judgement]:
        if ask.request.messages[0].content.endswith("7"):
            raise RecursionError("too deep")
        return super().read(ask, reply)


def test_a_bug_in_reading_a_reply_is_that_reply_s_failure(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "rows.jsonl", many(30))
    stage = replace(stage_of()[0], judge=Stumbling())
    with Journal(tmp_path / "journal.sqlite") as journal:
        (report,) = judge(source, [stage], journal)
        assert (report.labels[Label.BETTER], report.labels[Label.UNPARSABLE]) == (27, 3)
        assert {failure.message for failure in journal.failures()} == {
            "The reply could not be handled: RecursionError too deep"
        }


def test_a_reply_that_cannot_be_written_down_is_that_reply_s_failure(tmp_path: Path) -> None:
    """The others of the same transaction are kept."""
    source = write_rows(tmp_path / "rows.jsonl", many(30))

    class Odd(MemoryEndpoint):
        async def complete(self, request: Request) -> Reply:
            reply = await super().complete(request)
            return replace(reply, endpoint="\ud800") if self.asked[-1].endswith("7") else reply

    stage = replace(stage_of()[0], endpoints=(Odd(by_prefix),))
    with Journal(tmp_path / "journal.sqlite") as journal:
        (report,) = judge(source, [stage], journal)
        assert report.asked == 30
        assert journal.counts() == {**dict.fromkeys(Label, 0), Label.BETTER: 27, Label.FAILED: 3}
        assert all("could not be written down" in failure.message for failure in journal.failures())


class Clocked(MemoryEndpoint):
    """Takes its time, and can be told what to tell of its tokens."""

    def __init__(self, *, seconds: float = 0.0, model: str = "some/model", **told: Any) -> None:
        super().__init__(by_prefix, model=model)
        self.seconds, self.told = seconds, told

    async def complete(self, request: Request) -> Reply:
        await asyncio.sleep(self.seconds)
        return replace(await super().complete(request), **self.told)


PRICED = replace(FAST, price_prompt=1_000_000.0, price_completion=1_000_000.0)
"""A token costs 1; one answer 11."""


AGREE = Combine("agreement")


def two_stages(limits: Limits, *, seconds: float = 0.0) -> list[Stage]:
    """Two judges in the first stage, one in the second, which has no cap and no deadline of its own."""
    served = [(Clocked(model=f"model-{n}", seconds=seconds),) for n in range(3)]
    second = Member(WordJudge(), served[1], limits)
    return [
        replace(stage_of()[0], name="one", endpoints=served[0], limits=limits, others=(second,), combine=AGREE),
        replace(stage_of()[0], name="two", endpoints=served[2], limits=replace(limits, max_cost=None, deadline=None)),
    ]


def test_the_spend_cap_is_that_of_the_run(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "rows.jsonl", many(10))
    reports = judge(source, two_stages(replace(PRICED, max_cost=330.0)), tmp_path / "all.sqlite")
    assert [report.cost for report in reports] == [110.0, 110.0, 110.0]
    stages = two_stages(replace(PRICED, max_cost=300.0, concurrency=1))
    with pytest.raises(JudgingStopped, match="spend cap of 300"):
        judge(source, stages, tmp_path / "capped.sqlite")
    asked = [len(member.endpoints[0].asked) for stage in stages for member in stage.members]  # type: ignore[attr-defined]
    assert asked[:2] == [10, 10]
    assert 5 <= asked[2] <= 7


def test_the_deadline_is_that_of_the_run(tmp_path: Path) -> None:
    """Each judge alone would keep it."""
    source = write_rows(tmp_path / "rows.jsonl", many(4))
    stages = two_stages(replace(FAST, deadline=0.5, concurrency=1), seconds=0.06)
    with pytest.raises(JudgingStopped, match=r"deadline of 0\.5 s"):
        judge(source, stages, tmp_path / "journal.sqlite")


def test_what_is_not_told_is_counted_at_an_estimate(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "rows.jsonl", many(1))
    characters, said = len("better: 0"), len("better")

    def cost(**told: Any) -> float | None:
        stage = replace(stage_of()[0], endpoints=(Clocked(**told),), limits=PRICED)
        (report,) = judge(source, [stage], tmp_path / f"{len(list(tmp_path.iterdir()))}.sqlite")
        assert report.untold == (1 if told else 0)
        return report.cost

    assert cost() == 11
    assert cost(prompt_tokens=None) == pytest.approx(characters * 0.4 + 1)
    assert cost(completion_tokens=None) == pytest.approx(10 + min(1, said * 0.4))
    assert cost(prompt_tokens=None, completion_tokens=None) == pytest.approx(characters * 0.4 + 1)


def test_a_server_that_loads_its_model_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(identities, "READY_SECONDS", 0.001)

    class Loading(MemoryEndpoint):
        looks = 0

        async def info(self) -> EndpointInfo:
            self.looks += 1
            if self.looks < 4:
                raise EndpointError("memory: HTTP 503: Loading model", kind="overloaded", status=503)
            return await super().info()

    source = write_rows(tmp_path / "rows.jsonl", many(1))
    stage = replace(stage_of()[0], endpoints=(Loading(by_prefix),))
    (report,) = judge(source, [stage], tmp_path / "journal.sqlite")
    assert report.labels[Label.BETTER] == 1
    assert caplog.text.count("HTTP 503: Loading model. Waiting until it is ready.") == 1
    impatient = replace(stage, endpoints=(Loading(by_prefix),), limits=replace(FAST, deadline=0.0))
    with pytest.raises(EndpointError, match="Loading model"):
        judge(source, [impatient], tmp_path / "other.sqlite")


def test_ctrl_c_is_heeded_while_a_resumed_run_skips_what_is_known(tmp_path: Path) -> None:
    """Not after the last row: the batch in which it came is finished, and no more."""
    source = write_rows(tmp_path / "rows.jsonl", many(500))
    stage, endpoint = stage_of()
    journal = tmp_path / "journal.sqlite"
    judge(source, [stage], journal)

    def interrupt(report: Any) -> None:
        if report.rows == 64:
            os.kill(os.getpid(), signal.SIGINT)
        seen.append(report.rows)

    seen: list[int] = []
    with pytest.raises(JudgingStopped, match="interrupted") as stopped:
        judge(source, [stage], journal, progress=interrupt)
    assert stopped.value.interrupted
    assert seen[-1] <= 64 + 3 * 32
    assert len(endpoint.asked) == 500


class Computing:
    """A judge that computes, slowly."""

    kind, batch_rows, exempt_subsets = "computing", 1, frozenset[str]()

    def settings(self) -> dict[str, Any]:
        return {}

    def model(self) -> tuple[str, str]:
        return "computing", "1"

    def judge(self, items: Sequence[tuple[Row, Sequence[int]]]) -> list[dict[int, Judgement]]:
        return [dict.fromkeys(positions, Judgement(Label.BETTER)) for _, positions in items]


def test_the_deadline_ends_judges_that_compute_too(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "rows.jsonl", many(5))
    stage = Stage("offline", Computing(), limits=Limits(deadline=0.0))
    with pytest.raises(JudgingStopped, match=r"deadline of 0 s has passed \(0 candidates judged"):
        judge(source, [stage], tmp_path / "journal.sqlite")
