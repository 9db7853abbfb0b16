"""`vllm run-batch` over the files of a folder: a model of one's own, no server, no port."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hf_relabel.builders.errors import ConfigError, JudgingStopped
from hf_relabel.hub_tools.batches.collecting import output_of
from hf_relabel.hub_tools.batches.ledger import BatchFile

MODULE = "vllm.entrypoints.openai.run_batch"
"""Started as a module: the `vllm` command does not find its package in every installation."""
GRACE_SECONDS = 30.0
STANDARD_ERROR = 2
"""Its number, whatever stands for `sys.stderr` here."""


@dataclass(frozen=True, slots=True)
class LocalRunner:
    """How vLLM is started.

    Attributes:
        python: of the environment that has vLLM.
        arguments: further ones for vLLM, such as `--max-model-len 8192`.
    """

    python: str = sys.executable
    arguments: tuple[str, ...] = ()

    def command(self, folder: Path, file: BatchFile) -> list[str]:
        """What is run for a file."""
        given = ["-i", str(folder / file.name), "-o", str(_unfinished(folder, file)), "--model", file.identity.model]
        return [self.python, "-m", MODULE, *given, *self.arguments]

    def run(self, folder: Path, file: BatchFile) -> Path:
        """Answer one file of requests, and give the file of results. vLLM's own words go to standard error.

        Raises:
            ConfigError: it cannot be started, or failed. Nothing of this file was answered.
            JudgingStopped: Ctrl-C. Nothing of this file is kept; vLLM writes results when it has all of them.
        """
        unfinished = _unfinished(folder, file)
        unfinished.unlink(missing_ok=True)
        command = self.command(folder, file)
        try:
            process = subprocess.Popen(command, stdout=STANDARD_ERROR)
        except OSError as error:
            raise ConfigError(f"{self.python} cannot be started: {error.strerror or error}. Name a Python.") from None
        code = _ended(process)
        if code or not unfinished.is_file():
            raise ConfigError(
                f"vLLM ended with exit code {code} and no results for {file.name}; its own words are above. It was"
                f" started by: {' '.join(command)}"
            )
        results = output_of(folder, file)
        unfinished.replace(results)
        return results


def _unfinished(folder: Path, file: BatchFile) -> Path:
    return folder / f"{file.stem}.output.jsonl.part"


def _ended(process: subprocess.Popen[bytes]) -> int:
    """Its exit code; with Ctrl-C it is told to end, and waited for."""
    try:
        return process.wait()
    except KeyboardInterrupt:
        process.send_signal(signal.SIGINT)
        _wait_or_kill(process)
        stopped = JudgingStopped("Stopped: interrupted. What vLLM had of this file is lost; files before it are kept.")
        stopped.interrupted = True
        raise stopped from None


def _wait_or_kill(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def checked_arguments(arguments: Sequence[str]) -> tuple[str, ...]:
    """Further arguments for vLLM, once none of them is one that is given here.

    Raises:
        ConfigError: one is.
    """
    for argument in arguments:
        name = argument.partition("=")[0]
        if name in ("-i", "-o", "--input-file", "--output-file", "--model"):
            raise ConfigError(f"{name} is given by `batch run` itself: leave it out.")
    return tuple(arguments)
