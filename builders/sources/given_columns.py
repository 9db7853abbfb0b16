"""Columns that the user names for roles, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from hf_relabel.builders.errors import SourceError
from hf_relabel.builders.messages.nearest import did_you_mean
from hf_relabel.builders.sources.column_names import listed
from hf_relabel.builders.sources.columns import IGNORE, ROLES, Bound, Columns, matching
from hf_relabel.builders.sources.files import Record


def given_columns(columns: Mapping[str, str | Sequence[str]] | None, name: str) -> dict[str, tuple[str, ...]]:
    """Roles and columns as they are given, checked as far as that can be done without the data.

    Raises:
        SourceError: there is no such role.
    """
    given: dict[str, tuple[str, ...]] = {}
    for role, named in (columns or {}).items():
        if (wrong := no_such_role(role, named)) is not None:
            raise SourceError(f"{name}: {wrong}")
        texts = [named] if isinstance(named, str) else list(named) if isinstance(named, (list, tuple)) else []
        if not texts or not all(isinstance(text, str) for text in texts):
            raise SourceError(f"{name}: columns: {role} takes the name of a column or a list of names, not {named!r}.")
        given[role] = (named,) if isinstance(named, str) else tuple(named)
    if (wrong := in_two_roles(given, [column for columns in given.values() for column in columns])) is not None:
        raise SourceError(f"{name}: {wrong}")
    return given


def in_two_roles(given: Columns, names: Iterable[str]) -> str | None:
    """What is wrong where one column is given two roles; None where none is. `ignore` with a `*` is all that is left.

    Args:
        names: the columns there are.
    """
    roles: dict[str, str] = {}
    for role, columns in given.items():
        if role == IGNORE:
            columns = tuple(column for column in columns if "*" not in column)
        for column in matching(columns, names):
            if (other := roles.setdefault(column, role)) != role:
                return f"the column {column!r} cannot be the {other} and the {role}. Give each role its own."
    return None


def no_such_role(role: str, named: str | Sequence[str]) -> str | None:
    """What is wrong with a role that columns are given for; None where there is one of that name."""
    if role in ROLES:
        return None
    turned = isinstance(named, str) and named in ROLES
    hint = f" Did you mean {named}={role}?" if turned else did_you_mean(str(role), ROLES)
    return f"columns play no role {role!r}.{hint} Roles are: {', '.join(ROLES)}."


def check_given(given: Columns, records: Sequence[Record], file: str) -> None:
    """Whether the columns that were given are there, each in one role.

    Raises:
        SourceError: one is not, with those there are, or has two roles.
    """
    there = list(dict.fromkeys(str(name) for record in records for name in record))
    if (wrong := in_two_roles(given, there)) is not None:
        raise SourceError(f"{file}: {wrong}")
    for role, columns in given.items():
        for column in columns:
            if not matching([column], there):
                hint, known = did_you_mean(column, there), listed(there, 30)
                raise SourceError(f"{file}: there is no column {column!r} ({role}).{hint} There are: {known}.")


def described(bound: Bound, given: Columns, guesses: Iterable[str]) -> Iterator[str]:
    """`query ← question`, one for each role that has a column of another name, and for each guess."""
    guesses = set(guesses)
    for role, columns in bound.columns.items():
        if role in guesses:
            yield f"{role} ← {columns[0]} (guessed: the only text column left)"
        elif role in given or columns[0].removesuffix("_passages") not in (role, f"query_{role}"):
            yield f"{role} ← {', '.join(columns[:3])}{' …' if len(columns) > 3 else ''}"
