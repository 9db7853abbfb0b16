"""Images of judge servers held against their registries.

The answers are those of Docker's own registry (2.8.2, which was driven by hand), with the challenge that Docker Hub and
GitHub's put before them (distribution specification, "token authentication").
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import httpx2
import pytest

from hf_relabel.hub_tools.commands import run as command_line
from hf_relabel.hub_tools.jobs.image_check import check
from hf_relabel.hub_tools.jobs.judge_images import kinds
from tests.hub_tools.hub_answers import Answer, answering

TAGS = {
    "vllm/vllm-openai": ["latest", "nightly-abc", "v0.9.0", "v0.10.0", "v0.5.1.post2", "v0.33.0", "v0.34.0-cu129"],
    "lmsysorg/sglang": ["v0.5.23"],
    "huggingface/text-generation-inference": ["3.3.7", "latest-rocm"],
}
REALMS = {"registry-1.docker.io": "https://auth.docker.io/token", "ghcr.io": "https://ghcr.io/token"}


def registry(request: httpx2.Request) -> Answer:
    url = request.url
    if str(url).startswith(tuple(REALMS.values())):
        return 200, {}, {"token": f"for {url.params['scope']}"}
    name = url.path.removeprefix("/v2/").rpartition("/manifests/" if "/manifests/" in url.path else "/tags/")[0]
    scope = f"repository:{name}:pull"
    if request.headers.get("authorization") != f"Bearer for {scope}":
        challenge = f'Bearer realm="{REALMS[url.host]}",service="{url.host}",scope="{scope}"'
        return 401, {"www-authenticate": challenge}, {"errors": [{"code": "UNAUTHORIZED"}]}
    tags = TAGS[name]
    if "/manifests/" in url.path:
        return (200 if url.path.rpartition("/")[2] in tags else 404), {}, {}
    if url.params.get("last"):
        return 200, {}, {"name": name, "tags": tags[1:]}
    return 200, {"link": f'</v2/{name}/tags/list?n=1&last={tags[0]}>; rel="next"'}, {"name": name, "tags": tags[:1]}


@pytest.mark.parametrize(
    ("tag", "told"),
    [
        ("v0.33.0", "there"),
        ("v0.10.0", "there; v0.33.0 is newer"),
        ("v9.0.0", "not there; the newest is v0.33.0"),
    ],
)
def test_a_tag_is_there_is_old_or_is_not_there(tag: str, told: str) -> None:
    with answering(registry) as asked:
        assert check(replace(kinds()["vllm"], tag=tag)).told == told
    assert sum("token" in str(request.url) for request in asked) == 1


def said(*arguments: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, Any]:
    code = command_line(["jobs", "images", *arguments, "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_the_command_tells_what_the_registries_say_and_fails_where_they_cannot_be_asked(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with answering(registry):
        code, found = said("--check", capsys=capsys)
    assert code == 0
    assert {each["name"]: each["registry"]["is_there"] for each in found} == dict.fromkeys(
        ("vllm", "sglang", "tgi"), True
    )

    def away(request: httpx2.Request) -> Answer:
        raise httpx2.ConnectError("no network", request=request)

    with answering(away):
        code, found = said("--check", capsys=capsys)
        assert command_line(["jobs", "images", "--check"]) == 9
    assert code == 9
    assert found[0]["registry"]["is_there"] is None
    assert "not checked: ghcr.io cannot be asked (no network)" in " ".join(capsys.readouterr().out.split())
    code, found = said(capsys=capsys)
    assert (code, [each["registry"] for each in found]) == (0, [None] * 3)
