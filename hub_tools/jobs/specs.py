"""The Jobs of a submission: the main one, and a judge server in a network with it."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import replace
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


def specs(
    name: str, repo_id: str, options: SubmitOptions, secrets: Mapping[str, str], token: str
) -> tuple[JobSpec, JobSpec | None]:
    labels = {**MADE_BY, KEPT_LABEL: label(repo_id)}
    main = JobSpec(
        name=f"relabel-{name}",
        image=IMAGE.format(python=python_version()),
        command=("uv", "run", f"{MOUNTED}/{SCRIPT_NAME}"),
        flavor=options.flavor,
        timeout=options.timeout,
        secrets=secrets,
        labels=labels,
        volumes=(volume(repo_id, None),),
    )
    if options.judge is None:
        return main, None
    # Another one each time, so that a server of an earlier submission is never taken for this one's.
    group = f"relabel-{name[:24].strip('-')}-{os.urandom(4).hex()}"
    labels = {**labels, GROUP_LABEL: group}
    judge = JobSpec(
        name=f"relabel-{name}-judge",
        image=options.judge.full_image,
        command=tuple(options.judge.command()),
        flavor=options.judge.flavor,
        timeout=options.timeout,
        environment=options.judge.environment(),
        secrets={"HF_TOKEN": token},
        labels={**MADE_BY, GROUP_LABEL: group},
        network_group=group,
        network_aliases=(JUDGE,),
    )
    return replace(main, labels=labels, network_group=group, network_aliases=(MAIN,)), judge


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
