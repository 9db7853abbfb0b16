"""Which column of a record plays which role: the query, the positive, the negatives, the label …

A role is filled by the columns that the user names, else by the one column with a name that is known for it, else,
where exactly one column is left, by that one: a guess, and it is said to be one. Nothing else is taken, and no column
that looks like a query or a passage is left out without a word.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal, TypeAlias

from hf_relabel.builders.messages.spelling import argument
from hf_relabel.builders.sources.column_names import listed
from hf_relabel.builders.sources.files import Record

Columns: TypeAlias = Mapping[str, tuple[str, ...]]
"""The columns of each role. Of those that a user gives, `*` stands for anything (`negative_*`)."""

Kind: TypeAlias = Literal["text", "texts", "list", "passages", "label", "any"]

IGNORE = "ignore"
ANY_ROLE = "ROLE"
"""Stands in messages for one of the `ROLES`."""
ROLES = {
    "query": "the query",
    "positive": "a relevant passage, or a list of them; may be given more than once",
    "negative": "a hard negative, or a list of them; may be given more than once",
    "passage": "the passage, or a list of passages, that `label` is about",
    "label": "whether `passage` is relevant: 1 or 0, or a grade or score with `relevant_from`",
    "id": "the id of the query",
    "docid": "the id of the only passage of a record",
    "title": "the title of the only passage of a record",
    "subset": "the subset a row belongs to",
    IGNORE: "a column that is not to be read",
}
"""What a user may give columns for."""

# Never taken by a guess: what such a column holds is seldom a query or a passage.
METADATA = frozenset(
    [
        "id",
        "_id",
        "idx",
        "index",
        "uid",
        "uuid",
        "qid",
        "pid",
        "docid",
        "doc_id",
        "title",
        "language",
        "lang",
        "locale",
        "source",
        "url",
        "uri",
        "link",
        "type",
        "prompt",
        "instruction",
        "instructions",
        "dataset",
        "domain",
        "category",
        "topic",
        "task",
        "split",
        "author",
        "date",
        "model",
        "license",
        "score",
        "label",
        "name",
    ]
)

_SIDE = re.compile(r"(?:hard[_-]?)?(neg|pos)(?:ative|itive)?s?(?:[_-]?\d+|[_-].*)?$")
_OF_A_SIDE = re.compile(r"(?:ids?|scores?|ranks?|indices|labels?|logits?|prompts?)$")
_NUMBERED = re.compile(r"(query|anchor|question|sentence|passage|document|answer|text|doc)[_-]?\d+$")


@dataclass(frozen=True)
class Role:
    """How a format fills a role.

    Attributes:
        names: known names of its column, the format's own first.
        kind: what is in it.
        several: whether the user may give several columns.
        every: whether all known names are read, not the one that is there.
        pattern: further names, all of which are read, in the order of their numbers.
    """

    names: tuple[str, ...]
    kind: Kind = "text"
    required: bool = True
    several: bool = False
    every: bool = False
    pattern: re.Pattern[str] | None = None


class Unbound(Exception):
    """A role cannot be filled, or a column would be lost.

    Attributes:
        missing: no column is there for the role.
        still_open: how many roles have none, while others have theirs; 0 where none has.
    """

    def __init__(
        self, role: str, columns: Sequence[str], found: str, remedy: str, missing: bool = False, still_open: int = 0
    ) -> None:
        super().__init__(found)
        self.role, self.columns, self.found, self.remedy = role, columns, found, remedy
        self.missing, self.still_open = missing, still_open


@dataclass(frozen=True, slots=True)
class Bound:
    """The columns of one record by role, where there are any, and those nobody reads."""

    columns: Columns
    unread: tuple[str, ...] = ()

    def one(self, role: str, default: str = "") -> str:
        """The first column of a role."""
        columns = self.columns.get(role)
        return columns[0] if columns else default

    def all(self, role: str) -> tuple[str, ...]:
        """All columns of a role."""
        return self.columns.get(role, ())


def bind(roles: Mapping[str, Role], given: Columns, record: Record) -> Bound:
    """Fill the roles of a format out of one record.

    Raises:
        Unbound: a role that is needed has no column or several, or a column that looks like one of a role is not read.
    """
    bound = filled(roles, given, record)
    if (
        role := next((name for name, role in roles.items() if role.required and not bound.all(name)), None)
    ) is not None:
        raise _missing(role, given.get(role) or roles[role].names, record)
    check_bound(roles, given, record, bound)
    return bound


def filled(roles: Mapping[str, Role], given: Columns, record: Record) -> Bound:
    """All columns that each role may have, and the columns that are left."""
    taken = {name for columns in given.values() for name in matching(columns, record)}
    columns: dict[str, tuple[str, ...]] = {}
    for name, role in roles.items():
        found = matching(given[name], record) if name in given else _known(role, record, taken)
        if found:
            columns[name] = tuple(found)
            taken.update(found)
    return Bound(columns, tuple(str(name) for name in record if name not in taken))


def check_bound(roles: Mapping[str, Role], given: Columns, record: Record, bound: Bound) -> None:
    """Whether each role has as many columns as it may have, and none is lost.

    Raises:
        Unbound: not so.
    """
    for name, role in roles.items():
        if len(bound.all(name)) > 1 and not (role.every or role.pattern or (name in given and role.several)):
            raise _several(name, bound.all(name))
    spoken_of = {name: looks_like(name, roles) for name in bound.unread if holds_text(record.get(name))}
    if lost := {name: role for name, role in spoken_of.items() if role is not None and role not in given}:
        raise lost_columns(lost, bound, record)


def matching(columns: Iterable[str], names: Iterable[Any]) -> list[str]:
    """The names that are among the columns, where `*` stands for anything (what it finds is sorted by number)."""
    there = [name for name in names if isinstance(name, str)]
    found: dict[str, None] = {}
    for column in columns:
        if column in there:
            found[column] = None
        elif "*" in column:
            found.update(dict.fromkeys(sorted((name for name in there if fnmatchcase(name, column)), key=_natural)))
    return list(found)


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d{1,18})", name)]


def _known(role: Role, record: Record, taken: Iterable[str]) -> list[str]:
    free = [name for name in record if isinstance(name, str) and name not in taken and suits(record[name], role.kind)]
    if role.pattern is not None:
        found = sorted((name for name in free if role.pattern.fullmatch(name)), key=_natural)
    else:
        found = [name for name in role.names if name in free]
    # Tables have all columns in all rows: an empty one counts only where there is no other.
    return [name for name in found if record[name] is not None] or found


def suits(value: Any, kind: Kind) -> bool:
    """Whether a value may be what a role holds. Details are looked at when the record becomes a row."""
    if value is None or kind == "any":
        return True
    if kind in ("text", "label"):
        return not isinstance(value, (list, dict))
    if kind == "texts":
        return not isinstance(value, dict)
    return isinstance(value, list) or (kind == "passages" and isinstance(value, dict))


def holds_text(value: Any) -> bool:
    """Whether a value is a text, a passage, or a list of them."""
    if isinstance(value, list):
        return bool(value) and holds_text(value[0])
    return bool(value) and isinstance(value, (str, dict))


def looks_like(name: str, roles: Mapping[str, Role]) -> str | None:
    """The role that the name of a column speaks of, if any."""
    bare = name.casefold()
    for role_name, role in roles.items():
        if name in role.names and role.kind != "any":
            return role_name
    if _OF_A_SIDE.search(bare):
        return None
    if side := _SIDE.match(bare):
        return "negative" if side[1] == "neg" else "positive"
    numbered = _NUMBERED.match(bare)
    if numbered is None:
        return None
    return "query" if numbered[1] in ("query", "anchor", "question", "sentence") else "positive"


def _several(role: str, found: Sequence[str]) -> Unbound:
    remedy = f"Say which it is: {argument('columns', {role: found[0]})}."
    return Unbound(role, found, f"the columns {', '.join(found)} could each be the {role}", remedy)


def _missing(role: str, wanted: Sequence[str], record: Record) -> Unbound:
    has = listed(record)
    said = argument("columns", {role: "NAME"})
    remedy = f"The row has: {has}. Add the field, or say which holds the {role}: {said}."
    return Unbound(role, wanted, "missing", remedy, missing=True)


def lost_columns(lost: Mapping[str, str], bound: Bound, record: Record, by: str = "") -> Unbound:
    """Columns of text that no role takes, all of them at once.

    Args:
        lost: for each the role that it is likely of, or `ANY_ROLE`.
        by: what does not read them, where they are none of a role that has columns.
    """
    several = {role: bound.all(role) for role in lost.values() if role in ("positive", "negative")}
    read_too = len(several) == len(set(lost.values())) and all(several.values())
    beside = ", ".join(name for role in dict.fromkeys(lost.values()) for name in bound.all(role))
    said = {
        role: together([*several.get(role, ()), *(name for name in lost if lost[name] == role)], record)
        for role in dict.fromkeys(lost.values())
    }
    holds, it, what = ("holds", "it", "it is") if len(lost) == 1 else ("hold", "them", "they are")
    remedy = f"Read {it} too" if read_too else f"Say what {what}"
    roles = f" Roles are: {', '.join(ROLES)}." if ANY_ROLE in said else ""
    return Unbound(
        next(iter(said)),
        list(lost),
        f"{listed(lost)} {holds} text that is not read{f' beside {beside}' if beside else by}",
        f"{remedy} ({argument('columns', said)}), or leave {it} out"
        f" ({argument('columns', {IGNORE: together(list(lost), record)})}).{roles}",
    )


def together(names: Sequence[str], record: Record) -> str | list[str]:
    """Columns as they are given: the only one, one pattern for all that differ by a number alone, or each."""
    if len(names) == 1:
        return names[0]
    stems = {stem_of(name) for name in names}
    pattern = f"{next(iter(stems))}*"
    return pattern if len(stems) == 1 and set(matching([pattern], record)) == set(names) else list(names)


def stem_of(name: str) -> str | None:
    """`wrong_` of `wrong_2`; None where no number ends the name."""
    found = re.fullmatch(r"(.*\D)\d{1,18}", name, re.DOTALL)
    return None if found is None else found[1]


# A file's first records


def lost_prose(record: Record, bound: Bound) -> list[str]:
    """Columns of sentences, or of lists of them, that nobody reads, and whose names do not say they are no passages."""
    return [name for name in bound.unread if name not in METADATA and _is_prose(record.get(name))]


def _is_prose(value: Any) -> bool:
    if isinstance(value, list):
        return any(_is_prose(one.get("text") if isinstance(one, dict) else one) for one in value)
    return isinstance(value, str) and (len(value.split()) >= 4 or (not value.isascii() and len(value) >= 12))


# What the user gives
