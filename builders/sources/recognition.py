"""What format a file's first records are in, and what to do where they are in none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from hf_relabel.builders.errors import SourceError
from hf_relabel.builders.messages.nearest import did_you_mean
from hf_relabel.builders.messages.program import program
from hf_relabel.builders.messages.spelling import argument
from hf_relabel.builders.sources.column_guesses import guessed, typical
from hf_relabel.builders.sources.column_names import listed
from hf_relabel.builders.sources.columns import (
    ANY_ROLE,
    METADATA,
    Bound,
    Columns,
    Unbound,
    bind,
    holds_text,
    looks_like,
    lost_columns,
    lost_prose,
    stem_of,
)
from hf_relabel.builders.sources.files import Record, bare_name
from hf_relabel.builders.sources.formats import FORMATS, Format
from hf_relabel.builders.sources.given_columns import check_given

Guesses = Mapping[str, str]
_WORDS_OF_A_TEXT = 4
_KNOWN_NAMES = METADATA.union(
    *(role.names for format in FORMATS.values() for role in format.roles.values()),
)

# What people give that holds no rows, by the fields that tell, each with what to do: first what can be nothing else.
_NO_ROWS = (
    (
        ({"_id", "text"},),
        "This is a part of a BEIR set: give its folder, which holds corpus.jsonl, queries.jsonl and qrels/.",
    ),
    (({"outcome", "reason", "position"},), "These are the verdicts of a release: name another of its configs."),
)
_HARDLY_ROWS = (
    (({"messages"}, {"conversations"}), "These are chats; training rows of a retriever have a query and passages."),
    (
        ({"positive_id"}, {"pos_id"}, {"positive_document_ids"}, {"negative_id"}, {"corpus-id"}, {"corpus_id"}),
        "These are ids, not texts: join them with the corpus, or give a BEIR folder that holds both.",
    ),
)


def named_format(name: str) -> Format:
    """The format of that name.

    Raises:
        SourceError: there is none.
    """
    if name not in FORMATS:
        raise SourceError(f"There is no format {name!r}.{did_you_mean(name, FORMATS)} There are: {', '.join(FORMATS)}.")
    return FORMATS[name]


def recognised(records: Sequence[Record], file: str, name: str | None, given: Columns) -> tuple[Format, Guesses]:
    """The first format that fits most of the first records of a file (a bad row among them changes nothing), or the
    one that was named, with the columns that had to be guessed for it.

    Raises:
        SourceError: none fits, columns cannot be told from each other, or one that holds text would be lost.
    """
    check_given(given, records, file)
    record = typical(records, given)
    if not given and _has_no_header(file, record):
        raise SourceError(
            f"{file}: seems to have no header line: its first line has to name the columns, and holds {listed(record)}."
            " Put a line of names before it, such as `query`, `positive` and `negative`; or if these are names, say"
            f" which is which: {argument('columns', {'query': 'NAME', 'positive': 'NAME'})}."
        )
    try:
        format, guesses = (
            _found(record, given, file) if name is None else _named(named_format(name), record, given, file)
        )
        if not format.fixed:
            _check_lost(format, record, {**given, **{role: (column,) for role, column in guesses.items()}})
    except Unbound as unbound:
        raise SourceError(f"{file}: {unbound.found}. {unbound.remedy}") from None
    return format, guesses


def _has_no_header(file: str, record: Record) -> bool:
    """Whether the names of a table are texts or numbers, and none of them is that of a column."""
    if PurePosixPath(bare_name(file)).suffix not in (".csv", ".tsv") or len(record) < 2:
        return False
    names = [name.strip().casefold() for name in record]
    if any(name in _KNOWN_NAMES or looks_like(name, {}) is not None for name in names):
        return False
    return any(len(name.split()) >= _WORDS_OF_A_TEXT or name.isdecimal() for name in names)


def _fitting(record: Record, given: Columns) -> Format | None:
    return next((format for format in FORMATS.values() if format.bound_if_fits(record, given) is not None), None)


def _found(record: Record, given: Columns, file: str) -> tuple[Format, Guesses]:
    if (format := _fitting(record, given)) is not None:
        return format, {}
    _check_signs(record, file, _NO_ROWS)
    failures: list[Unbound] = []
    for format in FORMATS.values():
        if format.fixed or not format.takes(given):
            continue
        try:
            guesses = guessed(format.roles, given, record)
        except Unbound as unbound:
            failures.append(unbound)
        else:
            return format, guesses
    raise _no_format(record, file, failures)


def _check_signs(record: Record, file: str, known: Sequence[tuple[Sequence[set[str]], str]]) -> None:
    for signs, remedy in known:
        if any(sign <= record.keys() for sign in signs):
            raise SourceError(f"{file}: no known format has these fields: {listed(record)}. {remedy}")


def _no_format(record: Record, file: str, failures: Sequence[Unbound]) -> Exception:
    _check_signs(record, file, _HARDLY_ROWS)
    # The format of which the fewest roles are open is what it comes down to, if any is filled.
    near = min(
        (unbound for unbound in failures if unbound.still_open), key=lambda unbound: unbound.still_open, default=None
    )
    roles = ("query", "positive", "negative")[: max(2, sum(map(holds_text, record.values())))]
    return near or SourceError(
        f"{file}: no known format has these fields: {listed(record)}. Say which is which: "
        f"{argument('columns', dict.fromkeys(roles, 'NAME'))}. Known formats are: "
        f"{', '.join(FORMATS)}; `{program()} inspect --help` describes them."
    )


def _named(format: Format, record: Record, given: Columns, file: str) -> tuple[Format, Guesses]:
    if not format.takes(given):
        roles = ", ".join(format.roles) or "none"
        raise SourceError(
            f"{file}: not all columns can be given so for the format {format.name!r}. Its roles: {roles}."
        )
    if format.bound_if_fits(record, given, named=True) is not None:
        return format, {}
    try:
        if not format.fixed:
            return format, guessed(format.roles, given, record)
        bind(format.roles, given, record)
    except Unbound as unbound:
        other = _fitting(record, given)
        if other is None:
            raise
        raise SourceError(
            f"{file}: not in the format {format.name!r}, but in {other.name!r} ({other.description}). Leave"
            f" {argument('format')} out, or say which column is the {unbound.role}: "
            f"{argument('columns', {unbound.role: 'NAME'})}."
        ) from None
    raise SourceError(f"{file}: not in the format {format.name!r} ({format.description}).")


def _check_lost(format: Format, record: Record, columns: Columns) -> None:
    bound = bind(format.roles, columns, record)
    if lost := lost_prose(record, bound):
        likely = {name: _role_of_lost(name, lost, format, bound) for name in lost}
        raise lost_columns(likely, bound, record, f" by the format {format.name!r}")


def _role_of_lost(name: str, lost: Sequence[str], format: Format, bound: Bound) -> str:
    """The role that a column is likely of: what its name says, or that of those that differ by a number alone."""
    if (own := looks_like(name, format.roles)) is not None and bound.all(own):
        return own
    stem = stem_of(name)
    for role in ("positive", "negative"):
        if stem is not None and stem in map(stem_of, bound.all(role)):
            return role
    # What is left beside a query and its positive is most likely a negative, or several that are numbered.
    alone = len(lost) == 1 or (stem is not None and {stem} == set(map(stem_of, lost)))
    return "negative" if format.needs_mining and alone else ANY_ROLE
