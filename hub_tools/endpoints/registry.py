"""The dialects, by name, and which of them a location implies."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from hf_relabel.builders.endpoint import Endpoint
from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.messages.expecting import expects
from hf_relabel.builders.messages.nearest import nearest_and_all
from hf_relabel.hub_tools.endpoints.dialects.azure import is_azure
from hf_relabel.hub_tools.endpoints.options import EndpointOptions, refuse
from hf_relabel.hub_tools.endpoints.sending import sending_of
from hf_relabel.hub_tools.hub.redaction import safe_url

_MODEL_ID = re.compile(r"[\w.-]+/[\w.-]+(:[\w.-]+)?")
_LOCAL = re.compile(r"^local:|\.gguf(@[^?]*)?(\?.*)?$", re.IGNORECASE)


def _tgi(options: EndpointOptions) -> Endpoint:
    from hf_relabel.hub_tools.endpoints.dialects.tgi import TgiEndpoint

    refuse(options, "tgi", "flavor", "provider")
    template = options.chat_template
    return TgiEndpoint(options.location, chat_template=template, **_server(options), **_requests(options))


def _text_generation(options: EndpointOptions) -> Endpoint:
    from hf_relabel.hub_tools.endpoints.dialects.text_generation import TextGenerationEndpoint

    refuse(options, "text-generation", "flavor", "provider", "proxy", "extra_body", "extra_headers", "takes")
    return TextGenerationEndpoint(
        options.location,
        model=options.model,
        token=options.token,
        timeout=options.timeout,
        chat_template=options.chat_template,
    )


def _openai(options: EndpointOptions) -> Endpoint:
    from hf_relabel.hub_tools.endpoints.dialects.openai import OpenAIEndpoint

    refuse(options, "openai", "chat_template", "provider")
    return OpenAIEndpoint(options.location, flavor=options.flavor, **_server(options), **_requests(options))


def _inference_providers(options: EndpointOptions) -> Endpoint:
    from hf_relabel.hub_tools.endpoints.dialects.inference_providers import InferenceProvidersEndpoint

    refuse(options, "inference-providers", "chat_template", "flavor")
    is_url = "://" in options.location
    return InferenceProvidersEndpoint(
        (options.model or "") if is_url else options.location,
        base_url=options.location if is_url else None,
        provider=options.provider,
        token=options.token,
        timeout=options.timeout,
        **_requests(options),
    )


def _decisions(options: EndpointOptions) -> Endpoint:
    from hf_relabel.hub_tools.endpoints.dialects.decisions import DecisionsEndpoint

    refuse(options, "decisions", "chat_template", "flavor", "provider", "takes")
    return DecisionsEndpoint(options.location, **_server(options), **_extra(options))


def _rerank(options: EndpointOptions) -> Endpoint:
    from hf_relabel.hub_tools.endpoints.dialects.rerank import RerankEndpoint

    refuse(options, "rerank", "chat_template", "flavor", "provider", "takes")
    return RerankEndpoint(options.location, **_server(options), **_extra(options))


def _run_batch(options: EndpointOptions) -> Endpoint:
    from hf_relabel.hub_tools.endpoints.dialects.run_batch import RunBatchEndpoint

    refuse(options, "run-batch", "chat_template", "flavor", "model", "provider", "extra_headers")
    return RunBatchEndpoint(options.location, extra_body=options.extra_body, sending=options.sending)


def _local(options: EndpointOptions) -> Endpoint:
    from hf_relabel.hub_tools.endpoints.dialects.local import LocalEndpoint

    refuse(options, "local", "chat_template", "flavor", "model", "provider", "extra_headers")
    return LocalEndpoint(
        options.location, timeout=options.timeout, extra_body=options.extra_body, sending=options.sending
    )


def _server(options: EndpointOptions) -> dict[str, Any]:
    """How a server is reached, and which of its models is asked."""
    return {name: getattr(options, name) for name in ("model", "token", "timeout", "connections", "proxy")}


def _requests(options: EndpointOptions) -> dict[str, Any]:
    """What requests hold besides the prompt."""
    return {**_extra(options), "sending": options.sending}


def _extra(options: EndpointOptions) -> dict[str, Any]:
    return {"extra_body": options.extra_body, "extra_headers": options.extra_headers}


DIALECTS: dict[str, Callable[[EndpointOptions], Endpoint]] = {
    "tgi": _tgi,
    "openai": _openai,
    "inference-providers": _inference_providers,
    "text-generation": _text_generation,
    "local": _local,
    "rerank": _rerank,
    "decisions": _decisions,
    "run-batch": _run_batch,
}
"""How to make an endpoint of each dialect. Others may add theirs."""


@expects(url_or_model=str)
def make_endpoint(
    url_or_model: str,
    *,
    dialect: str = "auto",
    model: str | None = None,
    token: str | None = None,
    timeout: float = 300.0,
    chat_template: str = "auto",
    flavor: str = "auto",
    connections: int = 0,
    proxy: bool = False,
    provider: str | None = None,
    extra_body: Mapping[str, Any] | None = None,
    extra_headers: Mapping[str, str] | None = None,
    takes: Mapping[str, str | bool] | None = None,
) -> Endpoint:
    """Make an endpoint. Opens no connection yet. Raises ConfigError for what cannot be.

    Example:
            make_endpoint("http://127.0.0.1:8080")  # TGI, vLLM, SGLang or llama.cpp: found out by asking
            make_endpoint("http://127.0.0.1:8000/v1", model="Qwen/Qwen3-32B")
            make_endpoint("https://NAME.openai.azure.com", model="DEPLOYMENT")  # Azure OpenAI
            make_endpoint("Qwen/Qwen3-32B", provider="auto")  # Inference Providers
            make_endpoint("local:judge.gguf")  # in this process; the extra `local`
            make_endpoint("vllm:Qwen/Qwen3-32B")  # for batch files, see hf_relabel.hub_tools.batches

    Args:
        url_or_model: URL of a server, a model id on the Hub for Inference Providers, or a GGUF file to serve in this
            process (`local:…`; see the module `local`).
        dialect: a name in DIALECTS. "auto": local for a GGUF file; inference-providers for a model id; for a URL what
            the other settings and its path imply, else the server is asked before the first request
            (see `detecting.dialect_of`).
        model: model to ask for where a server has several; for tgi the one whose chat template is used.
        token: None for the user's own where it belongs, "" for none. See Transport.
        timeout: seconds for one request.
        chat_template: for tgi and text-generation, which take a raw prompt. See templates.
        flavor: for openai. See OpenAIEndpoint.
        connections: most connections at once, 0 for as many as there are requests in flight.
        proxy: use the proxies of the environment.
        provider: for inference-providers.
        extra_body: what every request holds besides, such as `{"chat_template_kwargs": {"enable_thinking": False}}`.
        extra_headers: further headers of every request. Their values are secret: they are never shown or kept.
        takes: what the server takes, such as `{"temperature": False, "response_format": "json_object"}`, see
            `sending_of`; what is not said is found out, as it refuses something.
    """
    options = EndpointOptions(
        *(url_or_model, model, token, timeout, chat_template, flavor, connections, proxy, provider),
        extra_body=extra_body or {},
        extra_headers=extra_headers or {},
        sending=sending_of(takes or {}),
    )
    if timeout <= 0:
        raise ConfigError(f"The timeout of {safe_url(url_or_model)} must be more than 0 seconds, not {timeout:g}.")
    if dialect == "auto":
        return _make_auto(options)
    if dialect not in DIALECTS:
        raise ConfigError(f"Unknown dialect {dialect!r}.{nearest_and_all(dialect, ('auto', *DIALECTS))}")
    return DIALECTS[dialect](options)


def _make_auto(options: EndpointOptions) -> Endpoint:
    if "://" in options.location:
        dialect = _implied_dialect(options)
        return DIALECTS[dialect](options) if dialect else _found_out(options)
    if options.location.startswith("vllm:"):
        return _run_batch(options)
    if _LOCAL.search(options.location):
        return _local(options)
    if _MODEL_ID.fullmatch(options.location):
        return _inference_providers(options)
    raise ConfigError(
        f"{options.location!r} is neither a URL such as http://127.0.0.1:8080 nor a model id such as Qwen/Qwen3-32B nor"
        " a model file such as local:judge.gguf."
    )


def _found_out(options: EndpointOptions) -> Endpoint:
    from hf_relabel.hub_tools.endpoints.detecting import AutoEndpoint

    return AutoEndpoint(options, lambda dialect: DIALECTS[dialect](options))


def _implied_dialect(options: EndpointOptions) -> str | None:
    """What the settings or the path say without asking the server, None where they say nothing."""
    path = safe_url(options.location)
    if options.provider is not None:
        return "inference-providers"
    if re.search(r"/v1/(decisions|systemone)$", path):
        return "decisions"
    if options.flavor != "auto" or re.search(r"/v\d+\w*$|/chat/completions$", path) or is_azure(path):
        return "openai"
    if options.chat_template != "auto" or path.endswith("/generate"):
        return "tgi"
    return None
