"""Judging end to end over a fake judge and endpoint in memory: what is asked, what is kept, what is asked again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from hf_relabel.builders.cascade.rules import Rule
from hf_relabel.builders.cascade.verdicts import verdicts
from hf_relabel.builders.endpoint import EndpointError, EndpointInfo, Message, Reply, Request
from hf_relabel.builders.errors import ConfigError, JudgingStopped
from hf_relabel.builders.journal.store import Journal
from hf_relabel.builders.judgements import Judgement, Label, Outcome
from hf_relabel.builders.judges.prompted.listwise import ListwiseJudge
from hf_relabel.builders.judges.prompted.saved_replies import SavedRepliesJudge
from hf_relabel.builders.judges.protocols import Ask
from hf_relabel.builders.rows import Passage, Row
from hf_relabel.builders.sources import Source, open_source
from hf_relabel.hub_tools.endpoints.scheduling.scheduler import Limits
from hf_relabel.hub_tools.judging.computed_stage import BatchPace
from hf_relabel.hub_tools.judging.plan import plan
from hf_relabel.hub_tools.judging.run import judge
from hf_relabel.hub_tools.judging.stages import Stage

Behaviour = Callable[[str], str]
FAST = Limits(max_attempts=2, base_delay=0.001, max_delay=0.002)


class WordJudge:
    """Asks one word per candidate and takes the reply word as its label."""

    kind = "word"
    exempt_subsets = frozenset({"arguana"})

    def settings(self) -> dict[str, Any]:
        return {"prompt": 1}

    def asks(self, row: Row, positions: Sequence[int], *, constrained: bool) -> list[Ask]:
        return [
            Ask(Request((Message("user", row.negative_passages[position].text),), max_tokens=1), (position,))
            for position in positions
        ]

    def read(self, ask: Ask, reply: Reply) -> dict[int, Judgement]:
        label = Label(reply.text) if reply.text in set(Label) else Label.UNPARSABLE
        return dict.fromkeys(ask.positions, Judgement(label))


class MemoryEndpoint:
    """Answers from a function; counts what it is asked."""

    constrains = True

    def __init__(self, answer: Behaviour, name: str = "memory", model: str = "some/model") -> None:
        self.answer, self.name, self.model = answer, name, model
        self.asked: list[str] = []

    async def info(self) -> EndpointInfo:
        return EndpointInfo(self.model, "abc")

    async def complete(self, request: Request) -> Reply:
        text = request.messages[-1].content
        self.asked.append(text)
        return Reply(self.answer(text), prompt_tokens=10, completion_tokens=1, endpoint=self.name)

    async def queue_depth(self) -> float | None:
        return None

    async def close(self) -> None:
        return None


def write_rows(path: Path, negatives: Sequence[Sequence[str]], subset: str = "nq") -> Source:
    lines = []
    for number, texts in enumerate(negatives):
        passages = [{"docid": f"{number}-{place}", "title": "", "text": text} for place, text in enumerate(texts)]
        row = {"query_id": f"q{number}", "query": f"query {number}", "subset": subset}
        row["positive_passages"] = [{"docid": "p", "title": "", "text": f"positive {number}"}]
        row["negative_passages"] = passages
        lines.append(orjson.dumps(row))
    path.write_bytes(b"\n".join(lines))
    return open_source(path)


def by_prefix(text: str) -> str:
    """`better: …` is better, and so on."""
    return text.split(":")[0]


def stage_of(
    answer: Behaviour = by_prefix, name: str = "only", rule: Rule | None = None
) -> tuple[Stage, MemoryEndpoint]:
    endpoint = MemoryEndpoint(answer)
    return Stage(name, WordJudge(), rule or Rule(), (endpoint,), FAST), endpoint


def outcomes(source: Source, journal: Journal) -> dict[str, Outcome]:
    return {verdict.docid: verdict.outcome for _, found in verdicts(source, journal) for verdict in found}


def test_every_candidate_is_asked_once_and_a_second_run_asks_nothing(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "rows.jsonl", [["better: a", "worse: b"], ["irrelevant: c"]])
    stage, endpoint = stage_of()
    with Journal(tmp_path / "journal.sqlite") as journal:
        (report,) = judge(source, [stage], journal)
        assert sorted(endpoint.asked) == ["better: a", "irrelevant: c", "worse: b"]
        assert (report.rows, report.requests, report.asked) == (2, 3, 3)
        assert outcomes(source, journal) == {
            "0-0": Outcome.FALSE_NEGATIVE,
            "0-1": Outcome.DOUBTFUL,
            "1-0": Outcome.NEGATIVE,
        }
        (again,) = judge(source, [stage], journal)
        assert (again.requests, again.known, len(endpoint.asked)) == (0, 3, 3)


def test_rows_that_repeat_are_asked_once(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    write_rows(path, [["better: a"]])
    path.write_bytes(path.read_bytes() + b"\n" + path.read_bytes())
    source = open_source(path)
    stage, endpoint = stage_of()
    with Journal(tmp_path / "journal.sqlite") as journal:
        judge(source, [stage], journal)
        assert endpoint.asked == ["better: a"]
        assert [found[0].outcome for _, found in verdicts(source, journal)] == [Outcome.FALSE_NEGATIVE] * 2


def test_a_file_may_be_renamed_and_moved(tmp_path: Path) -> None:
    named_after_file = list(write_rows(tmp_path / "nq.jsonl", [["better: a"]]).rows())
    lines = [orjson.dumps({k: v for k, v in each.row.to_dict().items() if k != "subset"}) for each in named_after_file]
    (tmp_path / "nq.jsonl").write_bytes(b"\n".join(lines))
    (tmp_path / "elsewhere").mkdir()
    stage, endpoint = stage_of()
    with Journal(tmp_path / "journal.sqlite") as journal:
        judge(tmp_path / "nq.jsonl", [stage], journal)
        moved = (tmp_path / "nq.jsonl").rename(tmp_path / "elsewhere" / "questions-2019.jsonl")
        assert outcomes(open_source(moved), journal) == {"0-0": Outcome.FALSE_NEGATIVE}
        (report,) = judge(moved, [stage], journal)
    assert (report.known, len(endpoint.asked)) == (1, 1)


def test_ground_truths_that_no_prompt_holds_are_counted(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "rows.jsonl", [["a", "b"], ["c"]])
    (first, second) = (numbered.row.to_dict() for numbered in source.rows())
    first["positive_passages"] = [{"docid": str(n), "title": "", "text": f"positive {n}"} for n in range(12)]
    (tmp_path / "rows.jsonl").write_bytes(orjson.dumps(first) + b"\n" + orjson.dumps(second))
    endpoint = MemoryEndpoint(lambda _: '{"thinking": "", "better": [], "worse": []}')
    with Journal(tmp_path / "journal.sqlite") as journal:
        stage = Stage("only", ListwiseJudge(), endpoints=(endpoint,), limits=FAST)
        (report,) = judge(tmp_path / "rows.jsonl", [stage], journal, progress=False)
    assert (report.asked, report.fewer_positives, report.to_dict()["fewer_positives"]) == (3, 2, 2)
    assert "2 asked now beside the shortest ground truths of their row" in report.to_text()


def test_what_the_served_tokenizer_calls_special_has_no_power(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    files = tmp_path / "hub" / "models--some--model" / "snapshots" / "abc"
    files.mkdir(parents=True)
    tokens = [{"content": "~~BEGIN~~", "special": True}, {"content": "ordinary-word", "special": False}]
    (files / "tokenizer.json").write_bytes(orjson.dumps({"added_tokens": tokens}))
    source = write_rows(tmp_path / "rows.jsonl", [["an ordinary-word ~~BEGIN~~ here"]])
    endpoint = MemoryEndpoint(lambda _: '{"thinking": "", "better": [], "worse": []}')
    with Journal(tmp_path / "journal.sqlite") as journal:
        judge(source, Stage("only", ListwiseJudge(), endpoints=(endpoint,), limits=FAST), journal, progress=False)
    assert "an ordinary-word ~ ~BEGIN~~ here" in endpoint.asked[0]


SAID = "<better>[{}]</better><worse>[]</worse>"


def saved_replies(path: Path, said: Sequence[tuple[str, str]], subset: str | None = None) -> Source:
    """Rows of the same texts under the ids given, with what was said of their only candidate."""
    lines = []
    for query_id, reply in said:
        row = Row(query_id, "query", (Passage("p", "", "positive"),), (Passage("n", "", "negative"),))
        values = {**row.to_dict(), "subset": subset, "response": SAID.format(reply), "finish_reason": "stop"}
        lines.append(orjson.dumps({name: value for name, value in values.items() if value is not None}))
    path.write_bytes(b"\n".join(lines))
    return open_source(path, format="rlhn-replies")


def read_saved(replies: Source, source: Source, journal: Path) -> list[list[Label]]:
    stage = Stage("saved", SavedRepliesJudge("replies.jsonl"), replies=replies)
    with Journal(journal) as opened:
        judge(source, stage, opened, progress=False)
        return [[v.stages[0].label for v in found if v.stages[0]] for _, found in verdicts(source, opened)]


def test_rows_of_the_same_texts_have_saved_replies_of_their_own(tmp_path: Path) -> None:
    replies = saved_replies(tmp_path / "replies.jsonl", [("q1", ""), ("q2", "Doc (1)")])
    found = read_saved(replies, replies, tmp_path / "journal.sqlite")
    assert found == [[Label.IRRELEVANT], [Label.BETTER]]


def test_saved_replies_are_found_under_another_file_name_and_read_again_when_edited(tmp_path: Path) -> None:
    rows = saved_replies(tmp_path / "rows.jsonl", [("q1", "")])
    replies = saved_replies(tmp_path / "gpt.jsonl", [("q1", "")])
    assert read_saved(replies, rows, tmp_path / "journal.sqlite") == [[Label.IRRELEVANT]]
    edited = saved_replies(tmp_path / "gpt.jsonl", [("q1", "Doc (1)")])
    assert read_saved(edited, rows, tmp_path / "journal.sqlite") == [[Label.BETTER]]


def test_what_cannot_be_read_or_fails_is_unjudged_and_asked_again_only_on_request(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "rows.jsonl", [["gibberish: a", "fails: b", "irrelevant: c"]])
    broken = {"fails"}

    def answer(text: str) -> str:
        if by_prefix(text) in broken:
            raise EndpointError("too long", kind="too_long", status=422)
        return "better" if not broken else by_prefix(text)

    stage, endpoint = stage_of(answer)
    with Journal(tmp_path / "journal.sqlite") as journal:
        (report,) = judge(source, [stage], journal)
        assert report.labels[Label.UNPARSABLE] == report.labels[Label.FAILED] == 1
        assert outcomes(source, journal)["0-0"] is Outcome.UNJUDGED
        assert outcomes(source, journal)["0-1"] is Outcome.UNJUDGED
        assert {failure.docid for failure in journal.failures()} == {"0-0", "0-1"}
        asked = len(endpoint.asked)
        judge(source, [stage], journal)
        assert len(endpoint.asked) == asked
        broken.clear()
        judge(source, [stage], journal, retry_failed=True)
        assert outcomes(source, journal)["0-0"] is outcomes(source, journal)["0-1"] is Outcome.FALSE_NEGATIVE
        assert list(journal.failures()) == []


def test_two_stages_by_candidate_ask_the_second_only_about_doubted_ones(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "rows.jsonl", [["better: a", "worse: b", "irrelevant: c"]])
    first, _ = stage_of(name="cheap")
    second, accurate = stage_of(lambda text: "better" if text == "worse: b" else "irrelevant", name="accurate")
    accurate.model = "other/model"
    with Journal(tmp_path / "journal.sqlite") as journal:
        judge(source, [first, second], journal)
        assert sorted(accurate.asked) == ["better: a", "worse: b"]
        assert outcomes(source, journal) == {
            "0-0": Outcome.DOUBTFUL,
            "0-1": Outcome.FALSE_NEGATIVE,
            "0-2": Outcome.NEGATIVE,
        }


def test_row_escalation_can_be_tried_afterwards_at_the_price_of_the_rest(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "rows.jsonl", [["better: a", "irrelevant: b"], ["irrelevant: c"]])
    with Journal(tmp_path / "journal.sqlite") as journal:
        for escalate in ("candidate", "row"):
            first, cheap = stage_of(name="cheap", rule=Rule(escalate=escalate))  # type: ignore[arg-type]
            second, accurate = stage_of(name="accurate")
            accurate.model = "other/model"
            judge(source, [first, second], journal)
        assert cheap.asked == []
        assert accurate.asked == ["irrelevant: b"]


@pytest.mark.parametrize("first", [True, False])
def test_what_one_judge_leaves_alone_nobody_is_asked_and_planning_knows(tmp_path: Path, first: bool) -> None:
    source = write_rows(tmp_path / "rows.jsonl", [["better: a"]], subset="ArguAna")
    (leaves, one), (judges, two) = stage_of(name="leaves"), stage_of(name="judges")
    asks_all = WordJudge()
    asks_all.exempt_subsets = frozenset()
    judges = replace(judges, judge=asks_all)
    stages = [leaves, judges] if first else [judges, leaves]
    assert [stage.candidates for stage in plan(source, stages).stages] == [0, 0]
    with Journal(tmp_path / "journal.sqlite") as journal:
        assert [report.exempt for report in judge(source, stages, journal)] == [1, 1]
        assert (one.asked, two.asked) == ([], [])
        (verdict,) = next(iter(verdicts(source, journal)))[1]
        assert (verdict.outcome, verdict.reason) == (Outcome.UNJUDGED, "exempt")


def test_a_judge_that_leaves_rows_alone_by_a_method_is_told_how_to_say_so(tmp_path: Path) -> None:
    class Old:
        kind, batch_rows = "old", 1

        def exempt(self, row: Row) -> bool:
            return True

    with pytest.raises(ConfigError, match="`exempt_subsets`, a tuple of subsets, and no longer by a method"):
        judge(write_rows(tmp_path / "rows.jsonl", [["better: a"]]), Old(), tmp_path / "journal.sqlite")  # type: ignore[arg-type]


class DownEndpoint(MemoryEndpoint):
    """A server that is not there."""

    async def info(self) -> EndpointInfo:
        raise EndpointError("nothing listens there", kind="unreachable")

    async def complete(self, request: Request) -> Reply:
        raise EndpointError("nothing listens there", kind="unreachable")


def down(model: str | None = None) -> Stage:
    return Stage("only", WordJudge(), Rule(), (DownEndpoint(by_prefix),), FAST, model=model)


def test_a_run_whose_server_is_down_does_not_become_the_last_one(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "rows.jsonl", [["better: a"], ["worse: b"]])
    with Journal(tmp_path / "journal.sqlite") as journal:
        judge(source, [stage_of()[0]], journal)
        good = journal.runs()
        found = outcomes(source, journal)
        with pytest.raises(EndpointError, match="nothing listens"):
            judge(source, [down("another/model")], journal)
        assert journal.runs() == good
        # The model that answered before is known by what its server told then: nothing is to be asked, so nobody is.
        (report,) = judge(source, [down("some/model")], journal)
        assert (report.asked, report.known) == (0, 2)
        assert [run.settings for run in journal.runs()] == [run.settings for run in good]
        assert outcomes(source, journal) == found


def test_no_cascade_becomes_its_first_stage_where_the_second_is_down(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "rows.jsonl", [["better: a"]])
    first, endpoint = stage_of(name="first")
    with Journal(tmp_path / "journal.sqlite") as journal:
        with pytest.raises(EndpointError, match="nothing listens"):
            judge(source, [first, down()], journal)
        assert (endpoint.asked, journal.runs()) == ([], [])


def test_a_run_without_one_readable_answer_is_not_the_last_one(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "rows.jsonl", [["better: a"]])
    mute, endpoint = stage_of(lambda text: "no word at all")
    endpoint.model = "mute/model"
    with Journal(tmp_path / "journal.sqlite") as journal:
        judge(source, [stage_of()[0]], journal)
        good = journal.last_run()
        judge(source, [mute], journal)
        assert journal.last_run() == good
        assert outcomes(source, journal) == {"0-0": Outcome.FALSE_NEGATIVE}


def test_when_every_request_fails_it_stops_early_and_says_why(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "rows.jsonl", [[f"better: {number}" for number in range(20)]] * 50)

    def refuse(text: str) -> str:
        raise EndpointError("wrong token", kind="unauthorized", status=401)

    stage, endpoint = stage_of(refuse)
    with Journal(tmp_path / "journal.sqlite") as journal:
        with pytest.raises(JudgingStopped, match="wrong token"):
            judge(source, [stage], journal)
        assert len(endpoint.asked) < 500
        # With the right token the same command asks about everything: no candidate was to blame.
        assert list(journal.failures()) == []
        stage, endpoint = stage_of()
        (report,) = judge(source, [stage], journal)
        assert report.labels[Label.BETTER] == 1000


@pytest.mark.parametrize(("kind", "status"), [("unauthorized", 401), ("unauthorized", 403), ("misaddressed", 404)])
def test_a_wrong_token_fails_no_candidate_however_few_there_are(tmp_path: Path, kind: Any, status: int) -> None:
    """Too few for the scheduler to see a row of failures: with the right token the same command asks them again."""
    source = write_rows(tmp_path / "rows.jsonl", [["better: a", "worse: b"]])

    def refuse(text: str) -> str:
        raise EndpointError("wrong token", kind=kind, status=status)

    stage, endpoint = stage_of(refuse)
    with Journal(tmp_path / "journal.sqlite") as journal:
        with pytest.raises(JudgingStopped, match=r"2 requests turned away, .*wrong token"):
            judge(source, [stage], journal)
        endpoint.answer = by_prefix
        (report,) = judge(source, [stage], journal)
        assert (report.labels[Label.BETTER], report.labels[Label.WORSE], report.known) == (1, 1, 0)


def test_a_token_that_runs_out_fails_none_of_the_last_few(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "rows.jsonl", [["better: a"], ["worse: b"], ["odd: c"]])

    def answer(text: str) -> str:
        if text.startswith("worse"):
            raise EndpointError("expired", kind="unauthorized", status=401)
        if text.startswith("odd"):
            raise EndpointError("flagged", kind="unauthorized", status=403)
        return by_prefix(text)

    stage, endpoint = stage_of(answer)
    with Journal(tmp_path / "journal.sqlite") as journal:
        with pytest.raises(JudgingStopped, match=r"1 request turned away, .*expired"):
            judge(source, [stage], journal)
        endpoint.answer, endpoint.asked = by_prefix, []
        (report,) = judge(source, [stage], journal)
        assert endpoint.asked == ["worse: b"], "what a service will not read among others that it does read has failed"
        assert report.known_labels[Label.FAILED] == 1


def test_the_model_that_answers_is_kept_beside_the_one_asked_for_and_old_journals_go_on(tmp_path: Path) -> None:
    class Other(MemoryEndpoint):
        answers_as: str | None = None

        async def info(self) -> EndpointInfo:
            return replace(await super().info(), answers_as=self.answers_as)

    source = write_rows(tmp_path / "rows.jsonl", [["better: a"]])

    def asked(journal: str, answers_as: str | None) -> int:
        endpoint = Other(lambda text: "better")
        endpoint.answers_as = answers_as
        judge(source, Stage("one", WordJudge(), endpoints=(endpoint,)), tmp_path / journal)
        return len(endpoint.asked)

    # a journal of before knows nothing of it; later ones know one file from another
    assert [asked("old", None), asked("old", "q4.gguf"), asked("old", "q8.gguf")] == [1, 0, 0]
    assert [asked("new", "q4.gguf"), asked("new", "q4.gguf"), asked("new", "q8.gguf")] == [1, 0, 1]
    with Journal(tmp_path / "new", write=False) as journal:
        assert [judge.settings["answers_as"] for judge in journal.judges()] == ["q8.gguf", "q4.gguf"]


def test_servers_with_different_models_are_refused(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "rows.jsonl", [["better: a"]])
    endpoints = (MemoryEndpoint(by_prefix, model="one"), MemoryEndpoint(by_prefix, model="two"))
    stage = Stage("only", WordJudge(), Rule(), endpoints, FAST)
    with Journal(tmp_path / "journal.sqlite") as journal, pytest.raises(ConfigError, match="different models"):
        judge(source, [stage], journal)


def test_stages_need_names_of_their_own_and_an_endpoint(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "rows.jsonl", [["better: a"]])
    stage, _ = stage_of()
    with Journal(tmp_path / "journal.sqlite") as journal:
        with pytest.raises(ConfigError, match="must differ"):
            judge(source, [stage, stage], journal)
        with pytest.raises(ConfigError, match="has no endpoint"):
            judge(source, [Stage("only", WordJudge())], journal)


def test_it_works_while_an_event_loop_runs_as_in_a_notebook(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "rows.jsonl", [["better: a", "worse: b"], ["irrelevant: c"]])
    stage, endpoint = stage_of()

    async def cell() -> int:
        with Journal(tmp_path / "journal.sqlite") as journal:
            (report,) = judge(source, [stage], journal)
            judge(source, [stage], journal)
            assert outcomes(source, journal)["0-0"] is Outcome.FALSE_NEGATIVE
            return report.asked

    assert asyncio.run(cell()) == 3
    assert len(endpoint.asked) == 3


class Ticking:
    """A clock that runs as a judge works: so many seconds for each row."""

    def __init__(self, seconds_a_row: float) -> None:
        self.now, self.seconds_a_row = 0.0, seconds_a_row

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("seconds_a_row", [0.0, 0.001, 0.2, 5.0])
def test_what_a_judge_computes_is_written_down_every_30_seconds(seconds_a_row: float) -> None:
    clock = Ticking(seconds_a_row)
    pace = BatchPace(256, clock)
    sizes, done = [], 0
    while done < 5_000:
        sizes.append(rows := pace.rows)
        with pace.measured(rows):
            clock.now += rows * seconds_a_row
        done += rows
    assert sizes[0] == 4
    assert max(sizes) <= 256
    assert all(rows == 1 or rows * seconds_a_row <= 30 for rows in sizes[1:])
    if seconds_a_row < 0.03:
        assert sizes[-1] == 256
