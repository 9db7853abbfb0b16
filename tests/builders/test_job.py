"""Job files: what they hold, how parameters fill them, and what is said when they are wrong."""

from __future__ import annotations

import pytest

from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.job import load_job, parse_job, shipped_job_files

MINIMAL = """
parameters: {url: "http://127.0.0.1:8080", attempts: 3}
source: {location: train.jsonl, subset: nq}
stages:
  - judge: {kind: listwise}
    endpoints: [{url: "${url}"}]
    limits: {max_attempts: "${attempts}"}
"""


def test_a_parameter_fills_its_place_and_the_command_line_wins() -> None:
    assert parse_job(MINIMAL).stages[0].endpoints[0].url == "http://127.0.0.1:8080"
    job = parse_job(MINIMAL, {"url": "http://gpu:80"})
    assert job.stages[0].endpoints[0].url == "http://gpu:80"
    assert job.stages[0].limits.max_attempts == 3
    assert job.source.subset == ("nq",)
    assert job.stage_names() == ["stage-1"]


def test_a_parameter_value_never_becomes_structure() -> None:
    job = parse_job(MINIMAL, {"url": '", token_env: HOME, x: "'})
    assert job.stages[0].endpoints[0].url == '", token_env: HOME, x: "'
    assert job.stages[0].endpoints[0].token_env is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "not valid YAML"),
        ("just text", "holds no settings"),
        (MINIMAL + "buld: {}\n", "unknown setting `buld`"),
        (MINIMAL.replace("kind: listwise", "name: x"), "stages.0.judge"),
        (MINIMAL.replace("location: train.jsonl, ", ""), "source.location"),
        (MINIMAL.replace('"http://127.0.0.1:8080"', "null"), "needs the parameter 'url'"),
        (MINIMAL.replace("judge:", "escalate: never\n    judge:"), "stages.0.escalate"),
        ("source: {location: a}\nstages: []\n", "stages"),
    ],
)
def test_a_wrong_job_file_says_where_and_what(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message.replace("`", "`")):
        parse_job(text)


def test_an_unknown_parameter_is_refused() -> None:
    with pytest.raises(ConfigError, match="no parameter 'uri'"):
        parse_job(MINIMAL, {"uri": "x"})


def test_the_ready_job_files_cover_the_paper() -> None:
    seven = {"msmarco", "hotpotqa", "nq", "fever", "scidocsrr", "fiqa", "arguana"}
    assert {f"rlhn-{name}" for name in seven} | {"rlhn-two-stage"} == set(shipped_job_files())
    for name in shipped_job_files():
        assert load_job(name).build is not None
    two_stage = load_job("rlhn-two-stage", {"stage1_url": "http://cheap", "stage2_url": "http://accurate"})
    assert [stage.endpoints[0].url for stage in two_stage.stages] == ["http://cheap", "http://accurate"]
    assert two_stage.stages[0].escalate == "row"


def test_a_job_file_that_is_missing_is_named_with_the_ready_ones() -> None:
    with pytest.raises(ConfigError, match="rlhn-fever"):
        load_job("no-such-file")
