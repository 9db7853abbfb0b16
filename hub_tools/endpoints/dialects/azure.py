"""Azure OpenAI: OpenAI's API under addresses of Azure's own, with the key in the header `api-key`.

    https://NAME.openai.azure.com                                         `model` names the deployment
    https://NAME.openai.azure.com/openai/deployments/judge                the deployment, in the path
    https://NAME.openai.azure.com/openai/deployments/judge/chat/completions?api-version=2024-10-21
    https://NAME.openai.azure.com/openai/v1                               the undated API; `model` names the deployment

Follows Azure's public reference and the addresses that `openai.AzureOpenAI` asks.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote, unquote

from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.messages.spelling import argument
from hf_relabel.hub_tools.hub.redaction import safe_url

API_VERSION = "2024-10-21"
"""The last dated version of Azure's API that is no preview."""
AZURE_HOSTS = (
    *("openai.azure.com", "cognitiveservices.azure.com", "services.ai.azure.com"),
    *("openai.azure.us", "openai.azure.cn"),
)
KEY_VARIABLES = ("AZURE_OPENAI_API_KEY", "AZURE_OPENAI_AD_TOKEN")
"""Where a key or a token of Entra ID is looked for; the first that is set goes to hosts of Azure."""
_PATH = re.compile(r"(?P<base>.*?)(?:/openai)?(?:/deployments/(?P<deployment>[^/]+))?(?:/chat/completions)?")
_UNDATED = re.compile(r"(?P<base>.*)/v1(?:/chat/completions)?")
_ENTRA_TOKEN = re.compile(r"eyJ[\w-]+\.[\w-]+\.[\w-]+")


@dataclass(frozen=True, slots=True)
class AzureAddress:
    """Where a deployment is asked.

    Attributes:
        root: what all paths are below, `chat`, `files` and `batches` alike, with the query that all of them need.
        deployment: what Azure calls a model that it serves.
        chat: path of the chat completions below the root.
        batch_url: what a line of a batch file names as `url`.
    """

    root: str
    deployment: str
    chat: str
    batch_url: str


def azure_address(url: str, model: str | None = None) -> AzureAddress:
    """Take an address of Azure OpenAI apart. See the module's docstring for the forms it has.

    Args:
        model: the deployment, where the address names none.

    Raises:
        ConfigError: neither names a deployment.
    """
    plain, _, query = url.partition("?")
    plain = plain.rstrip("/")
    if undated := _UNDATED.fullmatch(plain):
        root, deployment = f"{undated['base']}/v1" + (f"?{query}" if query else ""), model
        chat, batch_url = "chat/completions", "/v1/chat/completions"
    else:
        found = _PATH.fullmatch(plain)
        assert found is not None, "all of it is optional"
        deployment = unquote(found["deployment"]) if found["deployment"] else model
        dated = query if "api-version=" in query else "&".join(filter(None, (query, f"api-version={API_VERSION}")))
        root = f"{found['base']}/openai?{dated}"
        chat, batch_url = f"deployments/{quote(deployment or '', safe='')}/chat/completions", "/chat/completions"
    if not deployment:
        raise ConfigError(
            f"{safe_url(url)} names no deployment, and Azure lists none. Name it: {argument('model', ...)}, or"
            " …/openai/deployments/NAME in its address."
        )
    return AzureAddress(root, deployment, chat, batch_url)


def is_azure(url: str) -> bool:
    """Whether a URL is one of Azure's own hosts. Behind a gateway only its flavor says so."""
    host = re.split(r"[/:?#]", url.partition("://")[2].rpartition("@")[2], maxsplit=1)[0].lower()
    return any(host.endswith(f".{domain}") for domain in AZURE_HOSTS)


def azure_headers(url: str, token: str | None) -> Mapping[str, str]:
    """The headers that let one in: `api-key`, or `Authorization` for a token of Entra ID.

    Args:
        token: None for the one in the environment, which goes to Azure's own hosts over https alone; "" for none.
    """
    if token is None:
        own = url.startswith("https://") and is_azure(url)
        token = next((value for name in KEY_VARIABLES if (value := os.environ.get(name))), "") if own else ""
    if not token:
        return {}
    return {"Authorization": f"Bearer {token}"} if _ENTRA_TOKEN.fullmatch(token) else {"api-key": token}
