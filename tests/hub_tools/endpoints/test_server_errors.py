"""What real servers answer when something is wrong, and what kind of error each of it is.

The bodies are what the servers' sources and users' reports show (November 2026): vLLM, SGLang, llama.cpp, TGI, LiteLLM,
OpenAI, Together, Gemini, Anthropic, the Hub's router.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from hf_relabel.builders.endpoint import EndpointError, ErrorKind
from hf_relabel.hub_tools.endpoints.server_errors import error_of_status, kind_of, parse_retry_after, words_of


@pytest.mark.parametrize(
    ("status", "kind", "retryable", "blame_server"),
    [
        (301, "misaddressed", False, True),
        (400, "refused", False, False),
        (401, "unauthorized", False, True),
        (402, "quota", False, True),
        (403, "unauthorized", False, True),
        (404, "misaddressed", False, True),
        (408, "timed_out", True, True),
        (413, "too_long", False, False),
        (422, "refused", False, False),
        (424, "broken", True, True),
        (429, "overloaded", True, True),
        (500, "broken", True, True),
        (502, "broken", True, True),
        (503, "overloaded", True, True),
        (504, "timed_out", True, True),
        (529, "overloaded", True, True),
    ],
)
def test_what_each_status_means(status: int, kind: ErrorKind, retryable: bool, blame_server: bool) -> None:
    error = error_of_status("http://judge", status, "so it is")
    assert (error.status, error.kind, error.retryable, error.blame_server) == (status, kind, retryable, blame_server)
    assert error.overloaded == (kind == "overloaded")
    assert "so it is" in str(error)


OVER = "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens"


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        # OpenAI
        (
            429,
            {
                "error": {
                    "message": "You exceeded your current quota, please check your plan and billing details.",
                    "type": "insufficient_quota",
                    "param": None,
                    "code": "insufficient_quota",
                }
            },
            "quota",
        ),
        (429, {"error": {"message": "You exceeded your current quota.", "type": "insufficient_quota"}}, "quota"),
        (429, {"error": {"message": "Rate limit reached", "type": "requests", "code": "rate_limit_exceeded"}}, None),
        (400, {"error": {"message": OVER, "param": "messages", "code": "context_length_exceeded"}}, "too_long"),
        (401, {"error": {"message": "Incorrect API key provided", "code": "invalid_api_key"}}, "unauthorized"),
        # vLLM of before and of today
        (400, {"object": "error", "message": OVER, "type": "BadRequestError", "param": None, "code": 400}, "too_long"),
        (400, {"error": {"message": OVER, "type": "BadRequestError", "param": None, "code": 400}}, "too_long"),
        # SGLang, Together
        (
            400,
            {"object": "error", "message": "The input (5000 tokens) is longer than the model's context length (4096)."},
            "too_long",
        ),
        # llama.cpp
        (
            400,
            {
                "error": {
                    "code": 400,
                    "message": "request (9412 tokens) exceeds the available context size (8192 tokens)",
                    "type": "exceed_context_size_error",
                }
            },
            "too_long",
        ),
        (503, {"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}}, "overloaded"),
        # TGI
        (
            422,
            {
                "error": "Input validation error: `inputs` must have less than 1024 tokens. Given: 1500",
                "error_type": "validation",
            },
            "too_long",
        ),
        (422, {"error": "Input validation error: `best_of` must be > 0", "error_type": "validation"}, "refused"),
        (429, {"error": "Model is overloaded", "error_type": "overloaded"}, "overloaded"),
        # LiteLLM's proxy
        (
            400,
            {"error": {"message": "No connected db.", "type": "no_db_connection", "param": None, "code": "400"}},
            "unauthorized",
        ),
        (400, {"error": {"message": "Budget has been exceeded!", "type": "budget_exceeded", "code": "400"}}, "quota"),
        # Gemini's requests a minute come back with the words of a used-up quota, and pass
        (
            429,
            {"error": {"code": 429, "message": "You exceeded your current quota", "status": "RESOURCE_EXHAUSTED"}},
            None,
        ),
        (400, {"error": {"code": 400, "message": "API key not valid. Please pass a valid API key."}}, "unauthorized"),
        (
            400,
            {"type": "error", "error": {"type": "invalid_request_error", "message": "Your credit balance is too low"}},
            "quota",
        ),
        # the Hub's router
        (402, {"error": "You have exceeded your monthly included credits for Inference Providers."}, "quota"),
        (404, {"error": {"message": "The model `x` does not exist.", "type": "NotFoundError"}}, "misaddressed"),
    ],
)
def test_what_servers_say(status: int, body: Any, kind: ErrorKind | None) -> None:
    assert kind_of(status, *words_of(json.dumps(body).encode())) == (kind or "overloaded")


def test_words_are_found_where_each_server_puts_them() -> None:
    assert words_of(b'{"error": "a", "error_type": "b"}') == ("a", ("b",))
    assert words_of(b'{"error": {"message": "a", "code": 400, "type": "b"}}') == ("a", ("b",))
    assert words_of(b'{"detail": [{"msg": "a"}]}') == ('{"detail": [{"msg": "a"}]}', ())
    assert words_of(b"<html>") == ("<html>", ())
    for odd in (b"[]", b"null", b'{"error": null}', b'{"error": {"code": ["x"]}}'):
        assert words_of(odd) == (odd.decode(), ())


def test_retryable_may_be_said_of_one_error() -> None:
    assert not EndpointError("its certificate is not trusted", kind="unreachable", retryable=False).retryable


def test_retry_after_is_seconds_or_a_date() -> None:
    assert parse_retry_after("2.5") == 2.5
    assert parse_retry_after(format_datetime(datetime.now(UTC) + timedelta(seconds=60))) == pytest.approx(60, abs=2)
    assert parse_retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    for nonsense in (None, "", "soon", "-3", "nan", "inf"):
        assert parse_retry_after(nonsense) is None
