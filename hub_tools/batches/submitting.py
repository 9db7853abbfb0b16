"""Files of a folder and the batches that a service makes of them: sent once, looked after, fetched when they end.

Each step is noted before the next is taken, so that a process that dies anywhere neither sends a file twice nor forgets
a batch that will be paid for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from hf_relabel.builders.endpoint import EndpointError
from hf_relabel.builders.errors import ConfigError
from hf_relabel.hub_tools.batches.collecting import errors_of, output_of
from hf_relabel.hub_tools.batches.ledger import BatchFile, Ledger, Remote
from hf_relabel.hub_tools.batches.service import ENDED, BatchService

Told = Callable[[BatchFile], None]
"""Called with a file when something has become of it."""


@dataclass(frozen=True, slots=True)
class Services:
    """Whom each file goes to.

    Attributes:
        by_judge: the service of each judge, by stage and place in it.
    """

    by_judge: Mapping[tuple[str, int], BatchService]

    def of(self, file: BatchFile) -> BatchService:
        """Raises: ConfigError, where the judge's server takes no uploads."""
        service = self.by_judge.get((file.stage, file.member))
        if service is None:
            raise ConfigError(f"{file.name} is for a vLLM on this machine: use `batch run`.")
        return service


async def submit(ledger: Ledger, services: Services, told: Told) -> list[BatchFile]:
    """Send what nobody has yet: files that are new, and those whose batch failed before it began.

    A batch that fails as a whole (no credit, more tokens waiting than are allowed) has answered nothing: its file is
    sent again.

    Raises:
        EndpointError: the service refuses, or cannot be had. What was sent before stays sent.
    """
    sent = []
    for file in ledger.files("written"):
        sent.append(await _submit(ledger, services.of(file), file))
        told(sent[-1])
    return sent


async def _submit(ledger: Ledger, service: BatchService, file: BatchFile) -> BatchFile:
    remote = file.remote
    if remote.creating and (made := await service.find(remote.file_id)) is not None:
        return _noted(ledger, file, made)  # the call that made it broke off
    if not remote.file_id:
        remote = Remote(file_id=await service.upload(ledger.folder / file.name))
        ledger.set_state(file, "written", remote)
    ledger.set_state(file, "written", replace(remote, creating=True, message=""))
    try:
        made = await service.create(remote.file_id)
    except EndpointError as error:
        if error.status is not None and error.status < 500:  # it was not made
            ledger.set_state(file, "written", Remote(message=str(error)))
            raise
        found = await service.find(remote.file_id)
        if found is None:
            raise
        made = found
    return _noted(ledger, file, made)


def _noted(ledger: Ledger, file: BatchFile, remote: Remote) -> BatchFile:
    ledger.set_state(file, "sent", remote)
    return replace(file, state="sent", remote=remote)


async def refresh(ledger: Ledger, services: Services, told: Told) -> list[BatchFile]:
    """Ask after every batch that is under way. Gives all files as they stand then.

    Raises:
        EndpointError: a service cannot be asked.
    """
    for file in ledger.files("sent"):
        remote = await services.of(file).status(file.remote)
        if remote.status == "failed" and not (remote.output_file_id or remote.error_file_id):
            # Nothing in it was asked; the file may be gone with it, so it goes up anew.
            remote = Remote(status="failed", message=remote.message)
            ledger.set_state(file, "written", remote)
        else:
            ledger.set_state(file, "ended" if remote.status in ENDED else "sent", remote)
        told(replace(file, remote=remote))
    return ledger.files()


async def fetch(ledger: Ledger, services: Services, file: BatchFile) -> list[Path]:
    """Download the results of a batch that has ended: those files of it that the service has.

    Raises:
        EndpointError: they cannot be had.
        OSError: they cannot be written.
    """
    service, fetched = services.of(file), []
    wanted = (
        (file.remote.output_file_id, output_of(ledger.folder, file)),
        (file.remote.error_file_id, errors_of(ledger.folder, file)),
    )
    for file_id, target in wanted:
        if file_id:
            await service.download(file_id, target)
            fetched.append(target)
    return fetched
