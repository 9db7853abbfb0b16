"""The names that `datasets` gives the numbers of a label column (`ClassLabel`), which say what a 1 stands for.

Labels are read as 1 for relevant and 0 for not. A column whose names say otherwise, or leave it open, is refused.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from hf_relabel.builders.errors import SourceError

ClassNames: TypeAlias = Mapping[str, tuple[str, ...]]
"""The names of the classes, by column: the first is that of 0."""

_NO = ("no", "false", "negative", "neg", "bad", "wrong", "incorrect", "different")
_YES = ("yes", "true", "positive", "pos", "good", "right", "correct", "same")
_NEGATIONS = ("not_", "not", "non_", "non", "no_", "ir", "un", "in", "dis")


def class_names(features: Mapping[str, Any] | None) -> dict[str, tuple[str, ...]]:
    """The names out of the features of a `datasets` object; of lists of labels as well."""
    found = {column: _names(feature) for column, feature in (features or {}).items()}
    return {column: names for column, names in found.items() if names}


def class_names_of_schema(schema: Any) -> dict[str, tuple[str, ...]]:
    """The names that `datasets` left in the metadata of an Arrow schema, as Parquet files of the Hub have them."""
    try:
        told = json.loads((schema.metadata or {})[b"huggingface"])
        return class_names(told["info"]["features"])
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        return {}  # Another program's metadata, or none.


def check_classes(names: ClassNames, columns: Iterable[str], relevant_from: float | None, told: str) -> None:
    """Whether a 1 in the columns of labels stands for relevant.

    Args:
        columns: those with the labels.
        relevant_from: the least label of a relevant passage, where the user said one.
        told: what messages call the data.

    Raises:
        SourceError: their names do not say so.
    """
    for column in columns:
        classes = names.get(column)
        if classes is None or _rises(classes):
            continue
        if relevant_from is not None and not _rises(classes[::-1]):
            continue  # Who says from which number on knows the numbers.
        numbered = ", ".join(f"{number} is {name!r}" for number, name in enumerate(classes[:6]))
        more = ", …" if len(classes) > 6 else ""
        raise SourceError(
            f"{told}: the label column {column!r} has classes with names ({numbered}{more}), and 1 is read as relevant,"
            " 0 as not. Recode it to such numbers first: "
            f'`data.cast_column({column!r}, datasets.Value("int64")).map(lambda row: {{{column!r}: '
            f"int(row[{column!r}] == N)}})`, where N is the number of the relevant class."
        )


def _names(feature: Any) -> tuple[str, ...]:
    """Of one feature: an object of the library, or what its JSON in a schema says."""
    while (inner := _inner(feature)) is not None:
        feature = inner
    names = feature.get("names") if isinstance(feature, Mapping) else getattr(feature, "names", None)
    kind = feature.get("_type") if isinstance(feature, Mapping) else type(feature).__name__
    return tuple(map(str, names)) if kind == "ClassLabel" and isinstance(names, (list, tuple)) else ()


def _inner(feature: Any) -> Any:
    """What a list is of, None where the feature is no list."""
    if isinstance(feature, list):
        return feature[0] if feature else None
    return feature.get("feature") if isinstance(feature, Mapping) else getattr(feature, "feature", None)


def _rises(names: Sequence[str]) -> bool:
    """Whether the names plainly go from not relevant to relevant: grades in order, or a word after its negation."""
    plain = ["_".join(name.casefold().replace("-", " ").replace("_", " ").split()) for name in names]
    if plain == [str(number) for number in range(len(plain))]:
        return True
    if len(plain) != 2:
        return False
    no, yes = plain
    return no in [negation + yes for negation in _NEGATIONS] or (no, yes) in zip(_NO, _YES, strict=True)
