"""The table of judge servers: which image, and how it is started. The table itself is judge_images.toml."""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

from hf_relabel.builders.errors import ConfigError

TABLE = Path(__file__).with_name("judge_images.toml")
DEFAULT = "vllm"
_IN_NAMES = {"vllm": "vllm", "sglang": "sglang", "text-generation-inference": "tgi", "tgi": "tgi"}
"""By what an image of others is told to be one of a kind."""


@dataclass(frozen=True)
class ServerKind:
    """How a kind of server is started.

    Attributes:
        image, tag: of the container image, unless another is given.
        checked: when this was looked up last.
        source: where.
        serves: which models it is for, in a few words.
        command: with `{model}` and `{port}` to fill in.
        revision, gpus: what is added for a pinned revision, and for a machine with several GPUs.
        health: path that answers 200 once the model is loaded.
    """

    name: str
    image: str
    tag: str
    checked: date
    source: str
    serves: str
    command: tuple[str, ...]
    revision: tuple[str, ...]
    gpus: tuple[str, ...]
    port: int
    health: str

    @property
    def full_image(self) -> str:
        return f"{self.image}:{self.tag}"

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "checked": self.checked.isoformat()}


@functools.cache
def kinds() -> Mapping[str, ServerKind]:
    """All kinds by their name."""
    table = tomllib.loads(TABLE.read_text(encoding="utf-8"))
    return {name: _kind(name, row) for name, row in table.items()}


def _kind(name: str, row: Mapping[str, Any]) -> ServerKind:
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in row.items()}
    return ServerKind(name, **values)


def kind_of(image: str) -> ServerKind:
    """The kind that an image is of: a name of the table, or an image whose own name tells.

    Raises:
        ConfigError: it is none of them.
    """
    known = kinds()
    name = image if image in known else next((kind for word, kind in _IN_NAMES.items() if word in image), None)
    if name is None:
        raise ConfigError(
            f"--judge-image: {image!r} is no image of {', '.join(known)}; only for these it is known how the server is"
            " started."
        )
    return known[name]
