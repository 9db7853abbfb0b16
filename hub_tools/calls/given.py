"""What callers give as a source or a journal, as what the work is done with."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.journal.store import Journal, journal_for_judging
from hf_relabel.builders.messages.expecting import told
from hf_relabel.builders.sources import Source
from hf_relabel.hub_tools.hub.source import open_source

AnySource: TypeAlias = Any
"""An open `Source`, or whatever `open_source` takes."""
AnyJournal: TypeAlias = "Journal | str | os.PathLike[str]"
"""An open `Journal`, or the path of one."""


def as_source(given: AnySource) -> Source:
    """A source, opened where it is not yet.

    Raises:
        SourceError, BadRow: it is nothing that can be opened.
    """
    if isinstance(given, Source) or all(callable(getattr(given, name, None)) for name in ("rows", "record")):
        source: Source = given
        return source
    return open_source(given)


@contextmanager
def as_journal(given: AnyJournal, *, write: bool = True) -> Iterator[Journal]:
    """A journal, opened where it is not yet, and then closed at the end. One that is made here to be written to is
    removed again where the work fails before anything is judged.

    Raises:
        ConfigError: it is neither a journal nor a path.
        JournalError: as `Journal` does.
    """
    if isinstance(given, Journal):
        yield given
        return
    if not isinstance(given, (str, os.PathLike)):
        raise ConfigError(f"A journal is a Journal or the path of one, such as 'journal.sqlite'; found {told(given)}.")
    with journal_for_judging(os.fspath(given)) if write else Journal(os.fspath(given), write=False) as journal:
        yield journal
