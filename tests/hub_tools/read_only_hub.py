"""A Hub that can only be read, for the real clients: repositories are dictionaries of files.

It answers what `huggingface_hub` and `datasets` ask when they list, resolve and download a data set.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route


@dataclass
class Repository:
    """One data set. `commits` maps a sha to its files, `refs` a branch or tag to a sha."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    gated: bool = False
    private: bool = False

    def commit(self, files: Mapping[str, bytes], *refs: str) -> str:
        content = b"".join(name.encode() + data for name, data in sorted(files.items()))
        sha = hashlib.sha1(content).hexdigest()
        self.commits[sha] = dict(files)
        self.refs.update(dict.fromkeys(("main", *refs), sha))
        return sha


class ReadOnlyHub:
    """Data sets by `user/repo`, and what was asked: `requests` lists (method, path)."""

    token = "hf_the_right_token"

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.requests: list[tuple[str, str]] = []
        self.url = ""

    def repository(self, repo_id: str, **settings: bool) -> Repository:
        return self.repositories.setdefault(repo_id, Repository(**settings))

    def downloads(self) -> list[str]:
        return [path for method, path in self.requests if method == "GET" and "/resolve/" in path]

    @contextmanager
    def serving(self) -> Iterator[ReadOnlyHub]:
        app = Starlette(routes=[Route("/{path:path}", self._answer, methods=["GET", "HEAD", "POST"])])
        server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error", ws="none"))
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        self.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            server.should_exit = True
            thread.join()

    async def _answer(self, request: Request) -> Response:
        # Revisions hold slashes that arrive quoted, so the path is split before it is unquoted.
        raw = request.scope["raw_path"].decode().split("?")[0]
        self.requests.append((request.method, unquote(raw)))
        parts = [unquote(part) for part in raw.strip("/").split("/")]
        if parts[:2] == ["api", "datasets"] and len(parts) >= 4:
            return await self._api(request, "/".join(parts[2:4]), parts[4:])
        if parts[0] == "datasets" and len(parts) > 5 and parts[3] == "resolve":
            return self._file(request, "/".join(parts[1:3]), parts[4], "/".join(parts[5:]))
        return _error(404, "EntryNotFound")

    def _find(self, request: Request, repo_id: str, revision: str) -> tuple[str, dict[str, bytes]] | Response:
        repository = self.repositories.get(repo_id)
        allowed = request.headers.get("authorization") == f"Bearer {self.token}"
        if repository is None or (repository.private and not allowed):
            return _error(404 if allowed else 401, "RepoNotFound")
        if repository.gated and not allowed and "/resolve/" in request.url.path:
            return _error(403, "GatedRepo")
        sha = repository.refs.get(revision, revision)
        if sha not in repository.commits:
            return _error(404, "RevisionNotFound")
        return sha, repository.commits[sha]

    async def _api(self, request: Request, repo_id: str, rest: list[str]) -> Response:
        revision = rest[1] if len(rest) > 1 else "main"
        found = self._find(request, repo_id, revision)
        if isinstance(found, Response):
            return found
        sha, files = found
        if not rest or rest[0] == "revision":
            siblings = [{"rfilename": name} for name in sorted(files)]
            info = {"id": repo_id, "author": repo_id.split("/")[0], "sha": sha, "siblings": siblings, "tags": []}
            return JSONResponse({**info, "private": self.repositories[repo_id].private, "downloads": 0, "likes": 0})
        if rest[0] == "tree":
            return self._tree(request, files, "/".join(rest[2:]))
        if rest[0] == "paths-info":
            asked = parse_qs((await request.body()).decode()).get("paths", [])
            return JSONResponse([entry for path in asked for entry in _entries(files, path)])
        return _error(404, "EntryNotFound")

    def _tree(self, request: Request, files: dict[str, bytes], folder: str) -> Response:
        inside = {name: data for name, data in files.items() if not folder or name.startswith(f"{folder}/")}
        if folder and not inside:
            return _error(404, "EntryNotFound")
        recursive = request.query_params.get("recursive", "").lower() in ("true", "1")
        start = len(folder) + 1 if folder else 0
        tops = {name if recursive else name[: start + len(name[start:].split("/")[0])] for name in inside}
        folders = {name[:end] for name in inside for end in range(start, len(name)) if name[end] == "/" and recursive}
        return JSONResponse([entry for path in sorted(tops | folders) for entry in _entries(files, path)])

    def _file(self, request: Request, repo_id: str, revision: str, path: str) -> Response:
        found = self._find(request, repo_id, revision)
        if isinstance(found, Response):
            return found
        sha, files = found
        if path not in files:
            response = _error(404, "EntryNotFound")
            response.headers["X-Repo-Commit"] = sha
            return response
        data, headers = files[path], {"X-Repo-Commit": sha, "Accept-Ranges": "bytes"}
        headers["ETag"] = f'"{hashlib.sha1(data).hexdigest()}"'
        if request.method == "HEAD":
            return Response(headers={**headers, "Content-Length": str(len(data))})
        if asked := request.headers.get("range"):
            first, _, last = asked.removeprefix("bytes=").partition("-")
            part = data[int(first) : int(last) + 1 if last else None]
            headers["Content-Range"] = f"bytes {first}-{int(first) + len(part) - 1}/{len(data)}"
            return Response(part, status_code=206, headers=headers)
        return Response(data, headers=headers)


def _entries(files: Mapping[str, bytes], path: str) -> list[dict[str, Any]]:
    if path in files:
        oid = hashlib.sha1(files[path]).hexdigest()
        return [{"type": "file", "oid": oid, "size": len(files[path]), "path": path}]
    if any(name.startswith(f"{path}/") for name in files):
        return [{"type": "directory", "oid": hashlib.sha1(path.encode()).hexdigest(), "size": 0, "path": path}]
    return []


def _error(status: int, code: str) -> Response:
    return JSONResponse({"error": code}, status_code=status, headers={"X-Error-Code": code})
