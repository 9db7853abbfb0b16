"""What the local Hub answers when it will not do something."""

from __future__ import annotations


class HubError(Exception):
    """An answer other than success.

    Args:
        status: HTTP status.
        message: one line, for `X-Error-Message` and the body.
        code: `X-Error-Code`, which the clients turn into their exceptions.
        headers: further headers, by keyword with `_` for `-`.
    """

    def __init__(
        self, status: int, message: str, code: str | None = None, *, url: str | None = None, **headers: str
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.url = status, message, code, url
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}
