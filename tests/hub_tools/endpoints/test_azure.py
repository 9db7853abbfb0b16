"""Azure OpenAI: asked as OpenAI's own client asks it."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx2
import openai
import pytest

from hf_relabel.builders.endpoint import EndpointError, Message, Reply, Request
from hf_relabel.builders.errors import ConfigError
from hf_relabel.hub_tools.endpoints.dialects.azure import azure_address, azure_headers
from hf_relabel.hub_tools.endpoints.dialects.openai import OpenAIEndpoint
from hf_relabel.hub_tools.endpoints.registry import make_endpoint
from hf_relabel.hub_tools.endpoints.transport import Transport
from tests.facade.recorded import Asked, Recorded, Said, chat

HOST = "https://example.openai.azure.com"
DATED = "/openai/deployments/judge/chat/completions?api-version"
REQUEST = Request((Message("system", "You judge."), Message("user", "Is it?")), max_tokens=16)
MISSING = {"error": {"code": "DeploymentNotFound", "message": "The API deployment for this resource does not exist."}}
WRONG_KEY = {
    "error": {
        "code": "401",
        "message": "Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a valid"
        " key for an active subscription and use a correct regional API endpoint for your resource.",
    }
}


def asked_by_openai(base: str, path: str, **settings: Any) -> httpx2.Request:
    """The request that `openai.AzureOpenAI` makes."""
    seen: list[httpx2.Request] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        seen.append(request)
        return httpx2.Response(200, json=chat())

    with httpx2.Client(transport=httpx2.MockTransport(answer)) as http:
        client = openai.AzureOpenAI(azure_endpoint=base, api_key="the-key", http_client=http, **settings)
        if path == "chat":
            client.chat.completions.create(model="judge", messages=[{"role": "user", "content": "Is it?"}])
        else:
            client.files.list()
    return seen[0]


def ask(url: str, **settings: Any) -> Reply:
    async def run() -> Reply:
        endpoint = make_endpoint(url, **settings)
        try:
            await endpoint.info()
            return await endpoint.complete(REQUEST)
        finally:
            await endpoint.close()

    return asyncio.run(run())


def test_a_deployment_is_asked_where_openais_client_asks_it_and_with_the_same_key() -> None:
    theirs = asked_by_openai(HOST, "chat", api_version="2024-10-21")
    with Recorded(lambda asked: (200, chat("yes"))) as server:
        reply = ask(server.url, flavor="azure", model="judge", token="the-key")
        [asked] = server.asked  # nothing else is asked: Azure lists models, not deployments
    assert (asked.path, asked.query) == (theirs.url.path, theirs.url.query.decode())
    assert asked.headers["api-key"] == theirs.headers["api-key"] == "the-key"
    assert "Authorization" not in asked.headers
    assert (reply.text, reply.model) == ("yes", "judge")
    assert asked.payload["model"] == "judge"


def test_files_for_batches_lie_where_openais_client_puts_them() -> None:
    theirs = asked_by_openai(HOST, "files", api_version="2025-03-01-preview")
    root = azure_address(f"{HOST}/openai/deployments/judge?api-version=2025-03-01-preview").root
    assert str(Transport(root)._url("files")) == str(theirs.url)


@pytest.mark.parametrize(
    ("url", "model", "asked"),
    [
        (HOST, "judge", f"{DATED}=2024-10-21"),
        (f"{HOST}/openai", "a b/c", "/openai/deployments/a%20b%2Fc/chat/completions?api-version=2024-10-21"),
        (
            f"{HOST}/openai/deployments/judge/",
            None,
            f"{DATED}=2024-10-21",
        ),
        (
            f"{HOST}{DATED}=2025-01-01-preview",
            "gpt-4o-2024-08-06",
            f"{DATED}=2025-01-01-preview",
        ),
        (f"{HOST}/openai/v1/", "judge", "/openai/v1/chat/completions"),
        (f"{HOST}/openai/v1?api-version=preview", "judge", "/openai/v1/chat/completions?api-version=preview"),
    ],
)
def test_every_form_of_the_address_leads_to_the_deployment(url: str, model: str | None, asked: str) -> None:
    address = azure_address(url, model)
    assert str(Transport(address.root)._url(address.chat)) == HOST + asked
    assert type(make_endpoint(url, model=model)) is OpenAIEndpoint


def test_without_a_deployment_nothing_is_asked() -> None:
    with pytest.raises(ConfigError, match="names no deployment"):
        make_endpoint(HOST)
    with pytest.raises(ConfigError, match="names no deployment"):
        make_endpoint(f"{HOST}/openai/v1")


def test_a_token_of_entra_id_goes_as_a_bearer_and_keys_of_the_environment_to_azure_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "azure-key")
    assert azure_headers(HOST, "eyJhbGciOi.eyJhdWQi.c2lnbmF0dXJl") == {
        "Authorization": "Bearer eyJhbGciOi.eyJhdWQi.c2lnbmF0dXJl"
    }
    assert azure_headers(HOST, None) == {"api-key": "azure-key"}
    strangers = ("http://example.openai.azure.com", "https://openai.azure.com.example.org", "https://gw.azure-api.net")
    assert [azure_headers(url, None) for url in strangers] == [{}] * 3
    assert azure_headers(HOST, "") == {}


@pytest.mark.parametrize(("status", "body"), [(404, MISSING), (401, WRONG_KEY)])
def test_what_azure_refuses_is_said_without_the_key(status: int, body: Any) -> None:
    def refuse(asked: Asked) -> Said:
        repeated = {"error": {**body["error"], "message": f"{body['error']['message']} {asked.headers['api-key']}"}}
        return status, repeated

    with Recorded(refuse) as server, pytest.raises(EndpointError) as caught:
        ask(f"{server.url}/openai/deployments/judge", flavor="azure", token="0123456789abcdef")
    assert caught.value.status == status
    assert body["error"]["message"][:40] in str(caught.value)
    assert "a token was sent" in str(caught.value)
    assert "0123456789abcdef" not in str(caught.value)
