"""What Ctrl-C says: what is kept, and how the work that it stopped goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from hf_relabel.builders.endpoint import EndpointError
from hf_relabel.builders.errors import JudgingStopped
from hf_relabel.trainers.devices import is_first

EXIT_CODE = 130
"""Of a command that Ctrl-C ended."""


@contextmanager
def goes_on(how: Callable[[], str]) -> Iterator[None]:
    """Around long work: after Ctrl-C say what is kept and how to go on, and end with exit code 130.

    What `JudgingStopped` and `EndpointError` (no server at the start) say has the same at its end.

    Args:
        how: gives that in a sentence or two; asked only then.

    Example:
        >>> with goes_on(lambda: kept_in("journal.sqlite")):
        ...     judge_everything()
    """
    try:
        yield
    except KeyboardInterrupt:
        if is_first():
            click.echo(f"Interrupted. {how()}", err=True)
        raise click.exceptions.Exit(EXIT_CODE) from None
    except (JudgingStopped, EndpointError) as stopped:
        stopped.args = (f"{str(stopped).rstrip('.')}. {how()}",)
        raise


def kept_in(journal: str | Path) -> str:
    """What is to be said of judging into a journal."""
    if Path(journal).is_file():
        return f"What was judged is in {journal}: the same command again goes on from there."
    return "Nothing was judged yet: the same command again starts anew."
