"""What a training run may be told besides its recipe and its data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.judges.offline.torch_device import check_device

if TYPE_CHECKING:
    from hf_relabel.trainers.evaluation.sets import RetrievalSet

LOGGERS = ("tensorboard", "trackio", "wandb")


@dataclass(frozen=True)
class TrainOptions:
    """How to run a training, see `train`."""

    device: str | None = None
    evaluate_every: int | None = None
    dev: Sequence[RetrievalSet] = ()
    log_to: Sequence[str] = ()
    merge_adapters: bool = False
    overwrite: bool = False
    progress: bool | None = None
    evaluate_untrained: bool = True
    checkpoints: bool = True
    callbacks: Sequence[Any] = ()
    teacher_scores: Path | None = None

    def check(self) -> None:
        """Raises: ConfigError, options that make no sense, or a logger that is not installed."""
        from importlib.util import find_spec

        check_device(self.device)
        if self.evaluate_every is not None and self.evaluate_every < 1:
            raise ConfigError(f"A run is evaluated every so many steps, 1 or more, not {self.evaluate_every}.")
        if self.dev and not self.checkpoints:
            raise ConfigError("The best step is kept as a checkpoint: a run without checkpoints takes no dev set.")
        for name in self.log_to:
            if name not in LOGGERS:
                raise ConfigError(f"There is no logger {name!r}. There are: {', '.join(LOGGERS)}.")
            packages = ("tensorboard", "tensorboardX") if name == "tensorboard" else (name,)
            if not any(find_spec(package) for package in packages):
                raise ConfigError(f"Logging to {name} needs a package: pip install {packages[-1]}.")
