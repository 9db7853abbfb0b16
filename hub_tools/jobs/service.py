"""Asking the Jobs service: starting, looking, following the log, cancelling.

All requests go through the client of `huggingface_hub`. The service itself was never reached from here: the tests run
that client against a server that answers in the shapes its source reads.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hf_relabel.builders.errors import JobError
from hf_relabel.hub_tools.hub.errors import errors_told, status_of, unreachable_told
from hf_relabel.hub_tools.hub.redaction import short

if TYPE_CHECKING:
    from huggingface_hub import HfApi, JobInfo, Volume

MADE_BY = {"made-by": "hf-relabel"}
GROUP_LABEL, KEPT_LABEL = "group", "kept-in"
COMPLETED = "COMPLETED"
OVER = frozenset({COMPLETED, "CANCELED", "ERROR", "DELETED"})
ACTIVE = ("SCHEDULING", "RUNNING")
MOST_FAILURES = 20
"""Times in a row that the service may fail before following gives up."""
_LONGEST_WAIT = 30.0

_REMEDIES = {
    401: "Log in with `hf auth login`, or set HF_TOKEN.",
    402: "Jobs are paid for: see https://huggingface.co/settings/billing.",
    403: "The token needs the right to run Jobs in this namespace.",
    404: "Check the id and --namespace.",
}


@dataclass(frozen=True)
class JobSpec:
    """One Job to start.

    Attributes:
        secrets: kept out of every text; only the names are ever shown.
        timeout: `90m`, `6h`, `1d`, or seconds.
    """

    name: str
    image: str
    command: tuple[str, ...]
    flavor: str
    timeout: str
    environment: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    labels: Mapping[str, str] = field(default_factory=dict)
    volumes: tuple[Volume, ...] = ()
    network_group: str | None = None
    network_aliases: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """What is sent, for people and scripts: names in place of secrets."""
        return {
            "name": self.name,
            "image": self.image,
            "command": list(self.command),
            "flavor": self.flavor,
            "timeout": self.timeout,
            "environment": dict(self.environment),
            "secrets": sorted(self.secrets),
            "labels": dict(self.labels),
            "volumes": [volume.to_dict() for volume in self.volumes],
            "network_group": self.network_group,
            "network_aliases": list(self.network_aliases),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], environment: Mapping[str, str]) -> JobSpec:
        """What `to_dict` gave, of a Job without volumes.

        Args:
            environment: in which its secrets are found, by their names.
        """
        lists = {name: tuple(values[name]) for name in ("command", "network_aliases")}
        secrets = {name: environment[name] for name in values["secrets"]}
        return cls(**{**values, **lists, "secrets": secrets, "volumes": ()})

    def start(self, api: HfApi, namespace: str) -> JobInfo:
        """Start it.

        Raises:
            JobError: the service would not.
        """
        group: dict[str, Any] = {}
        if self.network_group is not None:
            group = {"network_group": self.network_group, "network_aliases": list(self.network_aliases)}
        with job_errors(self.name):
            return api.run_job(
                image=self.image,
                command=list(self.command),
                env=dict(self.environment),
                secrets=dict(self.secrets),
                flavor=self.flavor,
                timeout=self.timeout,
                name=self.name,
                labels=dict(self.labels),
                volumes=list(self.volumes) or None,
                namespace=namespace,
                **group,
            )


@contextmanager
def job_errors(what: str) -> Iterator[None]:
    """Say in a line what the service would not do, and whether it may later.

    Raises:
        JobError: in place of the client's errors; `ServiceAway` where another try may help.
    """
    with errors_told(lambda cause: _told(what, cause), JobError, ServiceAway):
        yield


def _told(what: str, cause: Exception) -> str:
    from huggingface_hub import errors

    if isinstance(cause, errors.OfflineModeIsEnabled):
        return f"{what}: HF_HUB_OFFLINE is set, so the Hub is not asked. Unset it."
    status = status_of(cause)
    if status is None:
        return unreachable_told(what, cause)
    said = short(getattr(cause, "server_message", None) or "")
    parts = [f"{what}: the Jobs service answered {status}", f" ({said})" if said else "", "."]
    return "".join([*parts, f" {_REMEDIES[status]}" if status in _REMEDIES else ""])


class ServiceAway(JobError):
    """The service cannot be reached or is overloaded now."""


def stage_of(job: JobInfo) -> str:
    """`RUNNING`, `COMPLETED`, …"""
    stage = job.status.stage
    return str(getattr(stage, "value", stage))


def inspect(api: HfApi, job_id: str, namespace: str) -> JobInfo:
    """The Job as it is now.

    Raises:
        JobError: there is none of that id, or the service cannot be asked.
    """
    with job_errors(job_id):
        return api.inspect_job(job_id=job_id, namespace=namespace)


def ours(api: HfApi, namespace: str, *, active: bool = False, **labels: str) -> list[JobInfo]:
    """The Jobs that this package started, newest as the service lists them.

    Args:
        active: only those that are waiting or running.
        labels: further labels they must have.

    Raises:
        JobError: the service cannot be asked.
    """
    with job_errors(namespace):
        return list(
            api.list_jobs(labels={**MADE_BY, **labels}, status=list(ACTIVE) if active else None, namespace=namespace)
        )


def cancel(api: HfApi, job_id: str, namespace: str) -> list[str]:
    """Cancel a Job and its judge server, and give the ids of those that were still active.

    Raises:
        JobError: there is none of that id, or the service cannot be asked.
    """
    job = inspect(api, job_id, namespace)
    group = (job.labels or {}).get(GROUP_LABEL)
    together = ours(api, namespace, active=True, **{GROUP_LABEL: group}) if group else []
    ids = [job_id] if stage_of(job) not in OVER else []
    ids += [other.id for other in together if other.id != job_id]
    for each in ids:
        with job_errors(each):
            api.cancel_job(job_id=each, namespace=namespace)
    return ids


def cancel_servers(api: HfApi, job: JobInfo, namespace: str) -> list[str]:
    """Cancel what is still active of the network group of a Job that is over. Never raises: the server watches the Job
    and ends by itself."""
    group = (job.labels or {}).get(GROUP_LABEL)
    if not group:
        return []
    try:
        ids = [other.id for other in ours(api, namespace, active=True, **{GROUP_LABEL: group}) if other.id != job.id]
        for each in ids:
            with job_errors(each):
                api.cancel_job(job_id=each, namespace=namespace)
        return ids
    except JobError:
        return []


def log_lines(api: HfApi, job_id: str, namespace: str) -> Iterator[str]:
    """The log so far.

    Raises:
        JobError: there is no such Job, or the service cannot be asked.
    """
    with job_errors(job_id):
        yield from api.fetch_job_logs(job_id=job_id, namespace=namespace)


def follow(
    api: HfApi,
    job_id: str,
    namespace: str,
    write: Callable[[str], None],
    *,
    wait: Callable[[float], None] = time.sleep,
) -> JobInfo:
    """Hand on the lines of the log as they come, until the Job is over, and give how it ended.

    The client tries again by itself a few times; where it gives up, the log is opened anew and goes on behind the last
    line that was handed on.

    Raises:
        JobError: there is no such Job, or the service failed too often in a row.
    """
    handed_on, failures = 0, 0
    while True:
        seen = 0
        try:
            with job_errors(job_id):
                for line in api.fetch_job_logs(job_id=job_id, namespace=namespace, follow=True):
                    seen += 1
                    if seen > handed_on:
                        write(line)
                        handed_on, failures = seen, 0
            job = inspect(api, job_id, namespace)
            if stage_of(job) in OVER:
                return job
            failures = 0
        except ServiceAway:
            failures += 1
            if failures >= MOST_FAILURES:
                raise
        wait(min(_LONGEST_WAIT, 2.0**failures))
