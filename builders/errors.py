"""The one error tree.

    RelabelError                     exit code 1
    ├── InputError                   2   what was given cannot be used
    │   ├── BadRow                       one row of a source: file, row number, field, remedy
    │   ├── SourceError                  a source cannot be opened or its format is not known
    │   ├── ConfigError                  a job file, an option or a setting
    │   └── CardError                    a README.md that cannot be merged with
    ├── EndpointError                3   one request to a judge failed
    │   └── …                            see hf_relabel.builders.endpoint
    ├── JudgingStopped               4   a run stopped before its end; what was judged is kept
    ├── JournalError                 5   the journal cannot be read or written
    ├── BuildError                   6   configs cannot be written
    ├── ReleaseError                 7   the Hub would not take or give a release
    ├── TrainingError                8   a training run failed
    └── JobError                     9   a Job on the Hub was refused, or did not complete

The command line prints `str(error)` as one line and exits with `exit_code`. Messages say what was found, where, and
what to do about it. They never hold a token.
"""

from __future__ import annotations


class RelabelError(Exception):
    """Base of every error this package raises on purpose."""

    exit_code = 1


class InputError(RelabelError):
    """What was given cannot be used."""

    exit_code = 2


class SourceError(InputError):
    """A source cannot be opened, or its format is not known."""


class ConfigError(InputError):
    """A job file, an option or a setting is wrong."""


class CardError(InputError):
    """A README.md cannot be merged with: its front matter is not YAML, or the markers around our part are broken."""


class BadRow(InputError):
    """One row of a source cannot be used.

    Args:
        file: name of the file as the user knows it.
        number: row number in that file, counted from 1.
        field: the field that is wrong, such as `negative_passages[3].text`.
        found: what was found there, in a few words.
        remedy: what the user can do.
    """

    def __init__(self, file: str, number: int, field: str, found: str, remedy: str) -> None:
        self.file, self.number, self.field, self.found, self.remedy = file, number, field, found, remedy
        super().__init__(f"{file}, row {number}, field {field!r}: {found}. {remedy}")


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


class ReleaseError(RelabelError):
    """The Hub would not take or give a release, or what it gave is not what its manifest says."""

    exit_code = 7


class TrainingError(RelabelError):
    """A training run failed on the way. Its checkpoints are kept."""

    exit_code = 8


class JobError(RelabelError):
    """A Job on the Hub was refused, cannot be asked about, or did not complete."""

    exit_code = 9
