"""What a Space is told: by `serve` in options, on the Hub in variables."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hf_relabel.builders.errors import ConfigError
from hf_relabel.hub_tools.hub.source import HubLocation

PREFIX = "HF_RELABEL_"
"""Of the variables of a Space that are read here."""
SAMPLE_SIZE = 400
MOST_ITEMS = 20_000
_KEPT = Path("/data")
"""The folder of a Space that outlives a restart, where its owner has rented one."""
_NAMES = ("RELEASE", "REVISION", "SAMPLE", "SEED", "PEOPLE", "PRICES", "ANSWERS")


@dataclass(frozen=True)
class SpaceSettings:
    """What is shown, and how people are asked.

    Attributes:
        release: a folder that was built or pulled, `user/repo`, or `user/repo@revision`.
        revision: as in the release; None for the main branch.
        sample, seed: candidates drawn for people, and the seed they are drawn with.
        people: names on the Hub that may answer besides those who may write to the data set.
        prices: US dollars per million prompt and completion tokens, by stage, see `prices_of`.
        answers: the folder in which answers are kept on this machine.
        token: of the server, for reading the release and committing answers; None takes the stored token or `HF_TOKEN`.
        is_space: it runs as a Space: people sign in, and nothing but the Hub is opened.
        person: who answers on this machine for a release in a folder; None for the owner of the token.
        hosts: names under which browsers see the Space.
    """

    release: str
    revision: str | None = None
    sample: int = SAMPLE_SIZE
    seed: int = 0
    people: tuple[str, ...] = ()
    prices: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    answers: Path = Path("answers")
    token: str | None = None
    is_space: bool = False
    person: str | None = None
    hosts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 1 <= self.sample <= MOST_ITEMS:
            raise ConfigError(f"A sample has 1 to {MOST_ITEMS:,} candidates, not {self.sample}.")
        if self.is_space and not is_on_hub(self.release):
            raise ConfigError(f"{PREFIX}RELEASE must name a data set on the Hub (user/repo), not {self.release!r}.")

    @property
    def name(self) -> str:
        """The release as people name it."""
        return f"{self.release}@{self.revision}" if self.revision else self.release


def is_on_hub(location: str) -> bool:
    """Whether a location can only mean a data set on the Hub."""
    hub = HubLocation.parse(location)
    return hub is not None and hub.config is None and not Path(location).exists()


def settings_of_space(environment: Mapping[str, str] | None = None) -> SpaceSettings:
    """The settings in the variables of a Space: `HF_RELABEL_RELEASE` and, as far as they are set, `…_REVISION`,
    `…_SAMPLE`, `…_SEED`, `…_PEOPLE` (names with commas between), `…_PRICES` (as `prices_of` reads them, with semicolons
    between) and `…_ANSWERS` (a folder); and `SPACE_HOST`, which the Hub sets: the names of the Space with commas
    between, its own domain among them where it has one.

    Raises:
        ConfigError: a variable is missing or makes no sense.
    """
    known = os.environ if environment is None else environment
    given = {name: known.get(f"{PREFIX}{name}", "").strip() for name in _NAMES}
    if not given["RELEASE"]:
        raise ConfigError(f"Set the variable {PREFIX}RELEASE of this Space to the data set to show (user/repo).")
    return SpaceSettings(
        release=given["RELEASE"],
        revision=given["REVISION"] or None,
        sample=_number("SAMPLE", given["SAMPLE"], SAMPLE_SIZE),
        seed=_number("SEED", given["SEED"], 0),
        people=tuple(name.strip() for name in given["PEOPLE"].split(",") if name.strip()),
        prices=prices_of(each for each in given["PRICES"].split(";") if each.strip()),
        answers=Path(given["ANSWERS"]) if given["ANSWERS"] else _answers_folder(),
        token=known.get("HF_TOKEN") or None,
        is_space=True,
        hosts=tuple(name.strip() for name in known.get("SPACE_HOST", "").split(",") if name.strip()),
    )


def prices_of(given: Iterable[str]) -> dict[str, dict[str, float]]:
    """Prices of stages, each as `STAGE=PROMPT,COMPLETION` in US dollars per million tokens.

    Raises:
        ConfigError: something else was given.
    """
    prices = {}
    for text in given:
        stage, equals, numbers = text.strip().rpartition("=")
        try:
            prompt, completion = (float(number) for number in numbers.split(","))
        except ValueError:
            prompt, completion = math.nan, math.nan
        if not equals or not stage or not (0 <= prompt < math.inf and 0 <= completion < math.inf):
            raise ConfigError(f"A price is STAGE=PROMPT,COMPLETION (US dollars per million tokens), not {text!r}.")
        prices[stage] = {"prompt": prompt, "completion": completion}
    return prices


def _number(name: str, text: str, default: int) -> int:
    if not text:
        return default
    if not text.isascii() or not text.isdigit():
        raise ConfigError(f"The variable {PREFIX}{name} must be a whole number, not {text!r}.")
    return int(text)


def _answers_folder() -> Path:
    return _KEPT / "hf-relabel-answers" if os.access(_KEPT, os.W_OK) else Path("answers")
