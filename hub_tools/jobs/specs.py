"""The Jobs of a submission: the main one, and a judge server in a network with it."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from typing import Any

from hf_relabel.hub_tools.jobs.judge_server import JUDGE, MAIN
from hf_relabel.hub_tools.jobs.script import SCRIPT_NAME
from hf_relabel.hub_tools.jobs.service import GROUP_LABEL, KEPT_LABEL, MADE_BY, JobSpec
from hf_relabel.hub_tools.jobs.submission import SubmitOptions
from hf_relabel.hub_tools.package_files import python_version

SUBMITTED = "job"
"""Folder of the repository that holds what the Job starts from."""
MOUNTED = "/relabel"
"""Where the Job finds it."""
IMAGE = "ghcr.io/astral-sh/uv:python{python}-bookworm"


def main_spec(
    name: str, repo_id: str, options: SubmitOptions, secrets: Mapping[str, str], group: str | None
) -> JobSpec:
    """The Job that runs the job file. The commit that it mounts is filled in when it is there."""
    return JobSpec(
        name=f"relabel-{name}",
        image=IMAGE.format(python=python_version()),
        command=("uv", "run", f"{MOUNTED}/{SCRIPT_NAME}"),
        flavor=options.flavor,
        timeout=options.timeout,
        secrets=secrets,
        labels={**MADE_BY, KEPT_LABEL: label(repo_id), **({GROUP_LABEL: group} if group else {})},
        volumes=(volume(repo_id, None),),
        network_group=group,
        network_aliases=(MAIN,) if group else (),
    )


def judge_spec(name: str, options: SubmitOptions, secrets: Mapping[str, str], group: str, gpus: int) -> JobSpec:
    """The Job of the judge server.

    Args:
        gpus: of its machine.
    """
    assert options.judge is not None
    return JobSpec(
        name=f"relabel-{name}-judge",
        image=options.judge.full_image,
        command=tuple(options.judge.command(gpus)),
        flavor=options.judge.flavor,
        timeout=options.timeout,
        environment=options.judge.environment(),
        secrets=secrets,
        labels={**MADE_BY, GROUP_LABEL: group},
        network_group=group,
        network_aliases=(JUDGE,),
    )


def new_group(name: str) -> str:
    """A network group, another each time, so that no server of an earlier submission is taken for this one's."""
    return f"relabel-{name[:24].strip('-')}-{os.urandom(4).hex()}"


def volume(repo_id: str, commit: str | None) -> Any:
    from huggingface_hub import Volume

    return Volume(type="dataset", source=repo_id, mount_path=MOUNTED, revision=commit, read_only=True, path=SUBMITTED)


def slug(text: str) -> str:
    """A text as the name of a repository or a Job may be."""
    slug = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    return slug[:48].strip("-") or "job"


def label(repo_id: str) -> str:
    """A repository as a label may be: without a slash, and unlike that of any other."""
    digest = hashlib.sha256(repo_id.encode()).hexdigest()[:8]
    return f"{slug(repo_id.partition('/')[2])}-{digest}"
