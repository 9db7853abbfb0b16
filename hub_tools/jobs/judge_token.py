"""The token of a judge server: none, or one that may read and nothing else.

The server is an image of others that runs a model of others. The token that starts Jobs may write to all that its owner
has, so it never goes there.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hf_relabel.builders.errors import ConfigError
from hf_relabel.hub_tools.hub.errors import hub_errors
from hf_relabel.hub_tools.jobs.judge_server import JudgeServer

if TYPE_CHECKING:
    from huggingface_hub import HfApi


def judge_secrets(api: HfApi, server: JudgeServer) -> dict[str, str]:
    """What the container of a judge server gets: nothing for a model that everybody may read.

    Raises:
        ConfigError: there is no such model, or it cannot be read without a token and there is none that may only read.
        JobError: the Hub cannot be asked.
    """
    repo_id, revision = server.location
    if server.token_env:
        token = os.environ.get(server.token_env)
        if not token:
            raise ConfigError(f"--judge-token-env: {server.token_env} is not set here.")
        _refuse_writing(api, token, server.token_env)
        with hub_errors(repo_id, revision, token, ConfigError, what="model"):
            api.model_info(repo_id, revision=revision, token=token)
        return {"HF_TOKEN": token}
    with hub_errors(repo_id, revision, api.token, ConfigError, what="model"):
        found = api.model_info(repo_id, revision=revision)
    if found.private or found.gated:
        raise ConfigError(
            f"--judge-server: {repo_id} is {'private' if found.private else 'gated'}, so its server needs a token. The"
            " one you are logged in with is not given to it, as it may write. Make one of the type Read at"
            f" {api.endpoint}/settings/tokens, put it into an environment variable and name that: --judge-token-env"
            " NAME."
        )
    return {}


def _refuse_writing(api: HfApi, token: str, name: str) -> None:
    with hub_errors("the Hub", None, token, ConfigError, what="account"):
        about = api.whoami(token=token).get("auth", {}).get("accessToken", {})
    if not may_only_read(about):
        role = about.get("role") or "unknown"
        raise ConfigError(
            f"--judge-token-env: the token in {name} (role: {role}) may do more than read, or the Hub does not say."
            f" Make one of the type Read at {api.endpoint}/settings/tokens."
        )


def may_only_read(about: Mapping[str, Any]) -> bool:
    """Whether a token may read and nothing else, by what `whoami` tells of it (`auth.accessToken`).

    A fine-grained one may if every permission that is listed is one to read.
    """
    if about.get("role") == "read":
        return True
    listed = about.get("fineGrained")
    if about.get("role") != "fineGrained" or not isinstance(listed, Mapping):
        return False
    scoped = [permission for each in listed.get("scoped") or () for permission in each.get("permissions") or ()]
    return all(str(permission).endswith(".read") for permission in [*(listed.get("global") or ()), *scoped])
