"""Version numbers of releases: tags `vMAJOR.MINOR.PATCH` (semver.org, read for data)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from hf_relabel.builders.errors import ConfigError

BUMPS = ("major", "minor", "patch")
_VERSION = re.compile(r"v(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})")


@dataclass(frozen=True, order=True, slots=True)
class Version:
    """A version. Major: a config went away. Minor: data changed. Patch: only the card, figures or manifest did."""

    major: int
    minor: int
    patch: int

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Read `v1.2.3`; None where it is nothing of the kind."""
        match = _VERSION.fullmatch(text)
        return None if match is None else cls(*(int(number) for number in match.groups()))

    @classmethod
    def of_tag(cls, text: str) -> Self:
        """Read `v1.2.3`.

        Raises:
            ConfigError: it is nothing of the kind.
        """
        version = cls.parse(text)
        if version is None:
            raise ConfigError(f"{text!r} is no version. Give one such as v1.0.0.")
        return version

    def bumped(self, part: str) -> Version:
        """The next version.

        Raises:
            ConfigError: `part` is none of `BUMPS`.
        """
        match part:
            case "major":
                return Version(self.major + 1, 0, 0)
            case "minor":
                return Version(self.major, self.minor + 1, 0)
            case "patch":
                return Version(self.major, self.minor, self.patch + 1)
        raise ConfigError(f"A version is raised by {', '.join(BUMPS)}, not {part!r}.")

    def __str__(self) -> str:
        return f"v{self.major}.{self.minor}.{self.patch}"


FIRST = Version(1, 0, 0)


def highest(names: Iterable[str]) -> Version | None:
    """The highest version among names, of which others may be anything."""
    return max((version for name in names if (version := Version.parse(name))), default=None)
