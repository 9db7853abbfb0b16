"""One request to the local Hub, and what the handlers share."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias
from urllib.parse import parse_qsl, quote, urlencode

from starlette.responses import JSONResponse, Response

from hf_relabel.hub_tools.local_hub.bucket_store import Buckets
from hf_relabel.hub_tools.local_hub.errors import HubError
from hf_relabel.hub_tools.local_hub.objects import Objects
from hf_relabel.hub_tools.local_hub.store import Repository, Store
from hf_relabel.hub_tools.local_hub.xet import Xorbs

LINK_SECONDS = 3600


@dataclass(frozen=True)
class Hub:
    """What the server serves."""

    store: Store
    xorbs: Xorbs
    buckets: Buckets
    cdn: bool = False
    """Whether large files are given from another origin than this one, as the Hub gives them."""
    xet: bool = False
    """Whether clients are told that files which came by Xet can be had by Xet too, as the Hub tells them."""

    @classmethod
    def at(
        cls,
        root: Path,
        users: Mapping[str, str] | None = None,
        organisations: Mapping[str, Mapping[str, str]] | None = None,
        *,
        cdn: bool = False,
        xet: bool = False,
    ) -> Hub:
        store = Store(root, users, organisations)
        return cls(store, Xorbs(root / "xorbs"), Buckets(store), cdn, xet)

    @property
    def objects(self) -> Objects:
        return self.store.objects

    def sign(self, user: str, purpose: str) -> str:
        """A text that lets its holder do one thing for an hour, in place of the user's token."""
        expires = str(int(time.time()) + LINK_SECONDS)
        return f"{user}.{expires}.{self._signature(user, expires, purpose)}"

    def check_signed(self, signed: str, purpose: str) -> str:
        """The user that a text was signed for.

        Raises:
            HubError: 401, it is not signed, for something else, or too old.
        """
        rest = signed.rsplit(".", 2)
        user = rest[0]
        if len(rest) == 3 and user in self.store.users and rest[1].isdigit() and int(rest[1]) > time.time():
            expected = self._signature(user, rest[1], purpose)
            if hmac.compare_digest(expected, rest[2]):
                return user
        raise HubError(401, "This link is not valid, or no longer.")

    def sign_link(self, purpose: str) -> str:
        """A text for a link that anybody may follow for an hour."""
        return self.sign(next(iter(self.store.users)), purpose)

    def check_link(self, signed: str, purpose: str) -> None:
        """Raises: HubError 401, a link is not signed, for something else, or too old."""
        self.check_signed(signed, purpose)

    def _signature(self, user: str, expires: str, purpose: str) -> str:
        key = self.store.users[user].encode()
        return hmac.new(key, f"{user}\0{expires}\0{purpose}".encode(), hashlib.sha256).hexdigest()


@dataclass
class Call:
    """A request whose body has been read.

    Attributes:
        parts: the parts of the path, decoded one by one, so that `refs%2Fpr%2F1` is one part.
        queries: names and values of the query, of which `query` has one each.
        url: where this server is, without a slash at the end.
        user: who asks, None for nobody.
        can_write: whether they may write to anything; a client that asks for them may not.
    """

    hub: Hub
    method: str
    parts: list[str]
    query: dict[str, str]
    headers: Mapping[str, str]
    body: bytes
    url: str
    user: str | None
    can_write: bool = True
    queries: Sequence[tuple[str, str]] = ()

    def all(self, name: str) -> list[str]:
        """All values of a name in the query."""
        return [value for each, value in self.queries if each == name]

    def json(self) -> dict[str, Any]:
        try:
            value = json.loads(self.body or b"{}")
        except ValueError as error:
            raise HubError(400, "The body is not JSON.") from error
        if not isinstance(value, dict):
            raise HubError(400, "The body is not a JSON object.")
        return value

    def form(self) -> list[tuple[str, str]]:
        return parse_qsl(self.body.decode("utf-8", "replace"), keep_blank_values=True)

    def signed_in(self) -> str:
        """Who asks.

        Raises:
            HubError: 401, nobody.
        """
        if self.user is None:
            raise HubError(401, "Invalid username or password.")
        return self.user

    def repository(self, repo_type: str, repo_id: str) -> Repository:
        """A repository that the user may read.

        Raises:
            HubError: it does not exist or is private: 401 to nobody, 404 to a user, as the Hub has it.
        """
        found = self.hub.store.find(repo_type, repo_id) if "/" in repo_id else None
        if found is None or (found.settings["private"] and not self.hub.store.may_read(self.user, found.owner)):
            moved = None if found is not None else self.hub.store.moved_to(repo_type, repo_id)
            if moved is not None:
                raise HubError(307, f"Moved to {moved}", Location=self._moved_url(repo_id, moved))
            status, message = (401, "Invalid username or password.") if self.user is None else (404, "Not found")
            raise HubError(status, message, "RepoNotFound")
        return found

    def _moved_url(self, old: str, new: str) -> str:
        """This request's address, with the new name of the repository."""
        path = "/".join(quote(part, safe="") for part in self.parts)
        path = path.replace(old, new, 1)
        return f"{self.url}/{path}{f'?{urlencode(self.queries)}' if self.queries else ''}"

    def readable(self, repository: Repository) -> None:
        """Raises: HubError 401 or 403 GatedRepo, its files have to be asked for."""
        if repository.settings["gated"] and not self.hub.store.may_read(self.user, repository.owner):
            message = f"Access to {repository.repo_id} is restricted. Ask for access on its page."
            raise HubError(401 if self.user is None else 403, message, "GatedRepo")

    def writable(self, repository: Repository) -> str:
        """Who asks, if they may write.

        Raises:
            HubError: 401 nobody, 403 somebody else.
        """
        user = self.signed_in()
        if not self.may_write_for(repository.owner):
            raise HubError(403, "You don't have the rights to write to this repository.")
        return user

    def may_write_for(self, owner: str) -> bool:
        """Whether who asks may write to what a user or an organisation owns."""
        return self.can_write and self.hub.store.may_write(self.user, owner)


Fail: TypeAlias = Callable[[str, str], int | HubError | None]
"""For tests of clients: given the method and the path of a request, what to refuse it with, or None to answer it."""


class Beside(Protocol):
    """What a server answers besides, for tests of clients."""

    def user_of(self, token: str) -> tuple[str, bool] | None:
        """Whose token it is that the store does not know, and whether it may write; None for one that is none."""

    def answer(self, call: Call) -> Response | None:
        """The answer to a request, None to leave it to the server."""


def answer(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return JSONResponse(value, status, headers)


def text_of(values: Mapping[str, Any], name: str, default: str | None = None) -> str:
    """A text out of a request's JSON.

    Raises:
        HubError: 400, it is missing or no text.
    """
    value = values.get(name, default)
    if not isinstance(value, str):
        raise HubError(400, f"`{name}` must be a text.")
    return value
