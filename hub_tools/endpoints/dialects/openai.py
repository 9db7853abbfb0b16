"""Chat completions: vLLM, SGLang, llama.cpp, TGI's chat route, OpenAI's own API and Azure's.

They share `POST /v1/chat/completions` and differ in how a JSON schema is asked for, which the flavor decides.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Unpack, cast, get_args

from hf_relabel.builders.endpoint import EndpointError, EndpointInfo, Reply, Request
from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.messages.nearest import nearest_and_all
from hf_relabel.hub_tools.endpoints.dialects.azure import azure_address, azure_headers, is_azure
from hf_relabel.hub_tools.endpoints.dialects.http_endpoint import HttpOptions, WritingEndpoint
from hf_relabel.hub_tools.endpoints.dialects.tgi import tgi_info
from hf_relabel.hub_tools.endpoints.grammars import as_sent, tgi_grammar
from hf_relabel.hub_tools.endpoints.hosts import is_host
from hf_relabel.hub_tools.endpoints.once import Once
from hf_relabel.hub_tools.endpoints.reading_chat import NoReply, read_chat_reply
from hf_relabel.hub_tools.endpoints.sending import Sending, adapted, send
from hf_relabel.hub_tools.endpoints.served_models import NoChoice, chosen, is_called
from hf_relabel.hub_tools.endpoints.thinking import KWARGS, thinking_body, with_extra
from hf_relabel.hub_tools.endpoints.tokens import chat_messages, count_each, number_of_tokens
from hf_relabel.hub_tools.endpoints.transport import NotJson

Flavor = Literal["auto", "tgi", "vllm", "sglang", "llama.cpp", "openai", "azure"]
FLAVORS: tuple[str, ...] = get_args(Flavor)

logger = logging.getLogger(__name__)

_OWNERS: dict[str, Flavor] = {"vllm": "vllm", "sglang": "sglang", "llamacpp": "llama.cpp"}
_VERSION_SEGMENT = re.compile(r"v\d+\w*")
_CHAT = "/chat/completions"
_BROKEN = frozenset({500, 501, 502})
"""Of a list of models. 503 and 504 are said of a server that is not there yet."""


@dataclass(frozen=True, slots=True)
class _Server:
    """What is known of a server: how to ask it, for which model, and what it says of itself."""

    flavor: Flavor
    model: str
    info: EndpointInfo


class OpenAIEndpoint(WritingEndpoint):
    """A server with OpenAI's chat completions.

    Args:
        url: with or without `/v1`, or the URL of the chat completions route itself. Of Azure, see `azure_address`.
        model: model to ask for. None: "tgi" on TGI, else the only one that /v1/models lists. On Azure the deployment.
        flavor: what kind of server it is; "auto" asks it, or knows it by its host (Azure).
        sending: see WritingEndpoint.
        options: see HttpEndpoint; on Azure `azure_headers` for the token.
    """

    def __init__(
        self,
        url: str,
        *,
        model: str | None = None,
        flavor: str = "auto",
        sending: Sending | None = None,
        **options: Unpack[HttpOptions],
    ) -> None:
        if flavor not in FLAVORS:
            raise ConfigError(f"Unknown flavor {flavor!r}.{nearest_and_all(flavor, FLAVORS)}")
        own_headers: Mapping[str, str] = {}
        if flavor == "azure" or (flavor == "auto" and is_azure(url)):
            flavor, azure = "azure", azure_address(url, model)
            model, self._chat_path, self._prefix = model or azure.deployment, azure.chat, ""
            self._asked_model: str | None = azure.deployment
            self.batch_url = azure.batch_url
            root, own_headers = azure.root, azure_headers(url, options.get("token"))
            options["token"] = ""
        else:
            root, self._prefix = split_api_path(url)
            self._chat_path, self._asked_model = f"{self._prefix}chat/completions", None
            self.batch_url = "/v1/chat/completions"
            """What the lines of a batch file name as `url`."""
        super().__init__(root, options, sending, own_headers=own_headers)
        self._given_model, self._given_flavor = model, cast("Flavor", flavor)
        self._server = Once(self._look_up)
        # OpenAI's newer models refuse `max_tokens`; the other servers may not know its successor.
        openai = is_host(self.transport.host, ("openai.com",))
        self._max_tokens = "max_completion_tokens" if openai else "max_tokens"
        self._told_of = ""

    async def info(self) -> EndpointInfo:
        """Model and limits, asked anew each time. Raises EndpointError."""
        return (await self._look_up()).info

    async def complete(self, request: Request) -> Reply:
        """Send one request. Raises EndpointError."""
        server = await self._server.get()
        answer, instead = await send(
            self.sending,
            self.name,
            lambda instead: self._payload(request, server, instead),
            lambda payload: self.transport.post(self._chat_path, payload),
        )
        try:
            reply = read_chat_reply(answer.payload, request.top_logprobs, server.info.model, self.name)
        except NoReply as problem:
            raise self.transport.no_reply(problem) from None
        self._watch.look(request, reply, instead)
        return replace(reply, instead=tuple(instead.items())) if instead else reply

    async def body(self, request: Request) -> dict[str, Any]:
        """What `complete` posts: the `body` of the request's line in a batch file. Raises EndpointError."""
        return self._payload(request, await self._server.get(), self.sending.instead)

    @property
    def api_path(self) -> str:
        """Where `files` and `batches` are below the root of its transport, such as `v1/`."""
        return self._prefix

    async def count_tokens(self, texts: Sequence[str]) -> list[int] | None:
        """See hf_relabel.hub_tools.endpoints.tokens."""
        server = await self._server.get()
        return await count_each(texts, lambda text: self._count_text(text, server))

    async def count_prompts(self, requests: Sequence[Request]) -> list[int] | None:
        """See hf_relabel.hub_tools.endpoints.tokens."""
        server = await self._server.get()
        if server.flavor not in ("llama.cpp", "vllm"):
            return None  # the others count texts at most, and put the messages into a template that they do not show
        return await count_each(requests, lambda request: self._count_prompt(request, server))

    async def _count_text(self, text: str, server: _Server) -> int:
        body: dict[str, Any] = {"model": server.model, "prompt": text}
        if server.flavor in ("llama.cpp", "tgi"):
            key = "content" if server.flavor == "llama.cpp" else "inputs"
            body = {key: text, "add_special": True, "parse_special": True}
        return number_of_tokens((await self.transport.post("tokenize", body)).payload)

    async def _count_prompt(self, request: Request, server: _Server) -> int:
        messages = chat_messages(request)
        told = {KWARGS: self.extra_body[KWARGS]} if KWARGS in self.extra_body else {}
        variables = with_extra(thinking_body(request, server.flavor), told, server.flavor)
        if server.flavor == "llama.cpp":
            shown = await self.transport.post("apply-template", {"messages": messages, **variables})
            return await self._count_text(str(_dict(shown.payload).get("prompt", "")), server)
        body = {"model": server.model, "messages": messages, "add_generation_prompt": True, **variables}
        return number_of_tokens((await self.transport.post("tokenize", body)).payload)

    def _payload(self, request: Request, server: _Server, instead: Mapping[str, str]) -> dict[str, Any]:
        payload = chat_payload(request, server.flavor)
        payload["model"] = server.model
        payload[self._max_tokens] = request.max_tokens
        return with_extra(adapted(payload, instead) if instead else payload, self.extra_body, server.flavor)

    # Finding out what is there

    async def _look_up(self) -> _Server:
        if self._asked_model is not None:  # what Azure lists are models, not deployments
            return _Server("azure", self._asked_model, EndpointInfo(self._given_model or self._asked_model))
        if self._given_flavor in ("auto", "tgi"):
            said = await self._ask("info")
            if isinstance(said, dict) and isinstance(said.get("model_id"), str):
                return _Server("tgi", self._given_model or "tgi", tgi_info(said))
        listed = await self._ask(f"{self._prefix}models")
        entries = [entry for entry in _list(listed) if isinstance(entry, dict) and isinstance(entry.get("id"), str)]
        try:
            entry = chosen(entries, self._given_model)
        except NoChoice as error:
            raise self.transport.problem(str(error), "misaddressed") from None
        model = self._given_model or str(entry["id"])
        flavor = self._flavor_of(entries)
        if flavor == "tgi":
            return _Server("tgi", self._given_model or "tgi", EndpointInfo(model))
        if flavor == "llama.cpp" and len(entries) == 1:
            entry = entries[0]  # it answers with the model it has, whatever name is asked for
        return _Server(flavor, model, await self._describe(flavor, model, entry))

    def _flavor_of(self, entries: list[dict[str, Any]]) -> Flavor:
        if self._given_flavor != "auto":
            return self._given_flavor
        owners = (str(entry.get("owned_by", "")).lower() for entry in entries)
        return next((_OWNERS[owner] for owner in owners if owner in _OWNERS), "openai")

    async def _describe(self, flavor: Flavor, model: str, entry: Mapping[str, Any]) -> EndpointInfo:
        if flavor == "llama.cpp":
            # It queues without end, so its number of slots is all there is to go by.
            props = _dict(await self._ask("props"))
            context = _dict(props.get("default_generation_settings")).get("n_ctx")
            return EndpointInfo(
                model,
                max_concurrent_requests=props.get("total_slots"),
                max_total_tokens=context,
                version=props.get("build_info"),
                answers_as=self._answers_as(entry),
            )
        version = _dict(await self._ask("version")).get("version") if flavor == "vllm" else None
        return EndpointInfo(model, max_total_tokens=entry.get("max_model_len"), version=version)

    def _answers_as(self, entry: Mapping[str, Any]) -> str | None:
        """The model that a llama.cpp tells of, where it goes by another name than the one asked for. Told once."""
        served, given = str(entry["id"]).rpartition("/")[2], self._given_model  # a file, in any folder
        if given is None or is_called(entry, given):
            return None
        if served != self._told_of:
            logger.warning(
                "%s is asked for %s and answers with the only model it tells of, %s, whatever name is asked for. The"
                " journal keeps both names.",
                *(self.name, given, served),
            )
            self._told_of = served
        return served

    async def _ask(self, path: str) -> Any:
        """A GET that may find nothing (None). Raises EndpointError when the server cannot be had."""
        try:
            return await self.transport.get(path)
        except NotJson:
            return None
        except EndpointError as error:
            # With the model given, a server that hides its list, or breaks at it, is still usable.
            hidden = error.status in (401, 403) and self._given_model is None
            broken = error.retryable and (self._given_model is None or error.status not in _BROKEN)
            if error.status is None or broken or hidden:
                raise
            return None


def split_api_path(url: str) -> tuple[str, str]:
    """The root of a server and the path below it where `chat/completions` is, such as ("http://host", "v1/").

    `http://host`, `http://host/v1` and `http://host/v1/chat/completions` mean the same. A URL that names the chat route
    without a version is believed.
    """
    base, mark, query = url.partition("?")
    base = base.rstrip("/")
    explicit = base.endswith(_CHAT)
    base = base.removesuffix(_CHAT)
    root, _, last = base.rpartition("/")
    if _VERSION_SEGMENT.fullmatch(last) and "//" in root and not root.endswith("/"):
        return root + mark + query, f"{last}/"
    return base + mark + query, "" if explicit else "v1/"


def chat_payload(request: Request, flavor: Flavor) -> dict[str, Any]:
    """The body of a chat completion, less model and length."""
    payload: dict[str, Any] = {
        "messages": chat_messages(request),
        "temperature": request.temperature,
    }
    if request.seed is not None:
        payload["seed"] = request.seed
    if request.stop:
        payload["stop"] = request.stop
    if request.json_schema is not None:
        payload["response_format"] = response_format(request.json_schema, flavor)
    if request.top_logprobs > 0:
        payload["logprobs"] = True
        payload["top_logprobs"] = min(request.top_logprobs, 5 if flavor == "tgi" else 20)
    payload.update(thinking_body(request, flavor))
    return payload


def response_format(schema: dict[str, Any], flavor: Flavor) -> dict[str, Any]:
    """How a server of this flavor is told to follow a JSON schema. TGI has a form of its own."""
    if flavor == "tgi":
        return tgi_grammar(schema)
    sent = as_sent(schema, flavor)
    return {"type": "json_schema", "json_schema": {"name": "reply", "schema": sent, "strict": True}}


def _list(listed: Any) -> list[Any]:
    data = listed.get("data") if isinstance(listed, dict) else None
    return data if isinstance(data, list) else []


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
