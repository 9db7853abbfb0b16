"""A Ray cluster to work on, and work done on it piece by piece with Ray Data.

`RAY_ADDRESS` names a cluster that is there already. Without it one is started on this machine and stopped afterwards.
"""

from __future__ import annotations

import logging
import os
import pickle
import socket
import sys
import traceback
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from hf_relabel.builders import errors
from hf_relabel.builders.endpoint import EndpointError
from hf_relabel.builders.errors import ConfigError, RelabelError
from hf_relabel.builders.messages.extras import needs

OBJECT_STORE_BYTES = 200 * 2**20
"""Of a cluster started here. Only settings, pieces' names and counts go through it."""
ADDRESS = "RAY_ADDRESS"
KNOCK_SECONDS = 10.0
_MARK = "seen-by-all"


@dataclass(frozen=True, slots=True)
class Engine:
    """How to spread work.

    Attributes:
        workers: processes; None for one per CPU of the cluster.
        shards: pieces to cut the source in, about; None for as many as suit workers and source.
    """

    workers: int | None = None
    shards: int | None = None


@dataclass(frozen=True, slots=True)
class Cluster:
    """A cluster that is connected to.

    Attributes:
        workers: how many processes to work with.
        gpus: of a GPU, for each of them, where work can use one.
    """

    workers: int
    gpus: float


@contextmanager
def cluster(engine: Engine) -> Iterator[Cluster]:
    """Connect to the cluster that `RAY_ADDRESS` names, or start one on this machine for as long as the `with` lasts.

    Raises:
        ConfigError: Ray is not installed, or the cluster cannot be reached.
    """
    ray = _quiet_ray()
    if ray.is_initialized():  # whoever connected goes on to use it
        yield _connected(ray, engine)
        return
    address = os.environ.get(ADDRESS)
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address and address.startswith("ray://"):
        raise ConfigError(
            f"{ADDRESS} is {address}: Ray Data does not run over the Ray Client. Give the address of the cluster itself"
            " (host:6379), or send the command to it with `ray job submit`."
        )
    if address:
        _knock(address)
    try:
        with _silenced():
            if address:
                ray.init(address=address, **quiet)
            else:
                # More workers than CPUs are no mistake: they mostly wait for servers.
                ray.init(
                    address="local",
                    num_cpus=engine.workers or os.cpu_count() or 1,
                    object_store_memory=OBJECT_STORE_BYTES,
                    include_dashboard=False,
                    _node_ip_address="127.0.0.1",
                    **quiet,
                )
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())
        where = f"the Ray cluster at {address} cannot be reached" if address else "Ray cannot be started"
        hint = " Where it asks for a token, RAY_AUTH_MODE=token has to be set here too." if address else ""
        raise ConfigError(f"--engine ray: {where}: {reason[:300]}.{hint}") from error
    try:
        yield _connected(ray, engine)
    finally:
        ray.shutdown()


def _quiet_ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    with needs("ray", "--engine ray"):
        import ray
        import ray.data
    # What they say of themselves is of no use here; errors come as exceptions.
    for name in ("ray", "ray.data", "ray._private.authentication.authentication_token_setup"):
        logging.getLogger(name).setLevel(logging.ERROR)
    # Nothing public keeps it from printing on standard output that a worker died, which is JSON's.
    ray._private.worker._worker_logs_enabled = False
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    return ray


def _knock(address: str) -> None:
    """Whether there is anybody: Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    if not port.isdigit():
        return  # such as `auto`
    try:
        socket.create_connection((host.strip("[]"), int(port)), KNOCK_SECONDS).close()
    except OSError as error:
        raise ConfigError(
            f"--engine ray: there is no Ray cluster at {address} ({error.strerror or error}). Correct {ADDRESS}, or"
            " unset it to work on this machine."
        ) from error


@contextmanager
def _silenced() -> Iterator[None]:
    """Keep what Ray's own processes print out of ours: its level of logging does not count before Ray is started."""
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _connected(ray: Any, engine: Engine) -> Cluster:
    resources: Mapping[str, float] = ray.cluster_resources()
    workers = engine.workers or max(1, int(resources.get("CPU", 1)))
    return Cluster(workers, min(1.0, resources.get("GPU", 0.0) / workers))


@dataclass(frozen=True, slots=True)
class SharedFolder:
    """A folder that every worker must see, which has a file in it with a word that nobody can guess."""

    path: Path
    word: str

    @classmethod
    def mark(cls, path: Path) -> SharedFolder:
        """Write that file."""
        folder = cls(path, uuid.uuid4().hex)
        (path / _MARK).write_text(folder.word)
        return folder

    def check(self) -> None:
        """Whether this machine sees the folder.

        Raises:
            ConfigError: it does not.
        """
        try:
            found = (self.path / _MARK).read_text()
        except OSError:
            found = ""
        if found != self.word:
            raise ConfigError(
                f"The worker on {socket.gethostname()} does not see {self.path}. Journal, source and output have to lie"
                " where all machines of the cluster see them under the same name (a source may also be on the Hub)."
            )


# Work, piece by piece


class Work(Protocol):
    """What is done with each piece. It travels to the workers by pickle, once for each."""

    def __call__(self, task: Any, /) -> Any:
        """Do one piece. The result travels back by pickle."""
        ...


def each(
    work: Work, tasks: Sequence[Any], cluster_: Cluster, *, keeps: bool = False, gpus: float = 0.0
) -> Iterator[tuple[int, Any | RelabelError]]:
    """Do work on each task, in as many processes as there are workers, each with the next task when it is free.

    A process that dies is started again, with the task that it was at.

    Args:
        keeps: the work keeps something dear from task to task, such as a model: it gets processes of its own.
        gpus: for each process.

    Yields:
        The number of a task and its result, or the error it ended with, in the order in which they are ready.
    """
    import ray
    from ray.data import ActorPoolStrategy, TaskPoolStrategy, from_items

    if not tasks:
        return
    # By name, and not among the arguments of the workers, which Ray keeps and shows: there may be tokens in it.
    name = f"hf-relabel-{uuid.uuid4().hex}"
    remote: Any = ray.remote(_Keeper)
    keeper = remote.options(name=name, num_cpus=0, max_restarts=-1).remote(pickle.dumps(work))
    ray.get(keeper.work.remote())
    items = [{"number": number, "task": pickle.dumps(task)} for number, task in enumerate(tasks)]
    size = min(cluster_.workers, len(items))
    act: Any = _Hands if keeps else _do
    how: dict[str, Any] = {"fn_kwargs": {"keeper": name}, "compute": TaskPoolStrategy(size)}
    if keeps:
        # A task that waits behind a slow one is a task that another process could do.
        pool = ActorPoolStrategy(size=size, max_tasks_in_flight_per_actor=1)
        how = {"fn_constructor_kwargs": {"keeper": name}, "compute": pool}
    done = from_items(items, override_num_blocks=len(items)).map_batches(
        act, batch_size=None, batch_format="numpy", num_cpus=1, num_gpus=gpus or None, **how
    )
    try:
        for row in done.iter_rows():
            kind, value = pickle.loads(row["result"])  # noqa: S301 - made by our own workers
            yield int(row["number"]), restored(value) if kind == "error" else value
    finally:
        ray.kill(keeper)


def all_of(
    work: Work, tasks: Sequence[Any], cluster_: Cluster, *, note: Callable[[Any], None] | None = None
) -> list[Any]:
    """The results of `each`, in the order of the tasks.

    Args:
        note: called with each result when it is there.

    Raises:
        TaskFailed: the first task, in their order, that ended with an error.
    """
    results: dict[int, Any] = {}
    failed: dict[int, RelabelError] = {}
    for number, result in each(work, tasks, cluster_):
        if isinstance(result, RelabelError):
            failed[number] = result
        else:
            results[number] = result
            if note is not None:
                note(result)
        if failed and all(before in results for before in range(min(failed))):
            raise TaskFailed(min(failed), failed[min(failed)])
    return [results[number] for number in range(len(tasks))]


class TaskFailed(Exception):
    """A task ended with an error. For those who know more about the task than its worker."""

    def __init__(self, number: int, error: RelabelError) -> None:
        super().__init__(str(error))
        self.number, self.error = number, error


class _Keeper:
    """Keeps the work for workers that start, or start again."""

    def __init__(self, work: bytes) -> None:
        self._work = work

    def work(self) -> bytes:
        return self._work


def _fetched(keeper: str) -> Work:
    import ray

    found: Any = ray.get_actor(keeper)
    work: Work = pickle.loads(ray.get(found.work.remote()))  # noqa: S301 - our own
    return work


def _do(batch: Mapping[str, Any], keeper: str) -> dict[str, list[Any]]:
    """A task, in whatever process there is."""
    return _results(_fetched(keeper), batch)


class _Hands:
    """A process that keeps its work."""

    def __init__(self, keeper: str) -> None:
        self._work = _fetched(keeper)

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, list[Any]]:
        return _results(self._work, batch)


def _results(work: Work, batch: Mapping[str, Any]) -> dict[str, list[Any]]:
    results = [pickle.dumps(_result(work, task)) for task in batch["task"]]
    return {"number": list(batch["number"]), "result": results}


def _result(work: Work, task: bytes) -> tuple[str, Any]:
    try:
        return "result", work(pickle.loads(task))  # noqa: S301 - our own
    except Exception as error:
        return "error", carried(error)


Carried = tuple[str, tuple[Any, ...], dict[str, Any]]


def carried(error: BaseException) -> Carried:
    """An error as plain values, whatever its constructor takes."""
    if not isinstance(error, RelabelError):
        # A bug, or a machine that is broken: what it was is for whoever mends it.
        return "RelabelError", (f"A worker failed: {''.join(traceback.format_exception(error))}",), {}
    attributes = {name: value for name, value in vars(error).items() if _is_plain(value)}
    return type(error).__name__, error.args, attributes


def restored(values: Carried) -> RelabelError:
    """The error again. One of a class that is not known here is a plain RelabelError."""
    name, arguments, attributes = values
    kind: Any = EndpointError if name == "EndpointError" else getattr(errors, name, RelabelError)
    error: RelabelError = kind.__new__(kind, *arguments)
    error.args = arguments
    vars(error).update(attributes)
    return error


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float | bool)
