"""Judging by servers that refuse something: answers are kept under the judge that gave them, and found again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import orjson
import pytest

from hf_relabel.builders.cascade.run_stages import stages_of_run
from hf_relabel.builders.errors import ConfigError, JudgingStopped
from hf_relabel.builders.job.reading import parse_job
from hf_relabel.builders.job.stages import EndpointSettings
from hf_relabel.builders.job.writing import new_job
from hf_relabel.builders.journal.store import Journal
from hf_relabel.builders.judges.prompted.listwise import ListwiseJudge
from hf_relabel.builders.judges.prompted.pointwise import PointwiseJudge
from hf_relabel.builders.sources import Source, open_source
from hf_relabel.hub_tools.endpoints.registry import make_endpoint
from hf_relabel.hub_tools.endpoints.scheduling.scheduler import Limits
from hf_relabel.hub_tools.judging.assemble import make_stages
from hf_relabel.hub_tools.judging.run import judge
from hf_relabel.hub_tools.judging.stages import Stage
from tests.facade.recorded import Asked, Recorded, Said, chat

ROWS = 12
FEW = Limits(concurrency=4, max_attempts=1, give_up_after=2)
NO_TEMPERATURE = {
    "error": {
        "message": "Unsupported value: 'temperature' does not support 0.1 with this model. Only the default (1) value"
        " is supported.",
        "type": "invalid_request_error",
        "param": "temperature",
        "code": "unsupported_value",
    }
}
VERDICT = '{"thinking": "", "better": [1], "worse": []}'


@pytest.fixture
def source(tmp_path: Path) -> Source:
    lines = []
    for number in range(ROWS):
        row = {"query_id": f"q{number}", "query": f"query {number}", "subset": "nq"}
        row["positive_passages"] = [{"docid": "p", "title": "", "text": f"positive {number}"}]
        row["negative_passages"] = [{"docid": f"{number}", "title": "", "text": f"negative {number}"}]
        lines.append(orjson.dumps(row))
    (tmp_path / "rows.jsonl").write_bytes(b"\n".join(lines))
    return open_source(tmp_path / "rows.jsonl")


class Server:
    """Refuses a temperature for as long as `picky`."""

    def __init__(self, *, picky: bool) -> None:
        self.picky = picky
        self.refused = self.answered = 0

    def __call__(self, asked: Asked) -> Said:
        if asked.method == "GET":
            return (200, {"data": [{"id": "m"}]}) if asked.path == "/v1/models" else (404, {})
        if self.picky and "temperature" in asked.payload:
            self.refused += 1
            return 400, NO_TEMPERATURE
        self.answered += 1
        return 200, chat(VERDICT)


def stage_at(url: str, **settings: Any) -> Stage:
    return Stage("only", ListwiseJudge(), endpoints=(make_endpoint(f"{url}/v1", **settings),), limits=FEW)


def instead_of_runs(journal: Journal) -> list[Any]:
    return [stages_of_run(run.settings)[0].judges[0].settings.get("instead") for run in journal.runs()]


def test_a_run_is_kept_under_the_judge_that_answered(source: Source, tmp_path: Path) -> None:
    picky = Server(picky=True)
    with Recorded(picky) as server, Journal(tmp_path / "journal.sqlite") as journal:
        (report,) = judge(source, [stage_at(server.url)], journal, progress=None)
        assert report.instead == (("temperature", "none"),)
        assert report.to_dict()["instead"] == {"temperature": "none"}
        assert "temperature: none" in report.to_text()
        assert (report.asked, report.known, report.rows, report.candidates) == (ROWS, 0, ROWS, ROWS)
        assert sum(report.totals.values()) == ROWS
        assert picky.answered == report.requests == ROWS  # nothing was asked twice
        assert instead_of_runs(journal) == [{"temperature": "none"}]
        assert all(run.complete for run in journal.runs())
        assert [judge.settings.get("instead") for judge in journal.judges()] == [{"temperature": "none"}]


def test_the_same_job_again_asks_and_is_refused_nothing(source: Source, tmp_path: Path) -> None:
    picky = Server(picky=True)
    with Recorded(picky) as server, Journal(tmp_path / "journal.sqlite") as journal:
        judge(source, [stage_at(server.url)], journal, progress=None)
        refused = picky.refused
        (again,) = judge(source, [stage_at(server.url)], journal, progress=None)
    assert (again.asked, again.known, picky.answered, picky.refused) == (0, ROWS, ROWS, refused)
    assert again.instead == (("temperature", "none"),)


def test_answers_of_before_and_after_are_not_taken_for_one_another(source: Source, tmp_path: Path) -> None:
    changing = Server(picky=False)
    with Recorded(changing) as server, Journal(tmp_path / "journal.sqlite") as journal:
        judge(open_source(tmp_path / "rows.jsonl", limit=5), [stage_at(server.url)], journal, progress=None)
        changing.picky = True
        (report,) = judge(source, [stage_at(server.url)], journal, progress=None)
        settings = [judge.settings.get("instead") for judge in journal.judges()]
    assert (report.known, report.asked, changing.answered) == (0, ROWS, 5 + ROWS)
    assert settings == [{"temperature": "none"}, None]


def test_a_run_that_stops_is_that_of_the_judge_that_answered_and_goes_on(source: Source, tmp_path: Path) -> None:
    picky = Server(picky=True)

    def answer(asked: Asked) -> Said:
        if asked.method == "POST" and picky.answered >= ROWS // 2:
            return 401, {"error": {"message": "the key was taken back"}}
        return picky(asked)

    with Recorded(answer) as server, Journal(tmp_path / "journal.sqlite") as journal, pytest.raises(JudgingStopped):
        judge(source, [stage_at(server.url)], journal, progress=None)
    with Recorded(picky) as server, Journal(tmp_path / "journal.sqlite") as journal:
        assert instead_of_runs(journal) == [{"temperature": "none"}]
        (report,) = judge(source, [stage_at(server.url)], journal, retry_failed=True, progress=None)
        assert instead_of_runs(journal) == [{"temperature": "none"}]
    assert report.known >= 1
    assert picky.answered == ROWS


def test_a_judge_of_probabilities_says_so_where_it_gets_none(
    source: Source, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def answer(asked: Asked) -> Said:
        if asked.method == "POST" and "logprobs" in asked.payload:
            return 400, {"error": {"message": "Unrecognized request argument supplied: logprobs", "param": None}}
        return (200, chat("Yes")) if asked.method == "POST" else (200, {"data": [{"id": "m"}]})

    with Recorded(answer) as server, Journal(tmp_path / "journal.sqlite") as journal:
        endpoint = make_endpoint(server.url)
        (report,) = judge(source, Stage("only", PointwiseJudge(), endpoints=(endpoint,), limits=FEW), journal)
    assert report.instead == (("logprobs", "none"),)
    assert "goes by the words alone and gives no score" in caplog.text


# What a job file says of a server


def job(endpoint: dict[str, Any]) -> Callable[[], list[Stage]]:
    text = orjson.dumps(
        {"source": "rows.jsonl", "stages": [{"judge": {"kind": "listwise"}, "endpoints": [endpoint]}]}
    ).decode()
    parsed = parse_job(text)
    return lambda: make_stages(parsed.stages, parsed.stage_names())


def test_settings_of_requests_are_part_of_the_judge_and_values_of_headers_are_not(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEWAY_KEY", "very-secret-value")
    endpoint = {
        "extra_body": {"reasoning_effort": "low"},
        "extra_headers": {"X-Api-Key": "env:GATEWAY_KEY", "X-Team": "search"},
        "takes": {"temperature": False, "max_tokens": "max_completion_tokens"},
    }
    with Recorded(Server(picky=True)) as server, Journal(tmp_path / "journal.sqlite") as journal:
        stages = job({"url": server.url, **endpoint})()
        judge(source, stages, journal, progress=None)
        (identity,) = journal.judges()
        posted = [asked for asked in server.asked if asked.method == "POST"]
    assert len(posted) == ROWS  # nothing was refused
    assert posted[0].headers["X-Api-Key"] == "very-secret-value"
    assert posted[0].payload["reasoning_effort"] == "low"
    assert identity.settings["extra_body"] == {"reasoning_effort": "low"}
    assert identity.settings["extra_headers"] == ["X-Api-Key", "X-Team"]
    assert identity.settings["instead"] == {"temperature": "none"}
    for file in tmp_path.iterdir():
        assert b"very-secret-value" not in file.read_bytes()


def test_secrets_do_not_stand_in_job_files() -> None:
    with pytest.raises(ConfigError, match=r'header X-Api-Key holds a secret.*"env:NAME"'):
        job({"url": "http://127.0.0.1:9", "extra_headers": {"X-Api-Key": "abcdefgh"}})
    made = job({"url": "http://user:pass@127.0.0.1:9", "extra_headers": {"X-Api-Key": "env:NOT_SET_AT_ALL"}})
    with pytest.raises(ConfigError, match=r"NOT_SET_AT_ALL holds nothing for the header X-Api-Key to http://127"):
        made()
    names = EndpointSettings(
        url="http://h", token_env="A", extra_headers={"X-Key": "env:B", "X-Team": "c"}
    ).secret_names()
    assert names == ["A", "B"]


def test_what_a_judge_was_known_by_before_stays_so(source: Source, tmp_path: Path) -> None:
    with Recorded(Server(picky=False)) as server, Journal(tmp_path / "journal.sqlite") as journal:
        judge(source, [stage_at(server.url)], journal, progress=None)
        (identity,) = journal.judges()
    assert not identity.settings.keys() & {"instead", "extra_body", "extra_headers"}


def test_every_command_that_asks_a_server_takes_the_name_of_a_token() -> None:
    from hf_relabel.hub_tools.commands import cli

    context = click.Context(cli)
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        for one in (command, *getattr(command, "commands", {}).values()):
            options = {option for parameter in getattr(one, "params", ()) for option in parameter.opts}
            assert "--endpoint" not in options or "--token-env" in options, name


def test_a_new_job_file_names_the_variable_of_the_token() -> None:
    text = new_job("train.jsonl", {"kind": "listwise"}, [{"url": "https://h", "model": None, "token_env": "MY_KEY"}])
    (endpoint,) = parse_job(text).stages[0].endpoints
    assert (endpoint.token_env, endpoint.model) == ("MY_KEY", None)
