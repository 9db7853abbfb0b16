"""Tokens that go to servers of the user's own, and those that job files do not name."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest
import yaml
from yarl import URL

from hf_relabel.builders.job.reading import parse_job
from hf_relabel.hub_tools.endpoints import own_servers
from hf_relabel.hub_tools.endpoints.hosts import default_token
from hf_relabel.hub_tools.jobs import portable
from hf_relabel.hub_tools.judging.on_ray_actor import StagesElsewhere
from tests.hub_tools.hub_answers import Answer, answering

MINE, OTHERS = "abc123", "def456"
ENDPOINT = "xyz.us-east-1.aws.endpoints.huggingface.cloud"


@pytest.fixture(autouse=True)
def _logged_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_mine")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-mine")
    monkeypatch.setattr(own_servers, "_known", {})


def hub(request: httpx2.Request) -> Answer:
    """The user `ada`, one Job with a port, and one Inference Endpoint, in the shapes that the client reads."""
    path = request.url.path
    if path == "/api/whoami-v2":
        return 200, {}, {"name": "ada", "orgs": [{"name": "acme"}]}
    if path == f"/api/jobs/ada/{MINE}":
        urls = [f"https://{MINE}--8000.hf.jobs"]
        owner = {"id": "1", "name": "ada", "type": "user"}
        return 200, {}, {"id": MINE, "status": {"stage": "RUNNING", "exposeUrls": urls}, "owner": owner}
    if path == "/v2/endpoint/ada":
        times = {"createdAt": "2026-11-01T00:00:00Z", "updatedAt": "2026-11-01T00:00:00Z"}
        status = {"state": "running", "url": f"https://{ENDPOINT}", **times}
        model = {"repository": "org/m", "framework": "pytorch", "revision": None, "task": None}
        return (
            200,
            {},
            {"items": [{"name": "m", "model": model, "status": status, "healthRoute": "", "type": "protected"}]},
        )
    return 404, {}, {"error": "not found"}


@pytest.mark.parametrize(
    ("url", "token"),
    [
        (f"https://{MINE}--8000.hf.jobs/v1", "hf_mine"),
        (f"https://{MINE}--9000.hf.jobs/v1", ""),  # a port that the Job does not open
        (f"https://{OTHERS}--8000.hf.jobs/v1", ""),
        (f"http://{MINE}--8000.hf.jobs/v1", ""),
        (f"https://{MINE}--8000.hf.jobs.example/v1", ""),
        (f"https://a.{MINE}--8000.hf.jobs/v1", ""),
        (f"https://{ENDPOINT}/", "hf_mine"),
        ("https://other.us-east-1.aws.endpoints.huggingface.cloud/", ""),
        ("https://ada-judge.hf.space", ""),
        ("https://api.openai.com/v1", "sk-mine"),
        ("http://api.openai.com/v1", ""),
        ("https://openai.com.example/v1", ""),
    ],
)
def test_the_token_goes_to_servers_that_the_hub_calls_the_users_own(url: str, token: str) -> None:
    with answering(hub) as asked:
        assert default_token(URL(url)) == token
        assert default_token(URL(url)) == token
    assert {request.url.host for request in asked} <= {"huggingface.co", "api.endpoints.huggingface.cloud"}
    assert sum(request.url.path == "/api/whoami-v2" for request in asked) <= 1, "asked once"


@pytest.mark.parametrize("status", [401, 500, None])
def test_a_hub_that_cannot_be_asked_means_no_token_and_is_asked_again(status: int | None) -> None:
    def away(request: httpx2.Request) -> Answer:
        if status is None:
            raise httpx2.ConnectError("no network", request=request)
        return status, {}, {"error": "away"}

    with answering(away):
        assert default_token(URL(f"https://{MINE}--8000.hf.jobs")) == ""
    if status != 401:
        with answering(hub):
            assert default_token(URL(f"https://{MINE}--8000.hf.jobs")) == "hf_mine"


def test_without_a_token_the_hub_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    with answering(hub) as asked:
        assert default_token(URL(f"https://{MINE}--8000.hf.jobs")) == ""
    assert asked == []


def job_asking(**endpoint: Any) -> Any:
    stage = {
        "judge": {"kind": "listwise"},
        "endpoints": [{"url": "https://api.openai.com/v1", "model": "m", **endpoint}],
    }
    return parse_job(yaml.safe_dump({"source": {"location": "user/rows"}, "stages": [stage], "build": {"out": "out"}}))


def test_a_key_that_is_read_here_without_being_named_goes_along_to_jobs_and_workers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert portable.token_names(job_asking()) == ["OPENAI_API_KEY"]
    assert portable.token_names(job_asking(token_env="MY_KEY")) == ["MY_KEY"]
    assert portable.token_names(job_asking(url="https://judge.example.org")) == []
    assert StagesElsewhere.of(job_asking()).environment["OPENAI_API_KEY"] == "sk-mine"
    assert "OPENAI_API_KEY" not in StagesElsewhere.of(job_asking(url="https://judge.example.org")).environment
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("huggingface_hub.get_token", lambda: "hf_of_the_login")
    assert StagesElsewhere.of(job_asking()).environment["HF_TOKEN"] == "hf_of_the_login"
