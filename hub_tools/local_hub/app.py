"""The ASGI application: which request is answered by what."""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from hf_relabel.hub_tools.local_hub import (
    buckets,
    copying,
    discussions,
    listing,
    reading,
    spaces,
    writing,
    xet_downloads,
)
from hf_relabel.hub_tools.local_hub.call import Beside, Call, Fail, Hub, answer
from hf_relabel.hub_tools.local_hub.errors import HubError
from hf_relabel.hub_tools.local_hub.objects import check_path
from hf_relabel.hub_tools.local_hub.rate_limit import RateLimit
from hf_relabel.hub_tools.local_hub.store import REPO_TYPES, Repository

MAX_BODY = 256 << 20
"""Most bytes of a request that is held in memory: a commit of regular files. Large files are streamed to the disk."""
_HOSTS = ("127.0.0.1", "localhost")


class LocalHubApp:
    """Answers the requests of `huggingface_hub`, `datasets` and `hf_xet`.

    Args:
        log: a file that gets one JSON line per request, see `hf relabel hub serve --help`.
        fail, beside, limit: see `LocalHub`.
    """

    def __init__(
        self,
        hub: Hub,
        log: Path | None = None,
        fail: Fail | None = None,
        beside: Beside | None = None,
        limit: RateLimit | None = None,
    ) -> None:
        self.hub, self._fail, self._beside, self._limit = hub, fail, beside, limit
        self._log = log.open("a", encoding="utf-8", buffering=1) if log is not None else None
        self._log_lock = threading.Lock()

    def close(self) -> None:
        """Close the log."""
        if self._log is not None:
            self._log.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        told: dict[str, Any] = {"received": 0, "stored": None, "object": None, "status": 500, "limit": {}}

        async def noting(message: Message) -> None:
            if message["type"] == "http.response.start":
                told["status"] = message["status"]
            await send(message)

        try:
            response = await self._answer(request, told)
        except HubError as error:
            response = _refusal(error)
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["X-Request-Id"] = request.headers.get("x-request-id") or secrets.token_hex(8)
        response.headers.update(told["limit"])
        try:
            await response(scope, receive, noting)
        finally:
            self._write_log(request, told)

    async def _answer(self, request: Request, told: dict[str, Any]) -> Response:
        host = request.headers.get("host", "")
        if host.rsplit(":", 1)[0] not in _HOSTS:
            # A page of another site whose name was made to point here.
            raise HubError(421, "This server answers to 127.0.0.1 and localhost only.")
        url = f"http://{host}"
        raw = request.scope["raw_path"].decode("ascii", "replace").strip("/")
        refused = self._fail(request.method, f"/{raw}") if self._fail is not None else None
        if refused is not None:
            raise refused if isinstance(refused, HubError) else HubError(refused, "Refused for a test.")
        parts = [unquote(part, errors="surrogateescape") for part in raw.split("/")] if raw else []
        if any("\0" in part for part in parts):
            raise HubError(400, "A path may not hold NUL.")
        if parts[:1] == ["lfs"] and request.method == "PUT" and len(parts) == 3:
            return await self._take_lfs(request, parts[1], parts[2], told)
        user, can_write = self._user(request, parts)
        if self._limit is not None and parts[:1] == ["api"]:
            may, told["limit"] = self._limit.count(user)
            if not may:
                raise HubError(429, "Too many requests. Wait as RateLimit says.")
        if parts[:4] == ["xet", "v1", "xorbs", "default"] and request.method == "POST" and len(parts) == 5:
            return await self._take_xorb(request, parts[4], told)
        body = await _body(request, told)
        call = Call(
            self.hub,
            request.method,
            parts,
            dict(request.query_params),
            request.headers,
            body,
            url,
            user,
            can_write,
            request.query_params.multi_items(),
        )
        return await run_in_threadpool(self._route, call)

    def _route(self, call: Call) -> Response:
        found = None if self._beside is None else self._beside.answer(call)
        return route(call) if found is None else found

    def _user(self, request: Request, parts: list[str]) -> tuple[str | None, bool]:
        """Who asks, and whether they may write to anything."""
        is_xet = parts[:1] == ["xet"]
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            if is_xet:
                raise HubError(401, "A token is needed.")
            return None, True
        if is_xet:
            is_reading = request.method == "GET"
            return self.hub.check_signed(token.strip(), xet_downloads.READ if is_reading else "xet"), not is_reading
        user = self.hub.store.user_of(token.strip())
        if user is not None:
            return user, True
        found = None if self._beside is None else self._beside.user_of(token.strip())
        if found is None:
            raise HubError(401, "Invalid user token.")
        return found

    async def _take_lfs(self, request: Request, oid: str, size: str, told: dict[str, Any]) -> Response:
        self.hub.check_signed(request.query_params.get("signed", ""), f"lfs {oid} {size}")
        objects = self.hub.objects
        with objects.writing() as incoming:
            async for part in request.stream():
                incoming.write(part)
                told["received"] += len(part)
            if incoming.digest.hexdigest() != oid or str(incoming.size) != size:
                raise HubError(400, "What was sent is not what was announced.")
            _, is_new = await run_in_threadpool(objects.keep, incoming)
        told |= {"stored": "new" if is_new else "again", "object": oid}
        return Response()

    async def _take_xorb(self, request: Request, name: str, told: dict[str, Any]) -> Response:
        received = self.hub.store.temporary / secrets.token_hex(8)
        try:
            with received.open("wb") as file:
                async for part in request.stream():
                    file.write(part)
                    told["received"] += len(part)
            is_new = await run_in_threadpool(self.hub.xorbs.keep, name, received)
        finally:
            received.unlink(missing_ok=True)
        told |= {"stored": "new" if is_new else "again", "object": name}
        return answer({"was_inserted": is_new})

    def _write_log(self, request: Request, told: dict[str, Any]) -> None:
        if self._log is None:
            return
        path = request.scope["raw_path"].decode("ascii", "replace")  # without the query, which may be signed
        del told["limit"]
        line = json.dumps({"method": request.method, "path": path, **told})
        with self._log_lock:
            self._log.write(f"{line}\n")


async def _body(request: Request, told: dict[str, Any]) -> bytes:
    parts = bytearray()
    async for part in request.stream():
        parts += part
        told["received"] += len(part)
        if len(parts) > MAX_BODY:
            raise HubError(413, f"More than {MAX_BODY >> 20} MB in one request.")
    return bytes(parts)


def _refusal(error: HubError) -> Response:
    message = error.message.encode("ascii", "replace").decode()
    headers = {"X-Error-Message": " ".join(message.split()), **error.headers}
    if error.code:
        headers["X-Error-Code"] = error.code
    return answer({"error": error.message}, error.status, headers)


def route(call: Call) -> Response:
    """Answer a request.

    Raises:
        HubError: what the Hub would refuse, or does not know.
    """
    method, parts = call.method, call.parts
    fixed: dict[tuple[str, ...], Callable[[Call], Response]] = {
        ("GET", "api", "whoami-v2"): reading.whoami,
        ("GET", "settings", "tokens"): reading.about_tokens,
        ("POST", "api", "validate-yaml"): reading.validate_yaml,
        ("POST", "api", "repos", "create"): writing.create_repository,
        ("DELETE", "api", "repos", "delete"): writing.delete_repository,
        ("POST", "api", "repos", "move"): copying.move_repository,
        ("POST", "xet", "v1", "shards"): writing.take_shard,
    }
    handler = fixed.get((method, *parts))
    if handler is not None:
        return handler(call)
    if (method, *parts[:-1]) == ("POST", "xet", "v1", "xorb-grants", "default"):
        return writing.grant_xorb(call, parts[-1])
    if (method, *parts[:-1]) == ("GET", "xet", "v1", "reconstructions"):
        return xet_downloads.reconstruction(call, parts[-1])
    if (method, *parts[:-1]) == ("GET", "xorbs"):
        return xet_downloads.xorb_part(call, parts[-1])
    if parts[:2] == ["api", "buckets"]:
        return buckets.bucket_api(call, parts[2:])
    if parts[:1] == ["buckets"]:
        return buckets.resolve(call, parts[1:])
    if parts[:1] == ["api"] and len(parts) >= 2 and parts[1] in REPO_TYPES:
        if len(parts) == 2 and method == "GET":
            return listing.list_repositories(call, parts[1])
        if len(parts) == 3:
            call.repository(parts[1], parts[2])  # there is none without a user or an organisation
        if len(parts) >= 4:
            return _repository_api(call, call.repository(parts[1], "/".join(parts[2:4])), parts[4:])
    if parts[:1] != ["api"] and parts[:1] != ["xet"]:
        return _files(call, parts)
    raise HubError(404, "Not found")


def _repository_api(call: Call, repository: Repository, rest: list[str]) -> Response:
    """Everything under /api/{type}/{owner}/{name}."""
    get: dict[str, Callable[[], Response]] = {
        "": lambda: reading.repository_info(call, repository, "main"),
        "refs": lambda: reading.list_refs(call, repository),
        "discussions": lambda: discussions.list_discussions(call, repository),
        "auth-check": lambda: reading.auth_check(call, repository),
    }
    get_at: dict[str, Callable[[str], Response]] = {
        "revision": lambda revision: reading.repository_info(call, repository, revision),
        "commits": lambda revision: reading.list_commits(call, repository, revision),
        "tree": lambda revision: reading.list_tree(call, repository, revision, "/".join(rest[2:])),
        "discussions": lambda number: discussions.show(call, repository, number),
        "auth-check": lambda what: reading.auth_check(call, repository),
        "xet-read-token": lambda revision: writing.xet_read_token(call, repository),
        "xet-write-token": lambda revision: writing.xet_token(call, repository),
    }
    post_at: dict[str, Callable[[str], Response]] = {
        "paths-info": lambda revision: reading.paths_info(call, repository, revision),
        "preupload": lambda revision: writing.preupload(call, repository, revision),
        "commit": lambda revision: writing.commit(call, repository, revision),
        "branch": lambda branch: writing.create_branch(call, repository, "/".join(rest[1:])),
        "tag": lambda revision: writing.create_tag(call, repository, revision),
        "super-squash": lambda branch: copying.super_squash(call, repository, branch),
    }
    head, at = (rest[0] if rest else ""), (rest[1] if len(rest) > 1 else None)
    match call.method:
        case "GET" | "HEAD" if at is None and head in get:
            return get[head]()
        case "GET" | "HEAD" if at is not None and head in get_at and (len(rest) == 2 or head == "tree"):
            return get_at[head](at)
        case "POST" if at is not None and head in post_at and (len(rest) == 2 or head == "branch"):
            return post_at[head](at)
        case "POST" if rest == ["discussions"]:
            return discussions.create(call, repository)
        case "POST" if rest == ["duplicate"]:
            return copying.duplicate(call, repository)
        case "POST" if len(rest) == 5 and head == "discussions" and rest[2] == "comment":
            return discussions.change_comment(call, repository, rest[1], rest[3], rest[4])
        case "POST" if len(rest) == 3 and head == "discussions":
            return discussions.change(call, repository, rest[1], rest[2])
        case "GET" if at is None and head in spaces.KINDS:
            return spaces.list_entries(call, repository, head)
        case "POST" if at is None and head in spaces.KINDS:
            return spaces.put_entry(call, repository, head)
        case "DELETE" if at is None and head in spaces.KINDS:
            return spaces.delete_entry(call, repository, head)
        case "POST" if rest == ["hardware"]:
            return spaces.request_hardware(call, repository)
        case "GET" if rest == ["runtime"]:
            return spaces.runtime(call, repository)
        case "PUT" if rest == ["settings"]:
            return writing.change_settings(call, repository)
        case "DELETE" if at is not None and head in ("branch", "tag"):
            kind = "heads" if head == "branch" else "tags"
            return writing.delete_ref(call, repository, f"refs/{kind}/{'/'.join(rest[1:])}")
    raise HubError(404, "Not found")


def _files(call: Call, parts: list[str]) -> Response:
    """Files themselves, outside of /api."""
    if len(parts) == 2 and parts[0] == "lfs" and call.method in ("GET", "HEAD"):
        return reading.stored_file(call, parts[1])
    repo_type = parts[0] if parts and parts[0] in ("datasets", "spaces") else "models"
    rest = parts if repo_type == "models" else parts[1:]
    if len(rest) == 6 and rest[2:] == ["info", "lfs", "objects", "batch"] and call.method == "POST":
        return writing.lfs_batch(call, call.repository(repo_type, "/".join(rest[:2]).removesuffix(".git")))
    if len(rest) >= 5 and rest[2] in ("resolve", "raw") and call.method in ("GET", "HEAD"):
        path = check_path("/".join(rest[4:]).encode("utf-8", "surrogateescape").decode("utf-8", "replace"))
        return reading.resolve_file(call, call.repository(repo_type, "/".join(rest[:2])), rest[3], path)
    if len(rest) >= 4 and rest[1] in ("resolve", "raw"):
        call.repository(repo_type, rest[0])  # there is none without a user or an organisation
    raise HubError(404, "Not found")
