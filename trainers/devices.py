"""The devices of a training run: a process each, as torchrun and `accelerate launch` start them.

The processes run the same code. What must be done once (a folder, a table, a report) the first of them does, and the
others wait for it however long it takes; what it is refused, all are refused.
"""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar, cast

from hf_relabel.builders.errors import ConfigError, RelabelError, TrainingError

_T = TypeVar("_T")
_PATIENCE = timedelta(days=7)
"""Others wait so long: a teacher scores for hours. A process that dies is noticed at once, by torchrun and by gloo."""
_EVALUATION_FAILED = "Distributed evaluator failed on rank 0"


def is_one_of_several() -> bool:
    """Whether torchrun or its kin started this process beside others. WORLD_SIZE alone says nothing: schedulers of
    clusters set it for any job."""
    return "LOCAL_RANK" in os.environ and os.environ.get("WORLD_SIZE", "1") not in ("0", "1")


def is_first() -> bool:
    """Whether this is the only process, or the one that speaks for all."""
    return not is_one_of_several() or os.environ.get("RANK", "0") == "0"


def one_process_only(what: str) -> None:
    """Refuse several processes where each would do the whole work over again.

    Raises:
        ConfigError: there are several.
    """
    if is_one_of_several():
        with_all = Devices(2, int(os.environ.get("RANK", "0")))  # only whether it is the first matters
        with_all.alike(lambda: _refuse(what))


def _refuse(what: str) -> None:
    raise ConfigError(
        f"{what} runs in one process, and this is one of {os.environ['WORLD_SIZE']}: start it without torchrun."
        " Only `train` takes several devices."
    )


def all_devices(device: str | None = None) -> Devices:
    """Those of this run; joins the processes where they have not met.

    Args:
        device: as the user named it.

    Raises:
        ConfigError: one device is named for several processes.
    """
    if not is_one_of_several() and "torch.distributed" not in sys.modules:
        return Devices()
    import torch
    from torch import distributed

    if not distributed.is_available() or not (is_one_of_several() or distributed.is_initialized()):
        return Devices()
    local = int(os.environ.get("LOCAL_RANK", "0"))
    if not distributed.is_initialized():
        if torch.cuda.is_available() and device != "cpu":
            torch.cuda.set_device(local)
        distributed.init_process_group(timeout=_PATIENCE)  # gloo for a CPU, nccl for GPUs
    devices = Devices(distributed.get_world_size(), distributed.get_rank(), local)
    if devices.count > 1 and device is not None and ":" in device:
        devices.alike(lambda: _refuse_device(device, devices.count))
    return devices


def _refuse_device(device: str, count: int) -> None:
    kind = device.partition(":")[0]
    raise ConfigError(f"{count} processes cannot share the device {device!r}: give {kind!r}, or none.")


@dataclass(frozen=True, slots=True)
class Devices:
    """All processes of a run, and which one this is.

    Attributes:
        rank: 0 is the first.
        local: the same on this machine.
    """

    count: int = 1
    rank: int = 0
    local: int = 0

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def by_first(self, work: Callable[[], _T]) -> _T:
        """What the first one's work gives, for all; the others wait. Its error is everybody's."""
        return self._by(self.is_first, 0, work)

    def by_first_of_machine(self, work: Callable[[], _T]) -> _T:
        """As `by_first`, done once on each machine: for files that only its own processes see."""
        return self._by(self.local == 0, self.rank - self.local, work)

    def _by(self, does_it: bool, who: int, work: Callable[[], _T]) -> _T:
        if self.count == 1:
            return work()
        own = _Outcome.of(work) if does_it else None
        outcomes: list[_Outcome | None] = self._exchanged(own and own.to_send())
        if own is not None and own.error is not None:
            raise own.error
        if failed := next((each.error for each in outcomes if each is not None and each.error is not None), None):
            raise _elsewhere(failed)
        outcome = own or outcomes[who]
        assert outcome is not None
        return cast(_T, outcome.value)

    def in_turn(self, work: Callable[[], _T]) -> _T:
        """Done by the first of each machine, then by all others for themselves: it fetches what they find, and says
        what is wrong once."""
        done: list[_T] = []
        self.by_first_of_machine(lambda: done.append(work()))
        return done[0] if done else work()

    def alike(self, work: Callable[[], _T]) -> _T:
        """Work that each device does for itself with one outcome. An error is the first one's to say."""
        try:
            return work()
        except RelabelError as error:
            error.said_elsewhere = not self.is_first
            raise
        except RuntimeError as error:
            if _EVALUATION_FAILED not in str(error):
                raise
            raise _elsewhere(TrainingError("The evaluation failed on the first device.")) from error

    def gathered(self, value: _T) -> list[_T]:
        """The values of all devices, by rank."""
        return [value] if self.count == 1 else self._exchanged(value)

    def _exchanged(self, value: Any) -> list[Any]:
        from torch import distributed

        values: list[Any] = [None] * self.count
        try:
            distributed.all_gather_object(values, value, group=_waiting_group())
        except RuntimeError as error:
            raise TrainingError(f"Device {self.rank} lost the others: the first to stop says why.") from error
        return values


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What work gave."""

    value: Any = None
    error: Exception | None = None

    @staticmethod
    def of(work: Callable[[], Any]) -> _Outcome:
        try:
            return _Outcome(work())
        except Exception as error:
            return _Outcome(error=error)

    def to_send(self) -> _Outcome:
        """The same for other processes: an error that cannot be pickled becomes one that tells its text."""
        if self.error is None:
            return self
        try:
            pickle.loads(pickle.dumps(self.error))  # noqa: S301  (our own, of this moment)
        except Exception:
            return _Outcome(error=TrainingError(f"{type(self.error).__name__}: {self.error}"))
        return self


def _elsewhere(error: Exception) -> Exception:
    """The error of another process, which says it."""
    if isinstance(error, RelabelError):
        error.said_elsewhere = True
    return error


_waiting: list[Any] = []


def _waiting_group() -> Any:
    """All processes, joined so that one may wait long for the others: GPUs' own connections give up after minutes."""
    from torch import distributed

    if not _waiting or _waiting[0] is not distributed.group.WORLD:
        _waiting[:] = [distributed.group.WORLD, distributed.new_group(backend="gloo", timeout=_PATIENCE)]
    return _waiting[1]
