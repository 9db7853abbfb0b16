"""Checks of judge settings as they come from a job file."""

from __future__ import annotations

from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.messages.spelling import argument


def check_number(name: str, value: object, lowest: float, highest: float, *, whole: bool = False) -> None:
    """Raises ConfigError unless `value` is a number (a whole one if `whole`) from `lowest` to `highest`."""
    kinds: tuple[type, ...] = (int,) if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or not lowest <= value <= highest:  # type: ignore[operator]
        what = "a whole number" if whole else "a number"
        raise ConfigError(f"{name}: expected {what} from {lowest} to {highest}, found {value!r}")


def check_thresholds(better: float, worse: float) -> None:
    """Whether these are the scores from which candidates are called so. Where only one was given the message has to
    name the other, which nobody has seen.

    Raises:
        ConfigError: one is no number from 0 to 1, or `worse` lies above `better`.
    """
    check_number("better", better, 0, 1)
    check_number("worse", worse, 0, 1)
    if worse > better:
        both = f"{argument('better', ...)} and {argument('worse', ...)}"
        raise ConfigError(f"worse, {worse}, lies above better, {better}. Give both, {both}")


def check_text(name: str, value: object) -> None:
    """Raises ConfigError unless `value` is text."""
    if not isinstance(value, str):
        raise ConfigError(f"{name}: expected text, found {value!r}")


def check_yes_or_no(name: str, value: object) -> None:
    """Raises ConfigError unless `value` is true or false."""
    if not isinstance(value, bool):
        raise ConfigError(f"{name}: expected true or false, found {value!r}")
