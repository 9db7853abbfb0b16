"""What people are called: `Anna ` and `anna` are one person."""

from __future__ import annotations

import logging
import unicodedata
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hf_relabel.builders.audit.answers import Answer

_logger = logging.getLogger(__name__)


def name_key(name: str) -> str:
    """What names of one person have in common, whatever their case, white space and form of Unicode."""
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())


class Names:
    """The spelling of each person's name that came first."""

    def __init__(self) -> None:
        self._spellings: dict[str, dict[str, None]] = {}

    def first(self, name: str) -> str:
        """The name under which this person came first."""
        spellings = self._spellings.setdefault(name_key(name), {})
        spellings[" ".join(name.split())] = None
        return next(iter(spellings))

    def tell(self) -> None:
        """Warn once of all that are spelt in several ways."""
        several = [
            " and ".join(ascii(each)[:60] for each in found) for found in self._spellings.values() if len(found) > 1
        ]
        if several:
            _logger.warning("Taken to be one person: %s.", "; ".join(several))


def with_one_name_each(answers: Iterable[Answer]) -> list[Answer]:
    """The answers, each person's under the first spelling of their name. Warns where there were several."""
    names = Names()
    found = [replace(answer, person=names.first(answer.person)) for answer in answers]
    names.tell()
    return found
