"""What every request passes before it reaches the app, and what every answer says to the browser.

Requests that a page of another site sends are refused: gradio lets any site send them with the visitor's sign-in, and
an answer counts for whoever is signed in. On this machine only its own names are answered to, so that no name that was
made to point here is. Answers forbid the browser to load anything from elsewhere: should markup ever get past the
templates, it could still fetch no image and run no script of another site.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, MutableMapping
from typing import Any
from urllib.parse import SplitResult, urlsplit

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]

LOCAL_NAMES = ("127.0.0.1", "localhost")
_POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; font-src 'self' data:; media-src 'none'; object-src 'none';"
    " style-src 'self' 'unsafe-inline'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; worker-src 'self' blob:;"
    " connect-src 'self'; frame-src 'none'; base-uri 'self'; form-action 'self'"
)
"""gradio needs inline scripts and evaluates its templates."""


class Guard:
    """An ASGI application in front of another.

    Args:
        app: what is guarded.
        names: host names that are answered to; None for all, as on a Space, which is behind a proxy.
        frames: sites that may show the app in a frame, besides its own.
        own: names that browsers know the app by, whatever the proxy in front of it puts into its requests.
    """

    def __init__(
        self,
        app: Any,
        names: Collection[str] | None = LOCAL_NAMES,
        frames: Collection[str] = (),
        own: Collection[str] = (),
    ) -> None:
        self.app, self.names, self.own = app, names, own
        policy = " ".join([f"{_POLICY}; frame-ancestors 'self'", *frames])
        self.headers = [
            (b"content-security-policy", policy.encode()),
            (b"x-content-type-options", b"nosniff"),
            (b"referrer-policy", b"same-origin"),
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        reason = self._refusal(scope)
        if reason is not None:
            await _refuse(reason, send)
            return

        async def with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *self.headers]
            await send(message)

        await self.app(scope, receive, with_headers)

    def _refusal(self, scope: Scope) -> str | None:
        """Why a request is refused; None where it is not."""
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        host = headers.get("host", "")
        if self.names is not None and _split(f"//{host}").hostname not in self.names:
            return f"This server answers to {' and '.join(self.names)} only."
        origin = headers.get("origin")
        if origin is None:
            return None
        ours = {host, *self.own, *(name.strip() for name in headers.get("x-forwarded-host", "").split(","))}
        return None if _split(origin).netloc in ours - {""} else "Requests of other sites are not answered."


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:
        return urlsplit("")


async def _refuse(reason: str, send: Send) -> None:
    body = reason.encode()
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 403, "headers": headers})
    await send({"type": "http.response.body", "body": body})
