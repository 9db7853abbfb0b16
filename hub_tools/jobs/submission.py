"""What is asked for with a submission, and what is sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from hf_relabel.hub_tools.jobs.judge_server import JudgeServer
from hf_relabel.hub_tools.jobs.service import JobSpec
from hf_relabel.hub_tools.releases.repository import size_of

KeepBy: TypeAlias = Literal["bucket", "commits"]
"""A private bucket, which has no history, or commits of the private data set, for a Hub without buckets."""


@dataclass(frozen=True)
class SubmitOptions:
    """How to run a job file on the Hub.

    Attributes:
        parameters: of the job file.
        flavor: the machine, as `hf jobs hardware` lists them.
        timeout: `90m`, `6h`, `1d`, or seconds; the service stops the Job after it, and the Job itself saves what it has
            and ends a little before.
        namespace: the user or organization that the Job belongs to; None for the user of the token.
        keep_in: data set that gets what is sent, and bucket of the same name that keeps journal and outputs; None for
            `NAMESPACE/relabel-job-NAME` after the job file.
        carry: files and folders below the current folder that the job file names.
        judge: a judge server to start along with the Job.
        save_every: seconds between two savings of the journal.
        keep_by: where journal and outputs are kept.
    """

    parameters: Mapping[str, str] = field(default_factory=dict)
    flavor: str = "cpu-basic"
    timeout: str = "6h"
    namespace: str | None = None
    keep_in: str | None = None
    carry: tuple[str, ...] = ()
    judge: JudgeServer | None = None
    retry_failed: bool = False
    save_every: float = 600.0
    keep_by: KeepBy = "bucket"


@dataclass(frozen=True)
class Submission:
    """Everything that is sent, ready.

    Attributes:
        repo_id: the private data set that is filled.
        files: contents by path in it.
        main, judge: the Jobs. The commit that `main` mounts is filled in when it is there; `main` starts `judge`.
        keep_by: where journal and outputs will be kept, `journal` by its path there.
        price: of a minute of the main Job and of the judge server's, in US dollars; None where it is not known.
    """

    namespace: str
    repo_id: str
    files: Mapping[str, bytes | Path]
    requirements: tuple[str, ...]
    main: JobSpec
    judge: JobSpec | None
    keep_by: KeepBy
    journal: str
    price: float | None = None

    @property
    def place(self) -> str:
        """Where journal and outputs will be, for people."""
        return f"hf://buckets/{self.repo_id}" if self.keep_by == "bucket" else self.repo_id

    @property
    def most_cost(self) -> float | None:
        """US dollars if every Job runs until its timeout."""
        return None if self.price is None else round(self.price * seconds_of(self.main.timeout) / 60, 2)

    def to_dict(self) -> dict[str, Any]:
        """What is sent, without secrets."""
        return {
            "namespace": self.namespace,
            "kept_in": self.place,
            "files": {path: size_of(content) for path, content in sorted(self.files.items())},
            "requirements": list(self.requirements),
            "job": self.main.to_dict(),
            "judge_server": self.judge.to_dict() if self.judge else None,
            "most_cost": self.most_cost,
        }


def seconds_of(timeout: str) -> float:
    factors = {"s": 1, "m": 60, "h": 3600, "d": 86400}
    return float(timeout[:-1]) * factors[timeout[-1]] if timeout[-1] in factors else float(timeout)
