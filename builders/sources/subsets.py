"""Names of subsets, which every collection spells its own way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.rows import subset_key


def subset_set(field: str, names: object) -> tuple[str, ...]:
    """Sorted subset keys of a list of names. Raises ConfigError."""
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise ConfigError(f"{field}: expected a list of subset names, found {names!r}")
    return tuple(sorted({subset_key(str(name)) for name in names}))


def subset_map(field: str, names: object) -> dict[str, str]:
    """Subset keys and what each is mapped to, sorted, from a mapping. Raises ConfigError."""
    if not isinstance(names, Mapping):
        raise ConfigError(f"{field}: expected a mapping from subset names to wordings, found {names!r}")
    return dict(sorted((subset_key(str(name)), str(word)) for name, word in names.items()))
