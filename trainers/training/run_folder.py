"""The folder of a training run: whose it is, how far the run came, and what is left in it at the end."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from hf_relabel.builders.disk.atomic_file import written_whole
from hf_relabel.builders.disk.atomic_folder import sync_all
from hf_relabel.builders.disk.one_process import one_process
from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.messages.spelling import argument
from hf_relabel.cards.training_report import REPORT_NAME, TrainingReport
from hf_relabel.trainers.devices import Devices
from hf_relabel.trainers.recipes.recipe import Recipe, load_recipe
from hf_relabel.trainers.training.disk import disk_told
from hf_relabel.trainers.training.sieving import SIEVE_SCORES
from hf_relabel.trainers.training.teaching import SCORES

RECIPE_NAME = "recipe.yaml"
STATE_NAME = "run.json"
CHECKPOINTS = "checkpoint-*"


class RunFolder:
    """The folder of one run. On several devices the first one writes for all.

    Args:
        out: the folder; made when the run begins.
        devices: those that train.
    """

    def __init__(self, out: Path, devices: Devices) -> None:
        self.out, self._devices = out, devices

    @contextmanager
    def alone(self) -> Iterator[None]:
        """While no other run trains there.

        Raises:
            ConfigError: one does.
        """

        def refuse() -> None:
            raise ConfigError(f"Another process is training in {self.out}. Wait for it to end, or give another folder.")

        out = self.out.absolute()
        lock = out.with_name(f".{out.name}.lock")
        with ExitStack() as held:
            self._devices.by_first(lambda: held.enter_context(one_process(lock, refuse)))
            yield

    @property
    def is_over(self) -> bool:
        return (self.out / REPORT_NAME).is_file()

    def state(self, settings: dict[str, Any], recipe: Recipe, *, overwrite: bool) -> dict[str, Any]:
        """The state in which this run was left; a new one where it begins.

        Args:
            settings: what makes this run this run and no other.
            overwrite: delete what another run left.

        Raises:
            ConfigError: the folder holds another run, one on other devices that is not over, or other files.
        """
        self.out.mkdir(parents=True, exist_ok=True)
        path = self.out / STATE_NAME
        found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
        if found is None and any(self.out.iterdir()):
            raise ConfigError(f"{self.out} holds other files. Give an empty folder, or one that does not exist.")
        if not overwrite:
            self._check_devices(found)
        is_other = found is not None and _of_today(found.get("settings")) != settings
        if is_other and not overwrite and not self._is_unbegun():
            raise ConfigError(
                f"{self.out} holds another training run. Give another folder, or "
                f"{argument('overwrite', True)} to delete it."
            )
        if found is not None and (overwrite or is_other):
            shutil.rmtree(self.out)
            self.out.mkdir()
            found = None
        if found is not None:
            return dict(found)
        state = {"settings": settings, "devices": self._devices.count, "seconds": 0.0, "resumed": 0}
        with written_whole(self.out / RECIPE_NAME) as file:
            file.write(recipe.to_yaml().encode())
        self.keep(state)  # so that a run that stops before its first step is known as this one
        return state

    def _is_unbegun(self) -> bool:
        """Whether the run in the folder stopped before it made anything, as one whose model was misspelt does."""
        return {path.name for path in self.out.iterdir()} <= {STATE_NAME, RECIPE_NAME}

    def _check_devices(self, found: dict[str, Any] | None) -> None:
        """A run that is not over goes on with as many devices: its steps would be others."""
        began = (found or {}).get("devices", 1)
        if found is None or began == self._devices.count or self.is_over:
            return
        raise ConfigError(
            f"{self.out} holds a run on {began} devices, and this is one on {self._devices.count}. Start it on as many,"
            f" or give {argument('overwrite', True)} to begin anew."
        )

    def keep(self, state: dict[str, Any]) -> None:
        """Write down how far the run came."""
        if not self._devices.is_first:
            return
        with written_whole(self.out / STATE_NAME) as file:
            file.write(json.dumps(state, indent=2).encode())

    def last_checkpoint(self) -> str | None:
        """The newest checkpoint that was written whole: the state of the trainer is its last file."""
        found = [path for path in self.out.glob(CHECKPOINTS) if (path / "trainer_state.json").is_file()]
        found = [path for path in found if path.name.rpartition("-")[2].isdigit()]
        return str(max(found, key=lambda path: int(path.name.rpartition("-")[2]))) if found else None

    def save(self, model: Any, *, sync: bool) -> None:
        """Save the trained model; with `sync` it is on the disk when this returns."""
        with disk_told(self.out):
            model.save_pretrained(str(self.out), create_model_card=False)
        if sync:
            sync_all(self.out)

    def ended(self, report: TrainingReport) -> TrainingReport:
        """Write the report, and delete what only a run under way needs."""
        report.write(self.out)
        for folder in self.out.glob(CHECKPOINTS):
            shutil.rmtree(folder)
        for path in [*self.out.glob(SCORES), *self.out.glob(SIEVE_SCORES)]:
            path.unlink()
        return report


def _of_today(settings: Any) -> Any:
    """The settings of a run that was started by an earlier release, with its recipe in the fields of today."""
    try:
        return {**settings, "recipe": load_recipe(settings["recipe"]).model_dump(mode="json")}
    except (ConfigError, KeyError, TypeError):
        return settings
