"""Which column fills a role that nobody named, by what its values look like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hf_relabel.builders.messages.spelling import argument
from hf_relabel.builders.sources.column_names import listed
from hf_relabel.builders.sources.columns import (
    METADATA,
    Columns,
    Kind,
    Role,
    Unbound,
    check_bound,
    filled,
    holds_text,
    matching,
)
from hf_relabel.builders.sources.files import Record

_GUESSED = frozenset(["query", "positive", "passage"])
"""Roles that a column may be guessed for. That a column holds negatives or labels is known or said."""


def typical(records: Sequence[Record], given: Columns) -> Record:
    """One record that stands for the first ones: the columns of most of them, and those given, with a usual value.

    Where none is given, half of them are enough: of two rows, one lacks what the other has.
    """
    # No row has less than a query and a passage.
    records = [record for record in records if sum(map(holds_text, record.values())) > 1] or records
    values: dict[str, list[Any]] = {}
    for record in records:
        for name, value in record.items():
            values.setdefault(name, []).append(value)
    wanted = set(matching([column for columns in given.values() for column in columns], values))
    enough = len(records) // 2 + 1 if given else (len(records) + 1) // 2
    kept = {name: some for name, some in values.items() if len(some) >= enough or name in wanted}
    return {name: _usual(some) for name, some in kept.items()}


def _usual(values: Sequence[Any]) -> Any:
    there = [value for value in values if value is not None]
    filled = [value for value in there if not isinstance(value, (list, str)) or value] or there
    kinds = [_plain_kind(value) for value in filled]
    return filled[kinds.index(max(kinds, key=kinds.count))] if filled else None


def _plain_kind(value: Any) -> str:
    return type(value).__name__ if isinstance(value, (str, list, dict)) else "other"


def guessed(roles: Mapping[str, Role], given: Columns, record: Record) -> dict[str, str]:
    """The columns of the roles that no name fills, where for each just one column is left that may be it.

    Raises:
        Unbound: there is none, or there are several.
    """
    bound = filled(roles, given, record)
    check_bound(roles, given, record, bound)
    open_roles = [name for name, role in roles.items() if role.required and name not in bound.columns]
    left = [name for name in bound.unread if holds_text(record[name])]
    found = {role: [name for name in left if _may_be(roles[role].kind, record[name])] for role in open_roles}
    certain = all(role in _GUESSED and len(names) == 1 and names[0] not in METADATA for role, names in found.items())
    certain = certain and len({names[0] for names in found.values()}) == len(open_roles) == len(left)
    if not open_roles or certain:
        return {role: names[0] for role, names in found.items()}
    some_are_known = any(role.required and name in bound.columns for name, role in roles.items())
    still_open = len(open_roles) if some_are_known else 0
    raise Unbound(open_roles[0], left, _question(open_roles, left), _answer(open_roles, left), True, still_open)


def _may_be(kind: Kind, value: Any) -> bool:
    return isinstance(value, list if kind == "list" else str)


def _question(open_roles: Sequence[str], left: Sequence[str]) -> str:
    known = f"Left are: {listed(left, 30)}" if left else "No column of text is left"
    return f"no known name says which column is the {' and the '.join(open_roles)}. {known}"


def _answer(open_roles: Sequence[str], left: Sequence[str]) -> str:
    likely = [name for name in left if name not in METADATA] or list(left)
    said = {role: likely[index] if index < len(likely) else "NAME" for index, role in enumerate(open_roles)}
    return f"Say it, for example {argument('columns', said)}."
