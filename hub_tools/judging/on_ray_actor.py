"""Judging on a Ray cluster: the process that sends all requests, and knows how far the shards are."""

from __future__ import annotations

import os
import pickle
import socket
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from hf_relabel.builders.configs.manifest import package_version
from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.job.job_file import Job
from hf_relabel.builders.job.stages import MemberSettings, StageSettings
from hf_relabel.hub_tools.endpoints.token_variables import secret_names
from hf_relabel.hub_tools.judging.assemble import make_stages
from hf_relabel.hub_tools.judging.stage_report import StageReport
from hf_relabel.hub_tools.judging.stages import Stage
from hf_relabel.hub_tools.ray_cluster.cluster import Carried, carried, restored
from hf_relabel.hub_tools.ray_cluster.remote_scheduler import Answers, Questions
from hf_relabel.hub_tools.ray_cluster.shared_schedulers import SharedSchedulers

PACKAGE = "hf-relabel"
ENVIRONMENT = ("HF_TOKEN", "HF_ENDPOINT", "HF_HUB_OFFLINE")
"""Handed on to the workers, with the variables that hold tokens of endpoints."""
MOST_CALLS = 10_000
"""Under way at once: each worker has an exchange of its own."""


@dataclass(frozen=True, slots=True)
class StagesElsewhere:
    """What makes the stages of a job in another process.

    Attributes:
        version: of the package, which must be the same there.
        environment: what is needed of it; holds tokens.
    """

    settings: tuple[StageSettings, ...]
    names: tuple[str, ...]
    version: str
    environment: Mapping[str, str] = field(repr=False)

    @classmethod
    def of(cls, job: Job) -> StagesElsewhere:
        """For a job, as it is here."""
        return cls(job.stages, tuple(job.stage_names()), package_version(PACKAGE), _environment(job.stages))

    def make(self) -> list[Stage]:
        """Make them. Opens no connection yet.

        Raises:
            ConfigError: another version is installed there, or they cannot be made.
        """
        here = package_version(PACKAGE)
        if here != self.version:
            raise ConfigError(
                f"The worker on {socket.gethostname()} has hf-relabel {here}, the command has {self.version}. Install"
                " the same version on all machines."
            )
        os.environ.update(self.environment)
        return make_stages(self.settings, self.names)


def _environment(stages: Sequence[StageSettings]) -> dict[str, str]:
    """What a worker needs of the environment. Never shown: it goes from process to process with the work."""
    asked: list[StageSettings | MemberSettings] = []
    for stage in stages:
        asked += [stage, *stage.others]
    from huggingface_hub import get_token

    names = {name for one in asked for endpoint in one.endpoints for name in secret_names(endpoint)}
    found = {name: os.environ[name] for name in (*ENVIRONMENT, *names) if name in os.environ}
    token = get_token()  # which `hf auth login` keeps in a file that is on this machine only
    return {"HF_TOKEN": token, **found} if token else found


def judge_name(stage: int, member: int) -> str:
    """What a judge is called between processes, by its stage and its place there."""
    return f"{stage}.{member}"


@dataclass(frozen=True, slots=True)
class Seen:
    """How far all shards are: those that are over, rows read by the first judge, and what each judge of each did."""

    over: int
    rows: int
    reports: list[StageReport]


class SchedulerActor:
    """Owns the one scheduler of each judge, and hears how far the shards are. An asynchronous actor.

    Args:
        stages: `StagesElsewhere`, pickled: Ray keeps and shows the arguments of actors.
        elapsed, spent: as for `SharedSchedulers`.
    """

    def __init__(self, stages: bytes, elapsed: float, spent: float) -> None:
        self._settings, self._elapsed, self._spent = stages, elapsed, spent
        self._schedulers: Any = None  # a SharedSchedulers, from `begin` on
        self._shards: dict[str, list[StageReport]] = {}
        self._over: set[str] = set()

    async def begin(self) -> Carried | None:
        """Make the schedulers. Returns the error where that fails."""
        try:
            elsewhere: StagesElsewhere = pickle.loads(self._settings)  # noqa: S301 - our own
            judges = {
                judge_name(number, place): (member.endpoints, member.limits)
                for number, stage in enumerate(elsewhere.make())
                for place, member in enumerate(stage.members)
            }
        except Exception as error:
            return carried(error)
        self._schedulers = SharedSchedulers(judges, elapsed=self._elapsed, spent=self._spent)
        return None

    async def exchange(self, questions: Questions) -> Answers:
        """See `Desk`."""
        answers: Answers = await self._schedulers.exchange(questions)
        return answers

    async def leave(self, questions: Questions) -> None:
        """See `Desk`."""
        self._schedulers.leave(questions)

    async def stop(self, reason: str) -> None:
        """End all shards."""
        self._schedulers.stop(reason)

    async def standing(self) -> tuple[str, float]:
        """Why the run is over, "" where it is not, and the seconds since it began."""
        return self._schedulers.stopped, self._schedulers.elapsed

    async def tell(self, shard: str, reports: list[StageReport], over: bool = False) -> str:
        """Hear how far a shard is. Returns why the run is over."""
        self._shards[shard] = reports
        if over:
            self._over.add(shard)
        stopped: str = self._schedulers.stopped
        return stopped

    async def seen(self) -> Seen:
        """How far all are."""
        rows = sum(reports[0].rows for reports in self._shards.values() if reports)
        return Seen(len(self._over), rows, [report for reports in self._shards.values() for report in reports])


def start_actor(elsewhere: StagesElsewhere, elapsed: float, spent: float) -> Any:
    """Start a `SchedulerActor` on this machine, from where the servers can be reached: they were asked who they are.

    Raises:
        ConfigError: the stages cannot be made there.
        ray.exceptions.RayActorError: it died at once.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    remote: Any = ray.remote(SchedulerActor)
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
    options = {"num_cpus": 0, "max_concurrency": MOST_CALLS, "scheduling_strategy": here}
    actor = remote.options(**options).remote(pickle.dumps(elsewhere), elapsed, spent)
    failed: Carried | None = ray.get(actor.begin.remote())
    if failed is not None:
        raise restored(failed)
    return actor


def added(total: StageReport | None, more: StageReport) -> StageReport:
    """Two reports on the same judge as one: all that is counted is added up."""
    if total is None:
        return more
    for each in fields(more):
        mine, other = getattr(total, each.name), getattr(more, each.name)
        if each.name == "instead":
            total.instead = tuple(sorted({*mine, *other}))
        elif isinstance(other, dict):
            setattr(total, each.name, {name: mine[name] + other[name] for name in mine})
        elif isinstance(other, (int, float)):
            setattr(total, each.name, (mine or 0) + other)
    return total


def sum_of(reports: Iterable[StageReport]) -> StageReport:
    """Reports on any judges as one."""
    total = StageReport("", "")
    for report in reports:
        added(total, report)
    return total
