"""The files of the Space: the app, its requirements, the package, and a README.md in which all of others is kept."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hf_relabel.builders.readme.markdown import as_code, as_text, one_line
from hf_relabel.builders.readme.merging import merge_readme
from hf_relabel.hub_tools.package_files import PACKAGE, package_files, python_version, requirements
from hf_relabel.hub_tools.releases.next_release import PlannedFile, action_on
from hf_relabel.hub_tools.releases.repository import RemoteFile

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

APP_NAME = "app.py"
REQUIREMENTS_NAME = "requirements.txt"
HARDWARE = "cpu-basic"
TAGS = ("hf-relabel", "retrieval", "hard-negatives")
EXTRAS = ("space",)
PARTS = (
    *("builders", "cards"),
    *(f"hub_tools.{part}" for part in ("calls", "hub", "releases", "space")),
)
"""Of the package, what the app needs."""

_APP = '''"""Shows a release of hf-relabel and lets people answer for its candidates. Its settings are
the variables of the Space.

Written by `hf-relabel space deploy`, which writes it again.
"""

from hf_relabel.hub_tools.space.web.serving import main

if __name__ == "__main__":
    main()
'''
_OURS = re.compile(rf"{PACKAGE}/.+|{PACKAGE}-[^/]+\.dist-info/.+")
"""Files of the package. Those that a newer version no longer has are taken away."""


def space_files() -> dict[str, bytes]:
    """The files of every Space, but for its README.md: the app, what it needs from others, and the package.

    Raises:
        ConfigError: the package's own files cannot be found.
    """
    lines = "\n".join(requirements(EXTRAS))
    texts = {APP_NAME: _APP, REQUIREMENTS_NAME: f"{lines}\n"}
    return {**{path: text.encode() for path, text in texts.items()}, **dict(package_files(PARTS).contents())}


def space_readme(release: str, earlier: str | None) -> str:
    """The README.md of a Space.

    Args:
        earlier: the one that is there, None if there is none. All that is not ours stays as it is.

    Raises:
        CardError: its front matter cannot be read or edited, or its markers are broken.
    """
    name = release.partition("/")[2]
    return merge_readme(
        earlier,
        title=as_text(f"{name} relabelled"),
        values=lambda metadata: _front_matter(release, name, metadata),
        content=lambda _: (
            f"This Space shows the release {as_code(release)} of hf-relabel: what was found among its hard negatives,"
            " what every judge said, and what each technique makes of it. People who may write to the data set can"
            " answer for a blind sample here; their answers go to its config `human`."
        ),
    )


def _front_matter(release: str, name: str, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Our entries: what runs the Space is ours, how it looks is the owner's once it is set."""
    looks = {"title": one_line(f"{name} relabelled"), "emoji": "🔍", "colorFrom": "blue", "colorTo": "gray"}
    running = {
        "sdk": "gradio",
        "sdk_version": _gradio_version(),
        "python_version": python_version(),
        "app_file": APP_NAME,
        "hf_oauth": True,
    }
    return {
        **{key: value for key, value in looks.items() if not metadata.get(key)},
        **running,
        **({} if metadata.get("suggested_hardware") else {"suggested_hardware": HARDWARE}),
        "datasets": _with(metadata.get("datasets"), [release]),
        "tags": _with(metadata.get("tags"), TAGS),
    }


def _with(present: Any, ours: Sequence[str]) -> list[Any]:
    listed = present if isinstance(present, list) else [present] if present else []
    return [*listed, *(name for name in ours if name not in listed)]


def _gradio_version() -> str:
    from importlib.metadata import version

    return version("gradio")


def changes(wanted: Mapping[str, bytes], there: Mapping[str, RemoteFile]) -> tuple[PlannedFile, ...]:
    """What has to happen to each file of ours."""
    planned = [PlannedFile(path, len(content), action_on(there.get(path), content)) for path, content in wanted.items()]
    planned += [PlannedFile(path, 0, "delete") for path in there if _OURS.fullmatch(path) and path not in wanted]
    return tuple(sorted(planned, key=lambda change: change.path))


def operations_of(
    wanted: Mapping[str, bytes], planned: Sequence[PlannedFile]
) -> list[CommitOperationAdd | CommitOperationDelete]:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    operations: list[CommitOperationAdd | CommitOperationDelete] = []
    for change in planned:
        if change.action in ("add", "replace"):
            operations.append(CommitOperationAdd(change.path, wanted[change.path]))
        elif change.action == "delete":
            operations.append(CommitOperationDelete(change.path))
    return operations
