"""What lies beneath the adapters in a model's folder: another base makes another model of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path, PurePath

ADAPTER_CONFIG = "adapter_config.json"
"""Of peft, for LoRA and its kin."""


_NO_PART = (".*", "*.md", "*.csv", "*.png", "LICENSE*", "__pycache__", "checkpoint-*", "runs", "eval")
"""What stands in a model's folder and decides nothing: pages, evaluations, what is left of a training."""


def decides(name: PurePath) -> bool:
    """Whether a file of a model's folder is part of the model."""
    return not any(fnmatch(part, pattern) for part in name.parts for pattern in _NO_PART)


@dataclass(frozen=True, slots=True)
class Base:
    """The model that an adapter was trained on, as its config names it.

    Attributes:
        name: a folder or a Hub id.
        revision: branch, tag or commit; None for the main branch.
    """

    name: str
    revision: str | None

    @property
    def is_on_hub(self) -> bool:
        return not Path(self.name).is_dir()


def bases_in(folder: Path) -> Iterator[Base]:
    """Those of the adapters in a model's folder and its modules. A config that names none is passed over."""
    for path in sorted(folder.rglob(ADAPTER_CONFIG)):
        if decides(path.relative_to(folder)) and (base := base_of(path)) is not None:
            yield base


def base_of(path: Path) -> Base | None:
    """The base that a config names; None where it names none or cannot be read, which loading the model will tell."""
    try:
        config = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    name = config.get("base_model_name_or_path") if isinstance(config, dict) else None
    return Base(str(name), config.get("revision")) if name else None


def cached_commit(name: str, revision: str | None) -> str | None:
    """The commit of a Hub model in the local cache; None where it is not there."""
    from huggingface_hub import try_to_load_from_cache

    paths = (try_to_load_from_cache(name, file, revision=revision) for file in ("config.json", ADAPTER_CONFIG))
    return next((Path(path).parent.name for path in paths if isinstance(path, str)), None)


def version_digest(digest: str, versions: list[str]) -> str:
    """The digest of a model's own files, with the versions of what lies beneath; as it is where nothing does."""
    return hashlib.sha256("\0".join([digest, *versions]).encode()).hexdigest()[:16] if versions else digest
