"""Where `compare` and `prune` keep what each run measured, and what they say of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from hf_relabel.hub_tools.calls.progress_bars import runs_on
from hf_relabel.hub_tools.commands.interrupting import goes_on
from hf_relabel.hub_tools.commands.progress import progress_bar

RUNS_HELP = (
    "Folder that keeps the model of every run and what it measured, so that the same command goes on where it was"
    " stopped, and with another --eval trains nothing; one in the cache of the Hub's client ($HF_HOME/hf-relabel/runs)"
    " when not given."
)
DROP_MODELS_HELP = "Delete each model once it is measured: less disk, but another --eval or --metric trains anew."


def runs_folder(given: str | None) -> Path:
    """The folder of the runs: as given, else one in the cache. Runs are known by all that decides their outcome, so
    that those of several comparisons may lie side by side."""
    from huggingface_hub.constants import HF_HOME

    return Path(HF_HOME) / "hf-relabel" / "runs" if given is None else Path(given)


def kept_note(folder: Path) -> str:
    """What is said at the end."""
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return (
        f"Each run is kept in {folder} ({size / 1e6:,.0f} MB): more seeds or configs train only what is new, another"
        " set or metric only measures."
    )


@contextmanager
def runs_shown(description: str, folder: Path) -> Iterator[Callable[[str, int, int], None]]:
    """A bar with the runs that are done and those that are left, for `compare` and `prune` to call before each run.

    Ctrl-C says how many are done, where they are kept, and how to go on.
    """
    counted = (0, 0)

    def how() -> str:
        done, total = counted
        if not done:
            return "No run was finished: the same command again starts anew."
        return (
            f"{done} of {total} runs are finished and kept in {folder}: the same command again trains only the"
            f" other {total - done}."
        )

    with goes_on(how), progress_bar(description, unit=" runs") as bar:
        draw = runs_on(bar)

        def show(name: str, done: int, total: int) -> None:
            nonlocal counted
            counted = done, total
            draw(name, done, total)

        yield show
