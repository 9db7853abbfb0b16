"""Names of subsets, which every collection spells its own way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.rows import Row, subset_key


def subset_set(field: str, names: object) -> tuple[str, ...]:
    """Sorted subset keys of a list of names. Raises ConfigError."""
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise ConfigError(f"{field}: expected a list of subset names, found {names!r}")
    return tuple(sorted({subset_key(str(name)) for name in names}))


def exempt_of(judges: Iterable[object]) -> frozenset[str]:
    """Keys of the subsets that some judges leave alone: those in the `exempt_subsets` of each, where it has any."""
    return frozenset(subset_key(str(name)) for judge in judges for name in getattr(judge, "exempt_subsets", ()))


def is_exempt(row: Row, exempt: frozenset[str]) -> bool:
    """Whether the row's subset is one of those that are not judged, as `exempt_of` gives them."""
    return bool(exempt) and subset_key(row.subset) in exempt


def subset_map(field: str, names: object) -> dict[str, str]:
    """Subset keys and what each is mapped to, sorted, from a mapping. Raises ConfigError."""
    if not isinstance(names, Mapping):
        raise ConfigError(f"{field}: expected a mapping from subset names to wordings, found {names!r}")
    return dict(sorted((subset_key(str(name)), str(word)) for name, word in names.items()))
