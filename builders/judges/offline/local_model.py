"""What a judge that computes says of its model: who it is, and which version."""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import Path
from typing import Any

from hf_relabel.builders.judges.offline.model_folder import PACKAGE_PREFIX, model_folder

_WEIGHTS = ("*.safetensors", "*.bin", "*.onnx", "*.pt")


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
        """(name, revision): a digest of the weights for a folder or a package, the commit for a Hub model."""
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
        """First 16 hex digits of the SHA-256 of the weight files in the model's folder."""
        assert self._folder is not None
        return weights_digest(self._folder)

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


def weights_digest(folder: Path, patterns: tuple[str, ...] = _WEIGHTS) -> str:
    """First 16 hex digits of the SHA-256 of the files in a folder, in the order of their paths."""
    digest = hashlib.sha256()
    files = {file for pattern in patterns for file in folder.rglob(pattern)}
    for file in sorted(files, key=lambda file: file.relative_to(folder).as_posix()):
        with file.open("rb") as weights:
            digest.update(hashlib.file_digest(weights, "sha256").digest())
    return digest.hexdigest()[:16]
