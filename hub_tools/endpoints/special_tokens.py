"""What the tokenizer of a served model reads as control tokens, where it can be had without asking anybody: from the
GGUF file that is served here, or from the files of the model in the cache of the Hub."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from struct import Struct
from typing import Any, BinaryIO

from hf_relabel.builders.endpoint import Endpoint
from hf_relabel.hub_tools.endpoints.dialects.local import LocalEndpoint

_ON_THE_HUB = re.compile(r"[\w.-]+/[\w.-]+")
_FILES = ("tokenizer.json", "tokenizer_config.json")
_CONTROL = 3
"""The type of a control token in a GGUF file."""
_NUMBERS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
_TEXT, _LIST = 8, 9


def special_tokens(endpoints: Sequence[Endpoint], model: str, revision: str | None) -> frozenset[str]:
    """The control tokens of a model; none where its tokenizer is not on this machine.

    Args:
        model: as its servers name it.
    """
    files = [endpoint.file() for endpoint in endpoints if isinstance(endpoint, LocalEndpoint)]
    if files:
        return frozenset(token for file in files for token in gguf_special_tokens(file))
    if not _ON_THE_HUB.fullmatch(model):
        return frozenset()
    from huggingface_hub import try_to_load_from_cache

    found = (try_to_load_from_cache(model, name, revision=revision) for name in _FILES)
    return frozenset(token for path in found if isinstance(path, str) for token in _tokens_of(Path(path)))


def _tokens_of(file: Path) -> Iterator[str]:
    """The tokens in a tokenizer's file that it calls special."""
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        added = values.get("added_tokens") or (values.get("added_tokens_decoder") or {}).values()
        yield from (str(token["content"]) for token in added if token.get("special"))
    except (OSError, ValueError, AttributeError, KeyError, TypeError):
        return


def gguf_special_tokens(file: Path) -> list[str]:
    """The control tokens in a GGUF file (version 2 and 3); none where it cannot be read."""
    try:
        with file.open("rb") as stream:
            values = dict(_metadata(stream))
        tokens, types = values["tokenizer.ggml.tokens"], values["tokenizer.ggml.token_type"]
        return [token for token, type_ in zip(tokens, types, strict=True) if type_ == _CONTROL]
    except (OSError, ValueError, KeyError, TypeError, EOFError, RecursionError):
        return []


def _metadata(stream: BinaryIO) -> Iterator[tuple[str, Any]]:
    stream.seek(4 + 4 + 8)  # magic, version, number of tensors
    for _ in range(_number(stream, 10)):
        yield _value(stream, _TEXT), _value(stream, _number(stream, 4))


def _value(stream: BinaryIO, kind: int) -> Any:
    if kind == _TEXT:
        return _read(stream, _number(stream, 10)).decode("utf-8", "replace")
    if kind == _LIST:
        inner, count = _number(stream, 4), _number(stream, 10)
        if inner in _NUMBERS:
            data = _read(stream, count * Struct(_NUMBERS[inner]).size)
            return Struct(f"<{count}{_NUMBERS[inner][1]}").unpack(data)
        return [_value(stream, inner) for _ in range(count)]
    return _number(stream, kind)


def _number(stream: BinaryIO, kind: int) -> Any:
    layout = Struct(_NUMBERS[kind])
    return layout.unpack(_read(stream, layout.size))[0]


def _read(stream: BinaryIO, size: int) -> bytes:
    if size > os.fstat(stream.fileno()).st_size - stream.tell():
        raise EOFError
    return stream.read(size)
