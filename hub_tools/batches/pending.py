"""What batches that are sent still hold of a journal: asking a server for the same would be paid for twice.

The journal knows nothing of batches, so a file beside it (`journal.sqlite.batches`) names the folders that were
exported from it, one a line.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.messages.counted import counted
from hf_relabel.builders.messages.spelling import argument
from hf_relabel.hub_tools.batches.collecting import judge_of
from hf_relabel.hub_tools.batches.ledger import LEDGER, BatchFile, Ledger
from hf_relabel.hub_tools.judging.stages import Stage


def note_folder(journal: Path, folder: Path) -> None:
    """Note beside a journal that this folder's answers go into it."""
    absolute = str(folder.absolute())
    if absolute not in _noted(journal):
        with _beside(journal).open("a", encoding="utf-8") as notes:
            notes.write(f"{absolute}\n")


def check_pending(journal: Path, stages: Sequence[Stage]) -> None:
    """Raises: ConfigError, where batches that were sent hold answers of these stages' judges for that journal."""
    for folder in map(Path, _noted(journal)):
        if (folder / LEDGER).is_file() and (waiting := _waiting(folder, stages)):
            raise ConfigError(
                f"{folder}: batches that were sent hold {counted(waiting, 'request')} of this judge for {journal};"
                f" asked here too, they would be paid for twice. Take them in with `batch collect {folder}` first, or"
                f" ask all the same with {argument('also_pending', True)}."
            )


def _waiting(folder: Path, stages: Sequence[Stage]) -> int:
    with Ledger(folder) as ledger:
        return sum(ledger.waiting(file) for file in ledger.files("sent", "ended") if _is_asked(file, stages))


def _is_asked(file: BatchFile, stages: Sequence[Stage]) -> bool:
    """Whether these stages ask the judge of that file, as far as it can be told without asking a server."""
    try:
        judge_of(file, stages)
    except ConfigError:
        return False
    return any(
        member.model in (None, file.identity.model)
        for stage in stages
        if stage.name == file.stage
        for member in stage.members[file.member : file.member + 1]
    )


def _noted(journal: Path) -> list[str]:
    return list(_lines(_beside(journal)))


def _lines(path: Path) -> Iterator[str]:
    if path.is_file():
        yield from path.read_text(encoding="utf-8").splitlines()


def _beside(journal: Path) -> Path:
    return journal.with_name(f"{journal.name}.batches")
