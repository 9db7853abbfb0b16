"""Which split of a data set a file is of, by its path, as the `datasets` library has it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from hf_relabel.builders.errors import SourceError
from hf_relabel.builders.messages.spelling import argument

TRAIN = "train"
_WORDS = {
    TRAIN: (TRAIN, "training"),
    "validation": ("validation", "valid", "dev", "val"),
    "test": ("test", "testing", "eval", "evaluation"),
}
_SPLITS = {word: split for split, words in _WORDS.items() for word in words}
_NAMES = "|".join(_SPLITS)
# `testset`, `mydevset` and `tests`, but nothing that only ends so, as `latest` and `contest` do.
_IN_A_WORD = re.compile(rf"(?:my|full|mini|small|hard)?(?:({_NAMES})(?:sets?|splits?|data)?|(test|eval)s)")


def split_of(path: str) -> str | None:
    """The split that a file is named after: train, validation or test; None where it names none.

    A word of its own name decides (`nq-dev-00000-of-00002.parquet`, `testset.jsonl`), else one of its
    folders' (`test/nq.jsonl`).
    """
    words = (word for part in reversed(PurePosixPath(path).parts) for word in _words(part))
    return next((split for word in words if (split := _of_word(word)) is not None), None)


def split_of_folder(path: Path) -> str | None:
    """The split that a folder's own name is; None where it is another word, or one with a split in it."""
    return _SPLITS.get(path.resolve().name.casefold())


def is_of_split(own: str, split: str) -> bool:
    """Whether rows of a split, or of a slice of it (`train[:10%]`), are of the split that was asked for."""
    return own == split or own.partition("[")[0] == split


def is_word_of(split: str, name: str) -> bool:
    """Whether a name has this split, of whatever name, as one of its words."""
    return split.casefold() in _words(name)


def files_of_split(paths: Sequence[str], split: str, place: str, what: str = "file") -> list[str]:
    """The files of one split. Those that name no split are for training, unless one beside them is named after `train`:
    then, as in the datasets library, they are of no split.

    Args:
        what: what the paths are, for messages.

    Raises:
        SourceError: no file is of this split.
    """
    splits = {path: split_of(path) for path in paths}
    canonical = _SPLITS.get(split, split)
    if canonical == TRAIN:
        named = {PurePosixPath(path).parent for path in paths if splits[path] == TRAIN}
        chosen = [
            path
            for path in paths
            if splits[path] == TRAIN or (splits[path] is None and PurePosixPath(path).parent not in named)
        ]
    elif canonical in _WORDS:
        chosen = [path for path in paths if splits[path] == canonical]
        # Where there are dev and validation, each means itself.
        chosen = [path for path in chosen if is_word_of(split, path)] or chosen
    else:
        chosen = [path for path in paths if is_word_of(split, path)]
    if not chosen:
        raise SourceError(f"{place}: no {what} is of the split {split!r}. {_there_are(paths, splits)}")
    return chosen


def _of_word(word: str) -> str | None:
    match = _IN_A_WORD.fullmatch(word)
    return _SPLITS[match[1] or match[2]] if match else None


def _words(name: str) -> list[str]:
    return [word.casefold() for word in re.split(r"[\W\d_]+", name) if word]


def _there_are(paths: Sequence[str], splits: dict[str, str | None]) -> str:
    found = sorted({split for split in splits.values() if split is not None})
    if found:
        return f"There are: {', '.join(found)} ({argument('split')})."
    return f"No file is named after a split. There are: {', '.join(paths[:10])}."
