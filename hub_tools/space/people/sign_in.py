"""Who asks: from the sign-in on the Hub, or on this machine from the token.

What a page sends never says who somebody is. On a Space the session of the sign-in does; it is a cookie that the server
signs. `serve` has one person, the owner of its token, or the one who was named for a release in a folder.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Mapping
from typing import Any

from hf_relabel.builders.errors import ConfigError, RelabelError
from hf_relabel.hub_tools.hub.errors import hub_errors
from hf_relabel.hub_tools.space.people.allowed import Permission, local_person, may_write
from hf_relabel.hub_tools.space.settings import SpaceSettings

KEPT_SECONDS = 300
"""How long a permission is believed before the Hub is asked again."""
_MOST_KEPT = 1_000
_NO_TOKEN = "Read only: there is no token. Log in with `hf auth login` or set HF_TOKEN, then serve again."  # noqa: S105

_NO_SECRET = "Read only: this Space has no secret HF_TOKEN with which answers could be kept."  # noqa: S105


class SignIn:
    """Who may write what, for every request. Safe to use from several threads.

    Args:
        repo_id: the data set whose answers are written; None for a folder.
    """

    def __init__(self, settings: SpaceSettings, repo_id: str | None) -> None:
        self.settings, self.repo_id = settings, repo_id
        self._kept: dict[str, tuple[float, Permission]] = {}
        self._lock = threading.Lock()

    def who(self, request: Any) -> Permission:
        """The person who sent a request (of gradio or of FastAPI)."""
        if not self.settings.is_space:
            return self._remembered("this machine", self._here)
        info = _sign_in_of(request)
        if not self.settings.token:
            # Its disk does not outlive a restart, so without a token to commit with no answer is taken.
            return Permission(None, False, _NO_SECRET)
        if info is None:
            return may_write(None, self.repo_id, allowed=self.settings.people)
        profile, token = info["userinfo"], info.get("access_token")
        key = hashlib.sha256(f"{profile.get('sub')}\0{token}".encode()).hexdigest()
        return self._remembered(
            key, lambda: may_write(profile, self.repo_id, token=token, allowed=self.settings.people)
        )

    def _remembered(self, key: str, ask: Any) -> Permission:
        with self._lock:
            found = self._kept.get(key)
        if found is not None and time.monotonic() - found[0] < KEPT_SECONDS:
            return found[1]
        permission: Permission = ask()
        with self._lock:
            if len(self._kept) >= _MOST_KEPT:
                self._kept.clear()
            self._kept[key] = (time.monotonic(), permission)
        return permission

    def _here(self) -> Permission:
        """The one person of this machine."""
        if self.repo_id is None and self.settings.person:
            return local_person(self.settings.person)
        try:
            account = _account(self.settings.token)
        except RelabelError as error:
            return Permission(None, False, f"Read only: {error}")
        if account is None:
            return Permission(None, False, _NO_TOKEN)
        if self.repo_id is None:
            return local_person(str(account["name"]))
        profile = {**account, "preferred_username": account["name"]}
        return may_write(profile, self.repo_id, token=self.settings.token, allowed=self.settings.people)


def _sign_in_of(request: Any) -> Mapping[str, Any] | None:
    """What the session of a request says of the sign-in; None where nobody is signed in, or no longer."""
    scope = getattr(getattr(request, "request", None) or request, "scope", None)
    session = scope.get("session") if isinstance(scope, dict) else None
    info = (session or {}).get("oauth_info")
    if not isinstance(info, Mapping) or not isinstance(info.get("userinfo"), Mapping):
        return None
    expires = info.get("expires_at")
    return None if expires is not None and expires < time.time() else info


def _account(token: str | None) -> dict[str, Any] | None:
    """Whose token it is; None without one.

    Raises:
        ConfigError: the Hub does not say.
    """
    from huggingface_hub import HfApi, get_token

    sent = token or get_token()
    if not sent:
        return None
    with hub_errors("the Hub", None, sent, ConfigError, what="account"):
        return dict(HfApi(token=sent).whoami())
