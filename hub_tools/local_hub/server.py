"""The local Hub as a server."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.messages.extras import needs

if TYPE_CHECKING:
    from hf_relabel.hub_tools.local_hub.call import Beside, Fail
    from hf_relabel.hub_tools.local_hub.rate_limit import RateLimit
    from hf_relabel.hub_tools.local_hub.store import Store

HOST = "127.0.0.1"
"""Never another: whoever can reach it could try its tokens, and what it serves is for tests."""
_START_SECONDS = 30


class LocalHub:
    """A Hub on this machine, for development and tests. It is no place to keep data, and not meant to be reached by
    others.

        with LocalHub(Path("hub")) as hub:
            HfApi(endpoint=hub.url, token=hub.token).create_repo("user/set", repo_type="dataset")

    Clients that cannot be told an endpoint read `HF_ENDPOINT` when they are imported.

    Example:
            with LocalHub("hub") as hub:  # then, in other processes: HF_ENDPOINT=hub.url HF_TOKEN=hub.token
                print(hub.url)

    Args:
        root: the folder it keeps everything in; what is there is served again.
        port: 0 for one that is free.
        users: names and tokens of users that the folder may not know yet; those it knows keep their tokens. Without any
            there is one, `user`.
        log: a file that gets a JSON line per request.
        organisations: roles of users by organisation, such as `{"acme": {"alice": "write"}}`; roles are admin, write,
            contributor and read.
        fail: for tests of clients: given the method and the path of each request, the HTTP status (or a `HubError`,
            with headers) to refuse it with, or None to answer it.
        beside: for tests of clients: makes what answers requests, and knows tokens, that this server does not.
        limit: how many requests to /api each user may make before the answer is 429, told by `RateLimit` headers; None
            for any number.
        cdn: send clients to another origin for large files, by 302 and with a signed address, as the Hub does.
        xet_downloads: tell clients of large files that came by Xet how to get them by Xet, as the Hub does.

    Raises:
        ConfigError: starlette, uvicorn, lz4 or pathspec is not installed, the port is taken, or the folder cannot be
            used.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        port: int = 0,
        users: Mapping[str, str] | None = None,
        log: Path | None = None,
        organisations: Mapping[str, Mapping[str, str]] | None = None,
        fail: Fail | None = None,
        beside: Callable[[Store], Beside] | None = None,
        limit: RateLimit | None = None,
        cdn: bool = False,
        xet_downloads: bool = False,
    ) -> None:
        self.root, self._port, self._log = Path(root), port, log
        self.tokens: dict[str, str] = {}
        self.url = ""
        self._limit, self._cdn, self._xet = limit, cdn, xet_downloads
        self._given, self._organisations, self._fail, self._beside = users, organisations, fail, beside
        self._server: Any = None
        self._thread: threading.Thread | None = None

    @property
    def token(self) -> str:
        """The token of the first user."""
        return next(iter(self.tokens.values()))

    def __enter__(self) -> Self:
        server, listening = self._start()
        self._server = server
        self._thread = threading.Thread(target=server.run, args=([listening],), name="local-hub", daemon=True)
        self._thread.start()
        give_up = time.monotonic() + _START_SECONDS
        while not server.started:
            if not self._thread.is_alive() or time.monotonic() > give_up:
                raise ConfigError("The local Hub did not start.")
            time.sleep(0.01)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.should_exit = True
        assert self._thread is not None
        self._thread.join()
        self._server.config.app.close()

    def serve(self, started: Callable[[LocalHub], None]) -> None:
        """Serve in this thread until Ctrl-C.

        Args:
            started: called once `url` and `tokens` are known and the port is open.
        """
        server, listening = self._start()
        started(self)
        server.run([listening])
        server.config.app.close()

    def _start(self) -> tuple[Any, socket.socket]:
        with needs("hub", "The local Hub"):
            import lz4.frame  # noqa: F401 - needed when a Xet client sends something
            import pathspec  # noqa: F401 - needed where there is a .gitignore
            import uvicorn

            from hf_relabel.hub_tools.local_hub.app import LocalHubApp
            from hf_relabel.hub_tools.local_hub.call import Hub
            from hf_relabel.hub_tools.local_hub.errors import HubError
        try:
            hub = Hub.at(self.root, self._given, self._organisations, cdn=self._cdn, xet=self._xet)
            listening = socket.create_server((HOST, self._port))
            # Connections take it over. asyncio sets it only on sockets that were made with the protocol's number, and
            # without it the body of a small answer waits 40 ms for the client's delayed acknowledgement of its head.
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            beside = None if self._beside is None else self._beside(hub.store)
            app = LocalHubApp(hub, self._log, self._fail, beside, self._limit)
        except (OSError, ValueError, HubError) as error:
            raise ConfigError(f"The local Hub cannot be started in {self.root}: {error}") from error
        self.tokens = dict(hub.store.users)
        self.url = f"http://{HOST}:{listening.getsockname()[1]}"
        config = uvicorn.Config(
            app, log_level="error", access_log=False, ws="none", lifespan="off", timeout_graceful_shutdown=5
        )
        return uvicorn.Server(config), listening

    def describe(self) -> str:
        """One line of JSON for scripts: the URL and the tokens."""
        return json.dumps({"url": self.url, "tokens": self.tokens})
