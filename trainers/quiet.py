"""Keeping other libraries' progress bars and remarks out of what we print."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Without the progress bars of datasets and transformers, and without remarks of transformers below an error."""
    import datasets
    from transformers.utils import logging

    shown = datasets.is_progress_bar_enabled()
    bars, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
    datasets.disable_progress_bars()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
        if shown:
            datasets.enable_progress_bars()
