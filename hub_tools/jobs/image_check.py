"""Whether the images of judge servers are there, asked of their registries (OCI distribution specification 1.1)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin

from hf_relabel.hub_tools.hub.redaction import short
from hf_relabel.hub_tools.jobs.judge_images import ServerKind

DOCKER_HUB = "registry-1.docker.io"
_MANIFESTS = ", ".join(
    f"application/vnd.{kind}+json"
    for kind in (
        "oci.image.index.v1",
        "oci.image.manifest.v1",
        "docker.distribution.manifest.list.v2",
        "docker.distribution.manifest.v2",
    )
)
_VERSION = re.compile(r"v?(\d+(?:\.\d+)+)(?:\.post(\d+))?")
"""A tag that is a release: not a nightly one, nor one for other hardware."""
_PAGE, _MOST_PAGES = 1000, 100
_SECONDS = 30


@dataclass(frozen=True, slots=True)
class ImageCheck:
    """What a registry says of one image.

    Attributes:
        is_there: None where the registry could not be asked.
        newest: its newest release; None where it lists none.
        problem: why it could not be asked.
    """

    name: str
    image: str
    is_there: bool | None
    newest: str | None = None
    problem: str | None = None

    @property
    def told(self) -> str:
        """In a few words."""
        if self.is_there is None:
            return f"not checked: {self.problem}"
        if not self.is_there:
            return f"not there{f'; the newest is {self.newest}' if self.newest else ''}"
        is_newer = self.newest is not None and _key(self.newest) > _key(self.image.rpartition(":")[2])
        return f"there; {self.newest} is newer" if is_newer else "there"


def check(kind: ServerKind) -> ImageCheck:
    """Ask the registry of a kind's image for its tag and for newer ones."""
    from huggingface_hub import errors

    host, name = _place(kind.image)
    registry = _Registry(f"{'http' if host.startswith(('127.0.0.1', 'localhost')) else 'https'}://{host}/v2/{name}")
    try:
        is_there = registry.has(kind.tag)
        releases = [tag for tag in registry.tags() if _VERSION.fullmatch(tag)]
    except (vars(errors)["HTTPError"], OSError, ValueError, KeyError, TypeError) as error:
        said = short(str(error).partition("\n")[0])
        problem = f"{host} cannot be asked ({said or type(error).__name__})"
        return ImageCheck(kind.name, kind.full_image, None, problem=problem)
    return ImageCheck(kind.name, kind.full_image, is_there, max(releases, key=_key, default=None))


class _Registry:
    """One repository of a registry, with the token that it lets everybody have for reading."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._headers: dict[str, str] = {}

    def has(self, tag: str) -> bool:
        answer = self._ask("HEAD", f"{self.url}/manifests/{tag}", {"Accept": _MANIFESTS})
        if answer.status_code != 404:
            answer.raise_for_status()
        return bool(answer.status_code == 200)

    def tags(self) -> Iterator[str]:
        url = f"{self.url}/tags/list?n={_PAGE}"
        for _ in range(_MOST_PAGES):
            answer = self._ask("GET", url, {})
            if answer.status_code == 404:
                return
            answer.raise_for_status()
            yield from answer.json()["tags"] or []
            following = answer.links.get("next", {}).get("url")
            if not following:
                return
            url = urljoin(url, following)

    def _ask(self, method: str, url: str, headers: dict[str, str]) -> Any:
        # A public name (docs, "Utilities"), which the package does not mark as such for type checkers.
        from huggingface_hub.utils import get_session  # type: ignore[attr-defined, unused-ignore]

        client = get_session()
        answer = client.request(method, url, headers={**headers, **self._headers}, timeout=_SECONDS)
        if answer.status_code == 401 and not self._headers:
            told = dict(re.findall(r'(\w+)="([^"]*)"', answer.headers.get("www-authenticate", "")))
            asked = {name: told[name] for name in ("service", "scope") if name in told}
            given = client.get(told["realm"], params=asked, timeout=_SECONDS)
            given.raise_for_status()
            token = given.json().get("token") or given.json()["access_token"]
            self._headers = {"Authorization": f"Bearer {token}"}
            answer = client.request(method, url, headers={**headers, **self._headers}, timeout=_SECONDS)
        return answer


def _place(image: str) -> tuple[str, str]:
    """The registry of an image, and its name there."""
    host, slash, name = image.partition("/")
    if slash and ("." in host or ":" in host or host == "localhost"):
        return host, name
    return DOCKER_HUB, image if slash else f"library/{image}"


def _key(tag: str) -> tuple[tuple[int, ...], int]:
    found = _VERSION.fullmatch(tag)
    return ((), 0) if found is None else (tuple(map(int, found[1].split("."))), int(found[2] or 0))
