"""What of a job file will be there when it runs on another machine, and what will not.

A Job starts on an empty machine. Its source and models have to be on the Hub, what it writes has to stay in its folder,
its judge servers have to be reachable, and any other file has to be carried along.
"""

from __future__ import annotations

import importlib.metadata
import ipaddress
import posixpath
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.job.job_file import Job
from hf_relabel.builders.job.stages import MemberSettings, StageSettings
from hf_relabel.builders.judges.offline.cross_encoder import CrossEncoderJudge
from hf_relabel.builders.judges.offline.model_folder import PACKAGE_PREFIX
from hf_relabel.builders.judges.offline.similarity import SimilarityJudge
from hf_relabel.builders.judges.offline.student import StudentJudge
from hf_relabel.builders.sources.files import is_data_file
from hf_relabel.hub_tools.endpoints.dialects.gguf import PREFIX as SERVED_HERE
from hf_relabel.hub_tools.endpoints.token_variables import secret_names
from hf_relabel.hub_tools.hub.redaction import safe_url

_WRITTEN = re.compile(r"journal|(.*\.)?(out|runs)")
"""Fields that name what the run itself writes."""
_PLAIN_PATHS = re.compile(
    r"source\.location|build\.calibration|.*\.(judge\.(model|file)|recipe|teacher|guide|weights|truth|answers\[\d+\]|eval\[\d+\])"
)
"""Fields whose value may be a path however plain it looks."""
_EVALUATIONS = re.compile(r".*\.(eval|dev)\[\d+\]")
_ON_THE_HUB = re.compile(r"(nanobeir|air-bench)(:.*)?")
_WITH_TORCH = {kind.kind for kind in (CrossEncoderJudge, SimilarityJudge, StudentJudge)}

Place = tuple[str, str]
"""Where a text stands in the job file (`stages[0].judge.model`), and the text."""


def problems(job: Job, carried: Sequence[str] = ()) -> list[str]:
    """Why a job cannot run elsewhere as it is, one line each with what to do; none if it can.

    Args:
        carried: paths that are taken along, relative to the folder the command runs in.
    """
    taken = [posixpath.normpath(path) for path in carried]
    return [line for place, text in _texts(job) if (line := _problem(place, text, taken))]


def _judges(job: Job) -> list[StageSettings | MemberSettings]:
    """All judges of a job, with those that look for suspects."""
    stages = [*job.stages, *(job.suspects.stages if job.suspects else ())]
    return [*stages, *(member for stage in stages for member in stage.others)]


def extras(job: Job) -> list[str]:
    """The extras of the package that a job needs."""
    judges = _judges(job)
    found = set()
    if any(judge.judge["kind"] in _WITH_TORCH for judge in judges):
        found.add("similarity")
    if any(endpoint.url.startswith(SERVED_HERE) for judge in judges for endpoint in judge.endpoints):
        found.add("local")
    if job.compare or job.train:
        found.add("train")
    if job.audit or (job.build and job.build.calibration):
        found.add("audit")
    return sorted(found)


def model_packages(job: Job) -> list[str]:
    """Installed packages that a job names for the models they bring, as `name==version`.

    Raises:
        ConfigError: a package is not installed here.
    """
    by_module = importlib.metadata.packages_distributions()
    lines = set()
    for place, text in _texts(job):
        module = text.removeprefix(SERVED_HERE).partition("?")[0]
        if module.startswith(PACKAGE_PREFIX):
            names = by_module.get(module.removeprefix(PACKAGE_PREFIX))
            if not names:
                raise ConfigError(f"{place}: the package of {text!r} is not installed here, so it cannot be pinned.")
            lines.add(f"{names[0]}=={importlib.metadata.version(names[0])}")
    return sorted(lines)


def token_names(job: Job) -> list[str]:
    """Names of the environment variables that hold tokens of judge servers, and secret headers, whether the job file
    names them or not."""
    return sorted({name for judge in _judges(job) for endpoint in judge.endpoints for name in secret_names(endpoint)})


def written(job: Job) -> tuple[str, list[str]]:
    """The journal, and the folders and files that the run writes besides, without those that end as a release."""
    outputs = []
    for place, text in _texts(job):
        released = (place == "build.out" and job.push) or (place == "train.out" and job.push_model)
        if _WRITTEN.fullmatch(place) and place != "journal" and not released:
            outputs.append(posixpath.normpath(text))
    return posixpath.normpath(job.journal), sorted(set(outputs))


def _texts(job: Job) -> Iterator[Place]:
    return _walk(job.model_dump(mode="json"), "")


def _walk(value: Any, place: str) -> Iterator[Place]:
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _walk(item, f"{place}.{name}" if place else str(name))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _walk(item, f"{place}[{number}]")
    elif isinstance(value, str) and value:
        yield place, value


def _problem(place: str, text: str, carried: Sequence[str]) -> str | None:
    if _WRITTEN.fullmatch(place):
        return None if _stays_inside(text) else f"{place}: {text!r} leaves the job's folder. Give a relative path."
    if place.endswith(".url"):
        return _url_problem(place, text, carried)
    if _EVALUATIONS.fullmatch(place):
        return _evaluation_problem(place, text, carried)
    if not _is_path(place, text) or _is_carried(text, carried):
        return None
    if place == "source.location":
        return (
            f"{place}: {text!r} is on this machine. Put the training set on the Hub (`hf upload USER/NAME {text} "
            "--repo-type dataset`) and name it USER/NAME, or take it along with --carry."
        )
    return f"{place}: {text!r} is on this machine. {_carry(text)}"


def _evaluation_problem(place: str, text: str, carried: Sequence[str]) -> str | None:
    folder = text if _exists(text) else text.rpartition(":")[0] or text
    if _ON_THE_HUB.fullmatch(text) or _is_carried(folder, carried):
        return None
    if _exists(folder):
        return f"{place}: the folder {folder!r} is on this machine. {_carry(folder)}"
    return f"{place}: there is no evaluation set {text!r}. Name one of the Hub (nanobeir:fiqa), or a folder to --carry."


def _url_problem(place: str, text: str, carried: Sequence[str]) -> str | None:
    if text.startswith(SERVED_HERE):
        file = text.removeprefix(SERVED_HERE).partition("?")[0]
        if file.startswith(PACKAGE_PREFIX) or not (_is_path(place, file) or _exists(file)):
            return None
        return None if _is_carried(file, carried) else f"{place}: {file!r} is on this machine. {_carry(file)}"
    host = urlsplit(text).hostname if "://" in text else None
    if host is None or not _is_near(host):
        return None
    return (
        f"{place}: {safe_url(text)} can be reached from here only. Start a judge server with the job (--judge-server "
        "MODEL, and `url: ${judge_url}` in the job file), or name a server that the Job can reach."
    )


def _is_near(host: str) -> bool:
    """Whether a host is this machine or in a private network."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost" or host.endswith((".localhost", ".local", ".lan", ".internal"))
    return address.is_private or address.is_loopback or address.is_link_local or address.is_unspecified


def _stays_inside(text: str) -> bool:
    path = PurePosixPath(posixpath.normpath(text))
    return not (path.is_absolute() or Path(text).is_absolute() or ".." in path.parts or "~" in text[:1])


def _is_path(place: str, text: str) -> bool:
    if text.startswith(("/", "~", "./", "../")) or Path(text).is_absolute():
        return "\n" not in text
    if place == "source.location" and is_data_file(text):
        return True
    looks_like_one = "/" in text or "." in text or _PLAIN_PATHS.fullmatch(place) is not None
    return looks_like_one and _exists(text)


def _exists(text: str) -> bool:
    try:
        return Path(text).exists()
    except (OSError, ValueError):  # too long, or with NUL: a text
        return False


def _is_carried(text: str, carried: Iterable[str]) -> bool:
    path = posixpath.normpath(text)
    return any(taken in (path, ".") or path.startswith(f"{taken}/") for taken in carried)


def _carry(text: str) -> str:
    if _stays_inside(text):
        return f"Take it along with --carry {text}."
    return "Copy it below this folder, name it by a relative path, and take it along with --carry."
