"""Arms of a comparison whose sure zone begins elsewhere: `zones@0.7` relabels from a calibrated probability of .7 on.

They are built from what a release by thresholds holds, its `original` rows and its `verdicts`: nobody is asked. Between
the lower threshold and the new one candidates are dropped, all else stays as in `relabel-filter`.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from hf_relabel.builders.cascade.calibration import Calibration
from hf_relabel.builders.config_names import VERDICTS
from hf_relabel.builders.configs.release import Release, release_from_folder
from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.techniques import Technique, canonical
from hf_relabel.hub_tools.building.rebuild import rebuild_configs, settings_of
from hf_relabel.trainers.data.training_data import TrainingData, open_config

ZONES = str(Technique.RELABEL_FILTER)
LEAST_PRECISION = 1 / 3
"""Lower bound of the precision of an arm's sure zone from which it is compared without being named: each arm makes all
others harder to tell apart, and what the labels back less is seldom worth it. A set of few rows gains by relabelling at
a precision of .6 and less (`bench_zones_training`), which is why it is not higher."""
_ARM = re.compile(r"(?:zones|relabel-filter)@(?P<at>.*)")


def zones_at(name: str) -> float | None:
    """The probability of an arm `zones@0.7`, with an addition or without; None of any other name.

    Raises:
        ConfigError: it is none between 0 and 1.
    """
    found = _ARM.fullmatch(name.partition("+")[0])
    if found is None:
        return None
    try:
        at = float(found["at"])
    except ValueError:
        at = 0.0
    if not 0 < at < 1:
        raise ConfigError(f"{name}: expected a calibrated probability between 0 and 1 behind the @, such as zones@0.7.")
    return at


def config_of(name: str) -> str:
    """The config of an arm without additions by its one name, which for these is `zones@0.7`."""
    at = zones_at(name)
    return canonical(name) if at is None else f"zones@{at}"


@dataclass(frozen=True)
class ZoneArms:
    """What opens the configs of a release, these arms among them.

    Attributes:
        folder: where they are built.
    """

    release: Release
    folder: Path

    @cached_property
    def calibration(self) -> Calibration | None:
        zones = (self.release.manifest.get("evidence") or {}).get("zones")
        return None if zones is None else Calibration.from_dict(zones, f"What {self.release.name} says of its zones")

    def check(self, config: str) -> None:
        """Raises: ConfigError, BuildError, the release has no such config, or nothing to build such an arm from."""
        if zones_at(config) is None:
            self.release.files(config)
            return
        if self.calibration is None:
            raise ConfigError(f"{config}: {self.release.name} was not built by a calibration, so it has no zones.")
        for needed in (Technique.ORIGINAL, VERDICTS):
            self.release.files(needed)

    def opened(self, config: str) -> TrainingData:
        """The rows of a config or an arm."""
        return open_config(*self._place(config), location=self.release.name)

    def counts(self, config: str) -> Mapping[str, Any] | None:
        """Where the rows and candidates of a config or an arm went, see `ConfigCounts`; None if it is no technique."""
        release, name = self._place(config)
        found = release.manifest["configs"].get(name)
        return None if found is None else found["total"]

    def backed(self) -> list[str]:
        """The arms that the labels back, see `LEAST_PRECISION`, without those that are built or listed already."""
        if self.calibration is None or str(Technique.ORIGINAL) not in self.release.manifest["settings"]["techniques"]:
            return []
        there = ZONES in self.release.manifest["settings"]["techniques"]
        seen = {_digests(self.release)} if there else set()
        names = []
        for level in self.calibration.levels:
            if level.score is None or level.precision is None or level.precision.low < LEAST_PRECISION:
                continue
            digests = _digests(self._built(level.probability))
            if digests not in seen:
                seen.add(digests)
                names.append(f"zones@{level.probability:g}")
        return names

    def _place(self, config: str) -> tuple[Release, str]:
        """The release that holds the rows, and what they are called there."""
        at = zones_at(config)
        return (self.release, config) if at is None else (self._built(at), ZONES)

    def _built(self, at: float) -> Release:
        place = self.folder / f"zones-{at}"
        if not place.is_dir():
            only = {"techniques": (ZONES,), "default": ZONES, "views": (), "view_of": ()}
            rebuild_configs(self.release, settings_of(self.release, str(place), zones_at=at, **only), progress=False)
        return release_from_folder(place)


def _digests(release: Release) -> tuple[str, ...]:
    return tuple(release.manifest["files"][name]["sha256"] for name in release.files(ZONES))


@contextmanager
def zone_arms(release: Release) -> Iterator[ZoneArms]:
    """These arms, while their rows are needed."""
    with tempfile.TemporaryDirectory(prefix="hf-relabel-zones-") as scratch:
        yield ZoneArms(release, Path(scratch))
