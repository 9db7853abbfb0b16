"""The package's own files, to carry along.

hf-relabel is on no package index, so a Space and a Job bring the package with them: its files in a folder `hf_relabel`,
and beside it a `dist-info` folder from which `importlib.metadata` reads the version, as of any installed package. What
others made is named instead: `requirements` gives the lines to install.

    carried = package_files()
    for path, content in carried.contents():
        ...                                     # "hf_relabel/__init__.py", b"…"
    carried.as_zip()                            # the same bytes for the same package
    requirements(["train"])                     # ["accelerate==1.15.0", …]

Put the folder that holds both on `sys.path` (a Space's own folder is there already); `python -m
hf_relabel.hub_tools.commands` is the command line.

Why no wheel is built and named in the requirements: setuptools, which builds it, wants the sources and itself, and who
installed the package has neither; a carried copy has to be carried on too, from a Job that deploys. And a Space's
requirements are installed before its other files are there, so that they can name no file beside them.
"""

from __future__ import annotations

import importlib.metadata
import io
import os
import sys
import tomllib
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from email.message import Message
from pathlib import Path, PurePosixPath
from typing import Any

from hf_relabel.builders.errors import ConfigError

NAME = "hf-relabel"
PACKAGE = "hf_relabel"

TARGET = {
    "implementation_name": "cpython",
    "os_name": "posix",
    "platform_machine": "x86_64",
    "platform_python_implementation": "CPython",
    "platform_system": "Linux",
    "sys_platform": "linux",
}
"""Where Spaces and Jobs run, in the words of environment markers. The version of Python is this one's."""
_FIELDS = (
    *("Metadata-Version", "Name", "Version", "License-Expression", "License-File"),
    *("Requires-Python", "Provides-Extra", "Requires-Dist"),
)


@dataclass(frozen=True)
class PackageFiles:
    """The files of the package.

    Attributes:
        paths: where each file is here, by its path in the carried folder (`hf_relabel/builders/rows.py`), sorted.
        written: texts that no file here holds, by path: the `dist-info` folder.
        version: of the package.
    """

    paths: Mapping[str, Path]
    written: Mapping[str, str]
    version: str

    def contents(self) -> Iterator[tuple[str, bytes]]:
        """Every file, path and bytes, sorted by path."""
        for path in sorted([*self.paths, *self.written]):
            yield path, self.written[path].encode("utf-8") if path in self.written else self.paths[path].read_bytes()

    def as_zip(self) -> bytes:
        """All files in one archive, without times, owners or order of the disk: equal files give equal bytes."""
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
            for path, content in self.contents():
                entry = zipfile.ZipInfo(path, date_time=(1980, 1, 1, 0, 0, 0))
                entry.create_system, entry.external_attr = 3, 0o100644 << 16
                entry.compress_type = zipfile.ZIP_DEFLATED
                archive.writestr(entry, content, compresslevel=9)
        return buffer.getvalue()


def package_files(only: Iterable[str] | None = None) -> PackageFiles:
    """The files of this package, those a wheel of it holds: modules and their data, no tests, no caches.

    Args:
        only: parts to take, with all below them (`("builders", "hub_tools.endpoints")`); the whole package unless
            given. The folders on the way to a part keep their `__init__.py`.

    Raises:
        ConfigError: there is no part of that name.
    """
    root = Path(__file__).resolve().parent.parent
    project = _checkout(root)
    files = _files_of_checkout(root, project) if project else _files_of_folder(root)
    chosen = _parts(files, only) if only is not None else files
    metadata = _metadata(project)
    version = metadata["Version"]
    info = f"{PACKAGE}-{version}.dist-info"
    lines = [f"{name}: {value}\n" for name in _FIELDS for value in metadata.get_all(name) or ()]
    written = {f"{info}/METADATA": "".join(lines)}
    license_file = _license(root, project)
    if license_file is not None:
        written[f"{info}/licenses/LICENSE"] = license_file
    paths = {f"{PACKAGE}/{path}": root / path for path in sorted(chosen)}
    return PackageFiles(paths, written, version)


def requirements(extras: Iterable[str] = ()) -> list[str]:
    """What the package needs from others, one line each, sorted: `name==version` as installed here.

    Everything is pinned, not only what the package names itself: what runs there is then what was tried here. What is
    needed on Linux but not installed here (an extra that this machine lacks, the CUDA packages of a torch that has none
    here) cannot be pinned; it is listed as it was asked for and left to the resolver. The lines hold for Linux and this
    version of Python. A local part of a version (`2.13.0+cpu`) is left out: package indexes do not serve it.

    Args:
        extras: extras of this package to include, such as `train`; torch comes only with those that need it.

    Raises:
        ConfigError: the package has no such extra.
    """
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    metadata = _metadata(_checkout(Path(__file__).resolve().parent.parent))
    declared, known = metadata.get_all("Requires-Dist") or [], sorted(metadata.get_all("Provides-Extra") or [])
    wanted = tuple(dict.fromkeys(extras))
    for extra in wanted:
        if extra not in known:
            raise ConfigError(f"{NAME} has no extra {extra!r}. It has: {', '.join(known)}.")
    lines: dict[str, str] = {}
    seen: set[tuple[str, str]] = set()
    queue = [Requirement(f"{NAME}[{','.join(wanted)}]" if wanted else NAME)]
    while queue:
        requirement = queue.pop()
        name = canonicalize_name(requirement.name)
        fresh = [extra for extra in ("", *sorted(requirement.extras)) if (name, extra) not in seen]
        seen.update((name, extra) for extra in fresh)
        if name == NAME:
            needs: list[str] = declared
        else:
            found = _installed(requirement.name)
            if found is None:
                requirement.marker = None
                lines[str(requirement)] = str(requirement)
                continue
            lines[name] = f"{found.metadata['Name']}=={found.version.partition('+')[0]}"
            needs = found.requires or []
        queue.extend(
            below for below in map(Requirement, needs) if any(_applies(below.marker, extra) for extra in fresh)
        )
    return [lines[name] for name in sorted(lines)]


def python_version() -> str:
    """The version of Python that `requirements` are for: `3.12`."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def _applies(marker: Any, extra: str) -> bool:
    here = {**TARGET, "python_version": python_version(), "python_full_version": sys.version.split()[0]}
    return marker is None or bool(marker.evaluate({**here, "extra": extra}))


def _installed(name: str) -> importlib.metadata.Distribution | None:
    try:
        return importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _checkout(root: Path) -> dict[str, Any] | None:
    """The project's pyproject.toml where the package is used from its checkout, whose root is the package."""
    try:
        data = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return data if data.get("project", {}).get("name") == NAME else None


def _files_of_checkout(root: Path, project: Mapping[str, Any]) -> set[str]:
    """What setuptools packs: the modules of each listed package, and the data files it names for it."""
    setuptools = project["tool"]["setuptools"]
    found: set[str] = set()
    for package in setuptools["packages"]:
        folder = root.joinpath(*package.split(".")[1:])
        for pattern in ("*.py", *setuptools["package-data"].get(package, ())):
            found.update(file.relative_to(root).as_posix() for file in folder.glob(pattern) if file.is_file())
    return {path for path in found if _is_ours(PurePosixPath(path))}


def _files_of_folder(root: Path) -> set[str]:
    """All files of an installed or carried package, where nothing else stands in its folder."""
    found: set[str] = set()
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name != "__pycache__"]
        found.update(Path(folder, name).relative_to(root).as_posix() for name in names)
    return {path for path in found if _is_ours(PurePosixPath(path))}


def _is_ours(path: PurePosixPath) -> bool:
    return path.suffix != ".pyc" and not any(part == "__pycache__" or part.startswith(".") for part in path.parts)


def _parts(files: set[str], only: Iterable[str]) -> set[str]:
    chosen = {path for path in files if "/" not in path}
    for part in only:
        folder = part.replace(".", "/")
        below = {path for path in files if path.startswith(f"{folder}/") or path == f"{folder}.py"}
        if not below:
            raise ConfigError(f"{NAME} has no part {part!r}. Parts are folders or modules, such as 'builders'.")
        steps = folder.split("/")
        inits = {"/".join([*steps[:depth], "__init__.py"]) for depth in range(1, len(steps))}
        chosen |= below | (inits & files)
    return chosen


def _metadata(project: Mapping[str, Any] | None) -> Any:
    """As `importlib.metadata` has it. A checkout says it itself; its installed metadata may be older."""
    if project is None:
        return importlib.metadata.metadata(NAME)
    about, told = project["project"], Message()
    values = {"Metadata-Version": "2.4", "Name": NAME, "Version": about["version"], "License-File": "LICENSE"}
    values |= {"License-Expression": about["license"], "Requires-Python": about["requires-python"]}
    for name, value in values.items():
        told[name] = value
    for need in about["dependencies"]:
        told["Requires-Dist"] = need
    for extra, needs in about["optional-dependencies"].items():
        told["Provides-Extra"] = extra
        for need in needs:
            told["Requires-Dist"] = f'{need}; extra == "{extra}"'
    return told


def _license(root: Path, project: Mapping[str, Any] | None) -> str | None:
    if project is not None:
        return (root / "LICENSE").read_text(encoding="utf-8")
    return importlib.metadata.distribution(NAME).read_text("licenses/LICENSE")
