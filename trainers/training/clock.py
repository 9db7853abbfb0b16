"""The time a run takes over all its sittings, and how far it is."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from typing import Any

from transformers import TrainerCallback

from hf_relabel.builders.errors import TrainingError

logger = logging.getLogger(__name__)


class Clock(TrainerCallback):  # type: ignore[misc]
    """Adds up the time of all sittings of a run."""

    def __init__(self, state: dict[str, Any], keep: Callable[[], None]) -> None:
        self._state, self._keep = state, keep
        self._since = time.monotonic()

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self._since = time.monotonic()

    def on_save(self, *_: Any, **__: Any) -> None:
        self._add()
        self._keep()

    def on_train_end(self, *_: Any, **__: Any) -> None:
        self._add()
        self._keep()

    def _add(self) -> None:
        now = time.monotonic()
        self._state["seconds"] += now - self._since
        self._since = now


class Watch(TrainerCallback):  # type: ignore[misc]
    """Stops a run whose loss is no number: it would go on for hours and save a broken model. Warns of one whose loss
    was 0 from its first step to its last: its model is the one that it started with."""

    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, Any] | None = None, **_: Any) -> None:
        loss = (logs or {}).get("loss")
        if loss is not None and not math.isfinite(float(loss)):
            raise TrainingError(
                f"The loss became {loss} at step {state.global_step}. Lower the learning rate, or train in fp32."
            )

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        losses = [line["loss"] for line in state.log_history if "loss" in line]
        if losses and not any(losses) and state.is_world_process_zero:
            logger.warning(
                "The loss was 0 at every step: the model has learnt nothing. A positive has something to stand against"
                " where rows have negatives, other rows are in the batch (`batch_size` above 1, `loss.in_batch`), and a"
                " guide leaves some of them."
            )
