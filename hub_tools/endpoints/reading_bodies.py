"""From the bytes of an answer to its JSON, whatever a server or a proxy did to it on the way.

Compressed though it was asked not to be (nginx, Cloudflare), with a byte order mark (.NET), or streamed as events
though no stream was asked for.
"""

from __future__ import annotations

import io
import zlib
from typing import Any

import orjson

_BOM = b"\xef\xbb\xbf"
_ARROW_NAMES = {"gzip": "gzip", "x-gzip": "gzip", "zstd": "zstd", "br": "brotli"}
_TEXTS = ("content", "reasoning_content", "reasoning", "refusal")


class TooLong(Exception):
    """A body that is longer than allowed when it is unpacked."""


def unpacked(content: bytes, encoding: str, limit: int) -> bytes:
    """A body without the compression that its Content-Encoding names.

    Raises:
        TooLong: more than `limit` bytes would come of it.
        ValueError: it is compressed in a way that cannot be undone here, or is broken.
    """
    for name in reversed([part.strip().lower() for part in encoding.split(",")]):
        if name in ("", "identity"):
            continue
        try:
            content = _unpacked_once(content, name, limit)
        except (OSError, zlib.error, EOFError) as error:
            raise ValueError(f"is broken ({type(error).__name__})") from None
        if len(content) > limit:
            raise TooLong
    return content


def _unpacked_once(content: bytes, name: str, limit: int) -> bytes:
    if name == "deflate":  # with zlib's header, as it should be, or without
        try:
            return zlib.decompressobj().decompress(content, limit + 1)
        except zlib.error:
            return zlib.decompressobj(-zlib.MAX_WBITS).decompress(content, limit + 1)
    if name not in _ARROW_NAMES:
        raise ValueError(f"is compressed with {name!r}, which was not asked for")
    import pyarrow as pa

    read: bytes = pa.CompressedInputStream(pa.BufferReader(content), _ARROW_NAMES[name]).read(limit + 1)
    return read


def decoded(content: bytes, content_type: str) -> Any:
    """The JSON of a body. A stream of events is put together to the completion that it is of.

    Raises ValueError where it holds no JSON, or the stream broke off.
    """
    content = content.removeprefix(_BOM)
    if "event-stream" in content_type or content.startswith((b"data:", b"event:", b": ")):
        return _whole(_events(content))
    return orjson.loads(content)


def _events(content: bytes) -> list[Any]:
    """The JSON of each event (WHATWG HTML, 9.2.6). Raises ValueError where the last one never came."""
    events, data, ended = [], [], False
    for line in io.StringIO(content.decode("utf-8", "replace"), newline=None):
        line = line.rstrip("\n")
        if line.startswith("data:"):
            data.append(line[5:].removeprefix(" "))
        elif not line and data:
            text, data = "\n".join(data), []
            ended = text.strip() == "[DONE]"
            if not ended:
                events.append(orjson.loads(text))
    if data and "\n".join(data).strip() != "[DONE]":
        events.append(orjson.loads("\n".join(data)))
    finished = ended or bool(data) or any(_choice(event).get("finish_reason") for event in events)
    if not events or not (finished or any("error" in event for event in events if isinstance(event, dict))):
        raise ValueError("its stream of events broke off")
    return events


def _whole(events: list[Any]) -> Any:
    """One answer of the chunks of a stream; the last event where they are no chunks."""
    for event in events:
        if isinstance(event, dict) and event.get("error"):
            return event
    if not any("delta" in _choice(event) for event in events):
        return events[-1]
    message: dict[str, str] = {}
    choice: dict[str, Any] = {"message": message}
    tokens: list[Any] = []
    usage: Any = None
    for event in events:
        part = _choice(event)
        delta = part.get("delta") or {}
        for key in _TEXTS:
            if isinstance(delta.get(key), str):
                message[key] = message.get(key, "") + delta[key]
        tokens += (part.get("logprobs") or {}).get("content") or ()
        choice["finish_reason"] = part.get("finish_reason") or choice.get("finish_reason")
        usage = (event.get("usage") if isinstance(event, dict) else None) or usage
        choice["error"] = part.get("error") or choice.get("error")
    return {**events[-1], "choices": [{**choice, "logprobs": {"content": tokens}}], "usage": usage}


def _choice(event: Any) -> dict[str, Any]:
    """The first choice of an event, {} where it has none (the last one has the usage only)."""
    choices = event.get("choices") if isinstance(event, dict) else None
    first = choices[0] if isinstance(choices, list) and choices else None
    return first if isinstance(first, dict) and first.get("index", 0) == 0 else {}
