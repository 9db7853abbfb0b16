"""What stands in a file of results: an answer, or why there is none, for each request that is in it.

Lines come in any order, of one batch or of several. OpenAI and Azure write `response.body` and put what failed into a
file of its own; vLLM writes one file, and the error beside the status; Together has errors without a status.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from hf_relabel.builders.endpoint import EndpointError
from hf_relabel.builders.errors import InputError
from hf_relabel.hub_tools.endpoints.reading_chat import NoReply, raise_for_error
from hf_relabel.hub_tools.endpoints.server_errors import error_inside, error_of_status, words_of
from hf_relabel.hub_tools.hub.redaction import short

_OK = 200
LONGEST_LINE = 32 * 2**20
"""Bytes of one result. Judges write kilobytes."""


@dataclass(frozen=True, slots=True)
class Result:
    """One line of a file of results.

    Attributes:
        payload: the answer as a server gives it, None where there is none.
        error: why there is none.
        digest: of the line, so that an error that is read again is known: what it is about may have been asked anew.
    """

    custom_id: str
    payload: Any = None
    error: EndpointError | None = None
    digest: bytes = b""


def read_results(path: Path) -> Iterator[Result | None]:
    """The results in a file, in its order; None for a line that is none, as of a file that broke off.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            while line := file.readline(LONGEST_LINE):
                if line.strip():
                    yield read_result(line, path.name)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}.") from error


def read_result(line: bytes, name: str) -> Result | None:
    """One line, None where it is no result.

    Args:
        name: what to call the file in an error.
    """
    try:
        said = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    custom_id = said.get("custom_id") if isinstance(said, dict) else None
    if not isinstance(custom_id, str):
        return None
    response = said.get("response")
    response = response if isinstance(response, dict) else {}
    status, body = response.get("status_code", _OK if response else None), response.get("body")
    digest = hashlib.blake2b(line.strip(), digest_size=16).digest()
    if status == _OK and body is not None and not said.get("error"):
        return Result(custom_id, body, _error_within(name, body), digest)
    return Result(custom_id, error=_error(name, status, body, said.get("error")), digest=digest)


def _error_within(name: str, body: Any) -> EndpointError | None:
    """What a body of success says went wrong, with a status or code that is known, as at a server; None where it says
    nothing like it."""
    try:
        raise_for_error(body)
    except NoReply as problem:
        error = error_inside(name, problem, short(str(problem)), token_sent=False)
        return None if error.kind == "garbage" else error
    return None


def _error(name: str, status: Any, body: Any, error: Any) -> EndpointError:
    """Without a status the request was never put to the model (`batch_expired`, `batch_cancelled`), or it is not said
    what became of it: it may be asked again."""
    told = error or body
    said = short(_words(told) or "no answer and no reason")
    if isinstance(status, int) and status != _OK:
        return error_of_status(name, status, said, words_of(orjson.dumps(told))[1])
    return EndpointError(f"{name}: {said}", kind="broken")


def _words(value: Any) -> str:
    """What an error says, however deep it lies."""
    if isinstance(value, str):
        return value
    if not isinstance(value, dict):
        return ""
    inner = _words(value.get("error")) or _words(value.get("message")) or _words(value.get("detail"))
    code = value.get("code")
    return f"{code}: {inner}" if isinstance(code, str) and inner else inner or (code if isinstance(code, str) else "")
