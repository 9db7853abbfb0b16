"""A folder of batch files at work: what has come is taken into the journal, and each file is closed when it is done."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hf_relabel.builders.disk.one_process import one_process
from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.job.job_file import Job
from hf_relabel.builders.job.stages import EndpointSettings
from hf_relabel.builders.journal.store import Journal
from hf_relabel.builders.messages.counted import counted
from hf_relabel.hub_tools.batches.collecting import Collected, Collector, results_in
from hf_relabel.hub_tools.batches.ledger import BatchFile, Ledger
from hf_relabel.hub_tools.batches.local_run import LocalRunner
from hf_relabel.hub_tools.batches.service import BatchService
from hf_relabel.hub_tools.batches.submitting import Services, Told, fetch, refresh
from hf_relabel.hub_tools.endpoints.dialects.openai import OpenAIEndpoint
from hf_relabel.hub_tools.endpoints.dialects.run_batch import RunBatchEndpoint
from hf_relabel.hub_tools.judging.stages import Stage, asks_server


@dataclass(slots=True)
class Work:
    """A folder, the journal that its answers go to, and the stages that it is of.

    Attributes:
        warnings: what went otherwise than it should, a sentence each.
    """

    ledger: Ledger
    journal: Journal
    stages: Sequence[Stage]
    warnings: list[str] = field(default_factory=list)

    async def collect(self, results: Sequence[Path], told: Told, *, close: bool = False) -> Collected:
        """Take in the results that are given, and those of batches that have ended.

        Args:
            results: files of results that came another way.
            close: wait no longer for what has not come: it is asked again by the next export.

        Raises:
            EndpointError: the service cannot be had. What was taken in until then is kept.
            InputError, ConfigError: a file cannot be read.
        """
        collector = Collector(self.ledger, self.journal, self.stages)
        for path in results:
            collector.take(path)
        services = services_of(self.stages)
        if services.by_judge:
            await refresh(self.ledger, services, told)
        for file in self.ledger.files("ended"):
            paths = await fetch(self.ledger, services, file) if file.remote.batch_id else []
            self._take(collector, file, paths or list(results_in(self.ledger.folder, file)))
        for file in self.ledger.files("written", "sent", "ended"):
            if close or not self.ledger.waiting(file):
                self.ledger.set_state(file, "closed")
        return collector.found

    def run(self, runner: LocalRunner, told: Told) -> Collected:
        """Let vLLM answer every file for this machine, one after the other, each taken in before the next begins.

        Raises:
            ConfigError: vLLM cannot be started, or failed.
            JudgingStopped: Ctrl-C. The files before the one in work are kept.
        """
        collector = Collector(self.ledger, self.journal, self.stages)
        here = judges_here(self.stages)
        for file in self.ledger.files("written", "ended"):
            if (file.stage, file.member) not in here:
                continue
            if file.state == "written":
                told(file)
                runner.run(self.ledger.folder, file)
                self.ledger.set_state(file, "ended")
            self._take(collector, file, list(results_in(self.ledger.folder, file)))
        return collector.found

    def has_work_here(self) -> bool:
        """Whether there are files for a vLLM on this machine."""
        here = judges_here(self.stages)
        return any((file.stage, file.member) in here for file in self.ledger.files("written", "ended"))

    def _take(self, collector: Collector, file: BatchFile, paths: Sequence[Path]) -> None:
        """Take in a file's results, and close it unless the service told of more than came."""
        ours = sum(collector.take(path) for path in paths)
        expected = min(file.remote.completed + file.remote.failed, file.requests)
        if ours < expected and self.ledger.waiting(file):
            self.warnings.append(
                f"{file.name}: the service answered {counted(expected, 'request')}, and {ours:,} came. Collect again;"
                " with --close what is missing is asked again."
            )
        else:
            self.ledger.set_state(file, "closed")


def services_of(stages: Sequence[Stage]) -> Services:
    """The services of all judges that are asked over the net."""
    found = {
        (stage.name, number): BatchService(endpoint)
        for stage in stages
        for number, member in enumerate(stage.members)
        if asks_server(member)
        for endpoint in member.endpoints[:1]
        if isinstance(endpoint, OpenAIEndpoint) and not isinstance(endpoint, RunBatchEndpoint)
    }
    return Services(found)


def judges_here(stages: Sequence[Stage]) -> set[tuple[str, int]]:
    """The judges that a vLLM on this machine is asked for, by stage and place in it."""
    return {
        (stage.name, number)
        for stage in stages
        for number, member in enumerate(stage.members)
        if any(isinstance(endpoint, RunBatchEndpoint) for endpoint in member.endpoints)
    }


def with_chat_dialect(job: Job) -> Job:
    """The job with servers that are asked in OpenAI's dialect where none is named: batch files know no other."""
    stages = [
        stage.model_copy(
            update={
                "endpoints": _chatting(stage.judge, stage.endpoints),
                "others": tuple(
                    other.model_copy(update={"endpoints": _chatting(other.judge, other.endpoints)})
                    for other in stage.others
                ),
            }
        )
        for stage in job.stages
    ]
    return Job.model_validate(job.model_copy(update={"stages": tuple(stages)}).model_dump(exclude_unset=True))


def _chatting(judge: Mapping[str, Any], endpoints: Sequence[EndpointSettings]) -> tuple[EndpointSettings, ...]:
    if judge.get("kind") == "rerank":
        return tuple(endpoints)  # refused as what it is: no dialect would make it chat
    return tuple(
        endpoint.model_copy(update={"dialect": "openai"})
        if endpoint.dialect == "auto" and "://" in endpoint.url
        else endpoint
        for endpoint in endpoints
    )


async def close_endpoints(stages: Sequence[Stage]) -> None:
    """Release all connections."""
    for stage in stages:
        for member in stage.members:
            for endpoint in member.endpoints:
                await endpoint.close()


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """While this process works on a folder, no other does.

    Raises:
        ConfigError: another does.
    """

    def busy() -> None:
        raise ConfigError(f"Another process works on {folder}. Wait for it to end.")

    with one_process(folder / ".lock", busy):
        yield
