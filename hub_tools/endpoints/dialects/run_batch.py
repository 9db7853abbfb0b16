"""A vLLM that reads files instead of serving: `vllm:MODEL`, for `hf relabel batch export` and `batch run`.

`python -m vllm.entrypoints.openai.run_batch` takes the same requests as vLLM's server, one a line, and answers them the
same way, so a journal knows both by one name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hf_relabel.builders.endpoint import EndpointError, Reply, Request
from hf_relabel.builders.errors import ConfigError
from hf_relabel.hub_tools.endpoints.dialects.openai import OpenAIEndpoint
from hf_relabel.hub_tools.endpoints.sending import Sending

SCHEME = "vllm:"


class RunBatchEndpoint(OpenAIEndpoint):
    """A model that `vllm run-batch` loads. Nobody is asked anything; `complete` always fails.

    Args:
        location: `vllm:` and the model as vLLM is to be given it, an id on the Hub or a folder.
        extra_body, sending: see WritingEndpoint.
    """

    def __init__(
        self, location: str, *, extra_body: Mapping[str, Any] | None = None, sending: Sending | None = None
    ) -> None:
        model = location.removeprefix(SCHEME)
        if not model:
            raise ConfigError(f"{location!r} names no model. Give one such as vllm:Qwen/Qwen3-32B.")
        super().__init__(
            "http://127.0.0.1", model=model, token="", flavor="vllm", extra_body=extra_body, sending=sending
        )
        self.name = location

    async def complete(self, request: Request) -> Reply:
        """Raises EndpointError: there is no server."""
        raise EndpointError(
            f"{self.name} answers batch files only: `batch export`, then `batch run`. For a server give its URL.",
            kind="misaddressed",
        )

    async def queue_depth(self) -> float | None:
        return None

    async def _ask(self, path: str) -> Any:
        return None
