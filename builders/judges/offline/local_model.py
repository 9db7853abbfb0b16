"""What a judge that computes says of its model: who it is, and which version."""

from __future__ import annotations

import hashlib
from fnmatch import fnmatch
from functools import cached_property
from pathlib import Path, PurePath
from typing import Any

from hf_relabel.builders.judges.offline.model_folder import PACKAGE_PREFIX, model_folder

_NO_PART = (".*", "*.md", "*.csv", "*.png", "LICENSE*", "__pycache__", "checkpoint-*", "runs", "eval")
"""What stands in a model's folder and decides nothing: pages, evaluations, what is left of a training."""


class LocalModel:
    """A model in a folder, in an installed package, or in the cache of the Hub."""

    name: str
    revision: str | None

    @property
    def _loaded(self) -> Any:
        """The model itself, loaded on first use."""
        raise NotImplementedError

    def load(self) -> None:
        """Load the model now, and not on first use."""
        _ = self._loaded

    @property
    def loaded(self) -> Any:
        """The model of sentence-transformers (or what else it is), loaded on first use.

        Raises:
            ConfigError: it cannot be loaded.
        """
        return self._loaded

    def model(self) -> tuple[str, str | None]:
        """(name, revision): a digest of the folder or package, the commit for a Hub model."""
        folder = self._folder
        if folder is not None:
            return self.name if self.name.startswith(PACKAGE_PREFIX) else folder.resolve().name, self._digest
        return self.name, self._commit()

    @cached_property
    def _folder(self) -> Path | None:
        """The model's folder; None for a Hub model."""
        return model_folder(self.name)

    @cached_property
    def _digest(self) -> str:
        assert self._folder is not None
        return folder_digest(self._folder)

    def _commit(self) -> str | None:
        """The commit of a Hub model in the local cache, loading the model if it is not there yet."""
        from huggingface_hub import try_to_load_from_cache

        def cached() -> str | None:
            path = try_to_load_from_cache(self.name, "config.json", revision=self.revision)
            return Path(path).parent.name if isinstance(path, str) else None

        if self.revision is None or (commit := cached()) is None:
            _ = self._loaded  # an unpinned model is loaded first: the branch may have moved since it was cached
            commit = cached()
        return commit or self.revision


def folder_digest(folder: Path) -> str:
    """First 16 hex digits of the SHA-256 of the files in a model's folder and their names: its weights, its tokenizer,
    how it pools, its prompts and templates."""
    digest = hashlib.sha256()
    files = {file.relative_to(folder): file for file in folder.rglob("*") if file.is_file()}
    for name in sorted(files, key=PurePath.as_posix):
        if any(fnmatch(part, pattern) for part in name.parts for pattern in _NO_PART):
            continue
        with files[name].open("rb") as content:
            digest.update(hashlib.file_digest(content, "sha256").digest())
        digest.update(hashlib.sha256(name.as_posix().encode()).digest())
    return digest.hexdigest()[:16]
