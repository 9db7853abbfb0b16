"""Plans for the paper's 680 K rows and for ten million, checked against what the paper says of its own run.

A sample of one row in a thousand stands for the whole: the seven data sets in the paper's shares, with its numbers of
negatives per row, and passages that bring a row to the size that rlhn-680K has on the Hub.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import orjson
import pytest

from hf_relabel.builders.cascade.rules import Rule
from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.judges.prompted.listwise import ListwiseJudge
from hf_relabel.builders.planning.counting import StageToPlan, survey_source
from hf_relabel.builders.planning.plan import JobPlan, plan
from hf_relabel.builders.sources import Source, open_source
from hf_relabel.hub_tools.commands import run
from hf_relabel.hub_tools.commands.plan_command import per_stage
from hf_relabel.hub_tools.endpoints.registry import make_endpoint
from hf_relabel.hub_tools.endpoints.scheduling.scheduler import Limits
from hf_relabel.hub_tools.judging.plan import plan_job
from hf_relabel.hub_tools.judging.stages import Stage

TABLE_2 = {
    # rows, positives per query, negatives per query, rows with false negatives by stage 1
    "msmarco_passage": (485_823, 1.1, 25.0, 391_965),
    "hotpotqa": (84_516, 2.0, 20.0, 11_268),
    "nq": (58_568, 1.0, 98.5, 32_184),
    "fever": (29_096, 1.3, 20.0, 7_764),
    "scidocsrr": (12_655, 1.6, 19.7, 2_068),
    "fiqa": (5_500, 2.6, 15.0, 3_632),
    "arguana": (4_065, 1.0, 13.6, 0),
}
"""arXiv 2505.16967, Table 2."""
ROWS = sum(rows for rows, *_ in TABLE_2.values())
JUDGED = ROWS - TABLE_2["arguana"][0]
PASSAGE = 490
"""Characters: 10.96 GB of Arrow for 648,766 rows of 31 passages, less the ids."""
NOBODY = "http://127.0.0.1:9"
# US dollars per million tokens of the paper's two models in the API's batches, which cost half.
CHEAP, ACCURATE = (0.075, 0.30), (1.25, 5.00)


def write_sample(path: Path, shares: int = 1_000) -> Source:
    chance = random.Random(0)
    words = ["".join(chance.choices("abcdefghijklmnopqrstuvwxyz", k=chance.randint(2, 9))) for _ in range(3_000)]

    def passage(docid: str) -> dict[str, str]:
        return {"docid": docid, "title": "", "text": " ".join(chance.choices(words, k=100))[:PASSAGE]}

    def so_many(mean: float) -> int:
        return int(mean) + (chance.random() < mean % 1)

    with path.open("wb") as file:
        for subset, (rows, positives, negatives, _) in TABLE_2.items():
            for number in range(round(rows / shares)):
                row = {
                    "query_id": f"{subset}-{number}",
                    "query": " ".join(chance.choices(words, k=8)),
                    "positive_passages": [passage(f"p{place}") for place in range(so_many(positives))],
                    "negative_passages": [passage(f"n{place}") for place in range(so_many(negatives))],
                    "subset": subset,
                }
                file.write(orjson.dumps(row) + b"\n")
    return open_source(path)


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Source:
    return write_sample(tmp_path_factory.mktemp("table2") / "rows.jsonl")


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Source:
    """A row in twenty thousand, where only the arithmetic counts."""
    return write_sample(tmp_path_factory.mktemp("few") / "rows.jsonl", shares=20_000)


def paper_stages(*prices: tuple[float, float]) -> list[Stage]:
    """The paper's two stages, at servers that nobody runs: a plan does without."""
    found = []
    for name, price in zip(("cheap", "accurate"), prices or ((0.0, 0.0),) * 2, strict=True):
        judge = ListwiseJudge(candidates_per_prompt=25, temperature=0.1, max_tokens=2048)
        limits = Limits(price_prompt=price[0], price_completion=price[1])
        endpoint = make_endpoint(NOBODY, dialect="openai", flavor="openai")
        found.append(Stage(name, judge, Rule(escalate="row"), (endpoint,), limits, model="some/model"))
    return found


def planned(sample: Source, rows: int, **settings: Any) -> JobPlan:
    return plan_job(sample, paper_stages(), rows=rows, **settings)


def test_the_paper_run_has_one_request_per_row_and_stage_and_more_only_for_long_lists(sample: Source) -> None:
    first, second = planned(sample, ROWS).stages
    assert first.rows == pytest.approx(JUDGED, rel=0.001)  # ArguAna is exempt
    # 25 go into one prompt; the 98.5 of NQ take four, where the paper put them all into one.
    assert first.requests == pytest.approx(JUDGED + 3 * TABLE_2["nq"][0], rel=0.002)
    negatives = sum(rows * each for name, (rows, _, each, _) in TABLE_2.items() if name != "arguana")
    assert first.candidates == pytest.approx(negatives, rel=0.01)
    # The paper's stage 1 finds false negatives in 448,881 rows and passes those on.
    assert second.rows == pytest.approx(sum(found for *_, found in TABLE_2.values()), rel=0.01)


def test_each_data_set_escalates_as_the_paper_says_when_told_its_share(sample: Source) -> None:
    for subset, (rows, _, negatives, found) in TABLE_2.items():
        if not found:
            continue
        only = open_source(sample.name, subset=[subset])
        first, second = planned(only, rows, escalated=found / rows).stages
        assert first.rows == rows
        assert first.candidates == pytest.approx(rows * negatives, rel=0.03)
        # A row of the sample stands for a thousand.
        assert second.rows == pytest.approx(found, abs=max(1_000, 0.02 * found))


def test_ten_million_rows_take_as_much_more_as_they_are_more(few: Source) -> None:
    small, large = planned(few, ROWS), planned(few, 10_000_000)
    for one, other in zip(small.stages, large.stages, strict=True):
        for name in ("rows", "candidates", "requests", "prompt_tokens", "completion_tokens"):
            assert getattr(other, name) == pytest.approx(getattr(one, name) * 10_000_000 / ROWS, rel=1e-5)


def test_the_cost_is_of_the_order_of_what_the_authors_give(sample: Source) -> None:
    """At most about 300 and 3,000 US dollars, they say. What the prompts cost is below that; a plan assumes replies of
    40 tokens per candidate and adds what they cost."""
    cheap, accurate = plan_job(sample, paper_stages(CHEAP, ACCURATE), rows=ROWS).stages
    for stage, (price_prompt, price_completion), most in ((cheap, CHEAP, 300), (accurate, ACCURATE, 3_000)):
        prompts = stage.prompt_tokens * price_prompt / 1e6
        assert stage.cost == pytest.approx(prompts + stage.completion_tokens * price_completion / 1e6)
        assert 0.5 * most < prompts < most
        assert stage.cost is not None
        assert most / 2 < stage.cost < 2 * most


def test_hours_and_money_on_servers_of_your_own(few: Source) -> None:
    speeds, prices = {"cheap": 40_000.0, "accurate": 5_000.0}, {"cheap": 4.0, "accurate": 16.0}
    found = planned(few, ROWS, tokens_per_second=speeds, price_hour=prices)
    for stage in found.stages:
        hours = (stage.prompt_tokens + stage.completion_tokens) / speeds[stage.name] / 3600
        assert stage.hours == pytest.approx(hours)
        assert stage.cost == pytest.approx(hours * prices[stage.name])
    assert found.hours == pytest.approx(sum(stage.hours or 0 for stage in found.stages))
    assert found.cost == pytest.approx(sum(stage.cost or 0 for stage in found.stages))
    both = plan_job(few, paper_stages(CHEAP, ACCURATE), rows=ROWS, tokens_per_second=speeds, price_hour=prices)
    tokens = plan_job(few, paper_stages(CHEAP, ACCURATE), rows=ROWS)
    assert both.cost == pytest.approx((found.cost or 0) + (tokens.cost or 0))
    some = planned(few, ROWS, tokens_per_second={"cheap": 40_000.0})
    assert [stage.hours is None for stage in some.stages] == [False, True]


def test_numbers_for_no_stage_and_prices_without_a_speed_are_errors(few: Source) -> None:
    for wrong, said in (
        ({"tokens_per_second": {"best": 1.0}}, "no stage 'best'. There are: cheap, accurate"),
        ({"tokens_per_second": -1.0}, "above 0"),
        ({"price_hour": 4.0}, "without the speed"),
    ):
        with pytest.raises(ConfigError, match=said):
            planned(few, ROWS, **wrong)


@pytest.mark.parametrize(
    ("given", "meant"),
    [((), None), (("20_000",), 20_000.0), (("cheap=4", "accurate=0.5"), {"cheap": 4.0, "accurate": 0.5})],
)
def test_numbers_per_stage_are_read(given: tuple[str, ...], meant: Any) -> None:
    assert per_stage("--price-hour", given) == meant


@pytest.mark.parametrize("given", [("fast",), ("cheap=",), ("1", "cheap=2"), ("1", "2")])
def test_what_is_no_number_per_stage_is_an_error(given: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match="--price-hour"):
        per_stage("--price-hour", given)


def test_the_command_scales_a_sample(few: Source, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["plan", few.name, "--stages", "rlhn-two-stage", "--rows", "10_000_000", "--json"]
    arguments += ["--set", f"stage1_url={NOBODY}", "--set", f"stage2_url={NOBODY}"]
    speeds = ["--tokens-per-second", "cheap=40_000", "--tokens-per-second", "accurate=5000", "--price-hour", "cheap=4"]
    assert run([*arguments, *speeds]) == 0
    told = json.loads(capsys.readouterr().out)
    cheap, accurate = told["stages"]
    assert told["rows"] == 10_000_000
    assert cheap["cost"] == pytest.approx(cheap["hours"] * 4)
    assert accurate["cost"] is None
    assert accurate["hours"] > 0


def test_without_servers_a_plan_is_made_from_the_rows_alone(sample: Source) -> None:
    stages = [StageToPlan("cheap", ListwiseJudge(candidates_per_prompt=25), Rule("row"))]
    (alone,) = plan(sample, stages, tokens_per_second=1_000.0, price_hour=2.0)
    assert alone.cost == pytest.approx((alone.hours or 0) * 2)
    assert survey_source(sample, stages).rows == pytest.approx(ROWS / 1_000, abs=5)
