"""The front matter of a README.md, edited as text: what is not ours keeps its bytes, its order and its comments.

A round trip through ruamel.yaml (0.19, quotes preserved) does not keep them: it indents lists and maps anew, takes away
blanks (in flow lists, after colons, at ends of lines) and escapes, joins plain texts over several lines, turns `~` and
`null` into nothing, doubles carriage returns after comments, and refuses a tab before a comment.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hf_relabel.builders.errors import CardError
from hf_relabel.builders.readme.markers import LINE

_WIDTH = 1_000
"""Long enough that no value is folded."""


@dataclass(frozen=True, slots=True)
class Readme:
    """A README.md in parts; together they are the file.

    Attributes:
        opening: what stands before the YAML, `---` included; "" where there is no front matter.
        yaml: the YAML, "" or lines.
        closing: the `---` that ends it.
        body: all that follows.
        eol: how lines end in this file.
    """

    opening: str
    yaml: str
    closing: str
    body: str
    eol: str

    @classmethod
    def parse(cls, text: str) -> Readme:
        """Take a README.md apart as the Hub does: a first line `---`, and the next such line."""
        bom = "\ufeff" if text.startswith("\ufeff") else ""
        lines = [match[0] for match in LINE.finditer(text[len(bom) :])]
        eol = "\r\n" if lines and lines[0].endswith("\r\n") else "\n"
        first = next((index for index, line in enumerate(lines) if line.strip()), len(lines))
        if first < len(lines) and re.fullmatch(r"\s*---[\r\n]+", lines[first]):
            for index in range(first + 1, len(lines)):
                if re.fullmatch(r"---[ \t]*(\r?\n)?", lines[index]):
                    return cls(
                        opening=bom + "".join(lines[: first + 1]),
                        yaml="".join(lines[first + 1 : index]),
                        closing=lines[index],
                        body="".join(lines[index + 1 :]),
                        eol=eol,
                    )
        return cls(opening=bom, yaml="", closing="", body="".join(lines), eol=eol)

    @property
    def first_line(self) -> int:
        """The number of the YAML's first line in the file."""
        return _line_count(self.opening) + 1

    @property
    def body_line(self) -> int:
        """The number of the body's first line in the file."""
        return self.first_line + _line_count(self.yaml) + _line_count(self.closing)

    def metadata(self) -> dict[str, Any]:
        """The values of the front matter.

        Raises:
            CardError: it is not YAML, or no names with values.
        """
        return _values(self.yaml, self.first_line)

    def with_values(self, values: Mapping[str, Any]) -> Readme:
        """The same with these values, None to take a name out. A value that is there already is not touched.

        Raises:
            CardError: the YAML is written in a way that cannot be edited name by name.
        """
        text, known = self.yaml, self.metadata()
        for name, value in values.items():
            if known.get(name) != value:
                text = _with_value(text, name, value, self.eol, self.first_line)
                known = {other: known[other] for other in known if other != name or value is not None}
                known |= {} if value is None else {name: value}
                _check(text, known, name, self.first_line)
        opening, closing = self.opening, self.closing
        if not closing:
            opening, closing = f"{opening}---{self.eol}", f"---{self.eol}"
        elif not closing.endswith("\n"):
            closing += self.eol
        return Readme(opening, text, closing, self.body, self.eol)

    def with_body(self, body: str) -> str:
        """The whole file with another body."""
        return self.opening + self.yaml + self.closing + body


def _line_count(text: str) -> int:
    return sum(1 for _ in LINE.finditer(text))


def _values(text: str, first_line: int) -> dict[str, Any]:
    import yaml

    try:
        values = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        number = first_line + (error.problem_mark.line if error.problem_mark else 0)
        raise CardError(
            f"README.md, line {number}: the front matter is not valid YAML ({error.problem}). Correct it."
        ) from error
    except (yaml.YAMLError, ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        # Dates and numbers that are none, such as 2024-13-45, raise what Python's own types raise.
        raise CardError(
            f"README.md, line {first_line}: the front matter cannot be read ({error}). Correct it."
        ) from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise CardError(f"README.md, line {first_line}: the front matter is no list of names with values. Correct it.")
    return values


def _with_value(text: str, name: str, value: Any, eol: str, first_line: int) -> str:
    """The YAML with another value for a name: in its place, or at the end. None takes it out."""
    root = _root(text, first_line)
    keys = [] if root is None else root.value
    indent = root.start_mark.column if keys else 0
    new = "" if value is None else _dump(name, value, indent, eol)
    places = [index for index, (key, _) in enumerate(keys) if key.value == name]
    if len(places) > 1:
        number = first_line + keys[places[1]][0].start_mark.line
        raise CardError(f"README.md, line {number}: {name!r} stands in the front matter twice. Delete one.")
    if not places:
        return text + new
    start, end = _place(text, keys, places[0])
    return text[:start] + new + text[end:]


def _root(text: str, first_line: int) -> Any:
    import yaml

    root = yaml.compose(text, Loader=yaml.SafeLoader)
    if isinstance(root, yaml.MappingNode) and root.flow_style:
        raise CardError(
            f"README.md, line {first_line}: the front matter is written in braces. Put each name on a line of its own."
        )
    return root


def _place(text: str, keys: list[tuple[Any, Any]], index: int) -> tuple[int, int]:
    """From where to where a name and its value stand in the YAML, without the comments and blank lines below."""
    key, value = keys[index]
    start = key.start_mark.index - key.start_mark.column
    end = len(text)
    if index + 1 < len(keys):
        mark = keys[index + 1][0].start_mark
        end = mark.index - mark.column
    last = _last_character(value)
    if not key.end_mark.index <= last <= end:  # an alias: its value stands elsewhere
        last = key.end_mark.index
    lines = list(LINE.finditer(text, start, end))
    while lines and lines[-1].start() >= last and re.match(r"[ \t]*(#|[\r\n]*$)", lines[-1][0]):
        end = lines.pop().start()
    return start, end


def _last_character(node: Any) -> int:
    """Where a value ends. The end that the parser gives for lists is where the next name begins."""
    if isinstance(node.value, list) and not node.flow_style:
        child = node.value[-1]
        return _last_character(child[1] if isinstance(child, tuple) else child)
    return int(node.end_mark.index)


def _dump(name: str, value: Any, indent: int, eol: str) -> str:
    import yaml

    text = yaml.safe_dump({name: value}, sort_keys=False, allow_unicode=True, width=_WIDTH)
    return "".join(" " * indent + line + eol for line in text.splitlines())


def _check(text: str, expected: Mapping[str, Any], name: str, first_line: int) -> None:
    """Make sure that an edit did what it should; YAML has more corners than one can list."""
    try:
        values = _values(text, first_line)
        is_right = list(values) == list(expected) and values.get(name) == expected.get(name)
    except CardError:
        is_right = False
    if not is_right:
        raise CardError(
            f"README.md, line {first_line}: the front matter is written so that {name!r} cannot be changed without "
            "touching the rest (anchors, tags or document marks). Write it in the plain form, one name a line."
        )
