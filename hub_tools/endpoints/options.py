"""What an endpoint of any dialect may be told, and what a dialect has no use for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hf_relabel.builders.errors import ConfigError
from hf_relabel.hub_tools.endpoints.sending import Sending


@dataclass(frozen=True, slots=True)
class EndpointOptions:
    """Everything that an endpoint of any dialect may be told. See `make_endpoint`."""

    location: str
    model: str | None = None
    token: str | None = field(default=None, repr=False)
    timeout: float = 300.0
    chat_template: str = "auto"
    flavor: str = "auto"
    connections: int = 0
    proxy: bool = False
    provider: str | None = None
    extra_body: Mapping[str, Any] = field(default_factory=dict)
    extra_headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    sending: Sending = field(default_factory=Sending)


def refuse(options: EndpointOptions, dialect: str, *in_vain: str) -> None:
    """A setting that a dialect has no use for is a mistake to report, not to pass over."""
    for name in in_vain:
        if _setting(options, name) != _setting(_NOTHING_SET, name):
            shows = name not in ("extra_headers", "takes")
            value = f" (given: {getattr(options, name)!r})" if shows else ""
            raise ConfigError(f"The {dialect} dialect has no {name}{value}. Leave it out.")


def _setting(options: EndpointOptions, name: str) -> Any:
    return options.sending.fixed if name == "takes" else getattr(options, name)


_NOTHING_SET = EndpointOptions("")
