"""The one error tree.

    RelabelError                     exit code 1
    ├── InputError                   2   what was given cannot be used
    │   ├── BadRow                       one row of a source: file, row number, field, remedy
    │   ├── SourceError                  a source cannot be opened or its format is not known
    │   ├── ConfigError                  a job file, an option or a setting
    │   │   ├── Mistakes                 all that is wrong with one file, a line each
    │   │   └── MissingExtra                 an extra of this package is not installed (an ImportError too)
    │   └── CardError                    a README.md that cannot be merged with
    ├── EndpointError                3   one request to a judge failed
    │   └── …                            see hf_relabel.builders.endpoint
    ├── JudgingStopped               4   a run stopped before its end; what was judged is kept
    ├── JournalError                 5   the journal cannot be read or written
    │   └── NotJudged                    too little of a source was judged to build of it (a BuildError too)
    ├── BuildError                   6   configs cannot be written
    ├── ReleaseError                 7   the Hub would not take or give a release
    ├── TrainingError                8   a training run failed
    └── JobError                     9   a Job on the Hub was refused, or did not complete

The command line prints `str(error)` as one line and exits with `exit_code`. Messages say what was found, where, and
what to do about it. They never hold a token.
"""

from __future__ import annotations

from collections.abc import Sequence


class RelabelError(Exception):
    """Base of every error this package raises on purpose."""

    exit_code = 1
    said_elsewhere = False
    """Another process of the same run has said it: this one ends without a word."""


class InputError(RelabelError):
    """What was given cannot be used."""

    exit_code = 2


class SourceError(InputError):
    """A source cannot be opened, or its format is not known."""


class ConfigError(InputError):
    """A job file, an option or a setting is wrong."""


class Mistakes(ConfigError):
    """All that is wrong with one file, at once. Its text has a line for each, after the first where there are several.

    Args:
        name: the file as the user knows it.
        found: one sentence each.
    """

    def __init__(self, name: str, found: Sequence[str] = ()) -> None:
        self.found = tuple(" ".join(line.split()) for line in found)
        lines = [f"{name} has {len(self.found)} mistakes:", *self.found]
        super().__init__(f"{name}, {self.found[0]}" if len(self.found) == 1 else "\n  ".join(lines))


class MissingExtra(ConfigError, ImportError):
    """An extra of this package is not installed. An ImportError too, for those who try imports.

    Args:
        message: what needs which extra, and how to install it.
        name: the module that was looked for.
        extra: what brings it.
    """

    def __init__(self, message: str, *, name: str | None = None, extra: str = "") -> None:
        self.extra = extra
        ImportError.__init__(self, message, name=name)


class CardError(InputError):
    """A README.md cannot be merged with: its front matter is not YAML, or the markers around our part are broken."""


class BadRow(InputError):
    """One row of a source cannot be used.

    Args:
        file: name of the file as the user knows it.
        number: row number in that file, counted from 1; a line of names is no row.
        field: the field that is wrong, such as `negative_passages[3].text`.
        found: what was found there, in a few words.
        remedy: what the user can do.
        line: of the file, where the row begins, if that is known to be another number.
    """

    def __init__(self, file: str, number: int, field: str, found: str, remedy: str, *, line: int | None = None) -> None:
        self.file, self.number, self.field, self.found, self.remedy = file, number, field, found, remedy
        self.line = line
        row = f"row {number}" if line is None else f"row {number} (line {line})"
        super().__init__(f"{file}, {row}, field {field!r}: {found}. {remedy}")


class JudgingStopped(RelabelError):
    """A judging run stopped before its end. Every judgement made so far is in the journal.

    Attributes:
        interrupted: it was stopped by Ctrl-C.
    """

    exit_code = 4
    interrupted = False


class JournalError(RelabelError):
    """The journal cannot be read or written."""

    exit_code = 5


class BuildError(RelabelError):
    """Configs cannot be written."""

    exit_code = 6


class NotJudged(JournalError, BuildError):
    """Too little of a source was judged, in the journal that was given, to build of it."""


class ReleaseError(RelabelError):
    """The Hub would not take or give a release, or what it gave is not what its manifest says."""

    exit_code = 7


class TrainingError(RelabelError):
    """A training run failed on the way. Its checkpoints are kept."""

    exit_code = 8


class JobError(RelabelError):
    """A Job on the Hub was refused, cannot be asked about, or did not complete."""

    exit_code = 9
