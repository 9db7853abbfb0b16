"""What a judge that computes says of its model: who it is, and which version."""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import Path, PurePath
from typing import Any

from hf_relabel.builders.judges.offline.adapters import (
    ADAPTER_CONFIG,
    Base,
    base_of,
    bases_in,
    cached_commit,
    decides,
    version_digest,
)
from hf_relabel.builders.judges.offline.model_folder import PACKAGE_PREFIX, model_folder


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
        if any(base.is_on_hub for base in bases_in(self._folder)):
            _ = self._loaded  # only then it is sure which base is used: its branch may have moved since it was cached
        return folder_digest(self._folder)

    def _commit(self) -> str | None:
        """The commit of a Hub model in the local cache, loading the model if it is not there yet."""
        if self.revision is None or (commit := cached_commit(self.name, self.revision)) is None:
            _ = self._loaded  # an unpinned model is loaded first: the branch may have moved since it was cached
            commit = cached_commit(self.name, self.revision)
        found = commit or self.revision
        return found if found is None else self._with_base(found)

    def _with_base(self, commit: str) -> str:
        """The commit, and where it is of an adapter the version of its base."""
        from huggingface_hub import try_to_load_from_cache

        config = try_to_load_from_cache(self.name, ADAPTER_CONFIG, revision=commit)
        base = base_of(Path(config)) if isinstance(config, str) else None
        return commit if base is None else f"{commit}+{base_version(base)}"


def base_version(base: Base, above: frozenset[Path] = frozenset()) -> str:
    """The digest of a base in a folder, the commit of one from the Hub as far as it is known."""
    return (cached_commit(base.name, base.revision) or "") if base.is_on_hub else folder_digest(Path(base.name), above)


def folder_digest(folder: Path, above: frozenset[Path] = frozenset()) -> str:
    """First 16 hex digits of the SHA-256 of the files in a model's folder and their names: its weights, its tokenizer,
    how it pools, its prompts and templates. Of adapters, of their bases too.

    Args:
        above: folders of adapters that lie on this one, which are no bases of it whatever their configs say.
    """
    seen = above | {folder.resolve()}
    beneath = [base for base in bases_in(folder) if base.is_on_hub or Path(base.name).resolve() not in seen]
    return version_digest(_files_digest(folder), [base_version(base, seen) for base in beneath])


def _files_digest(folder: Path) -> str:
    digest = hashlib.sha256()
    files = {file.relative_to(folder): file for file in folder.rglob("*") if file.is_file()}
    for name in sorted(files, key=PurePath.as_posix):
        if not decides(name):
            continue
        with files[name].open("rb") as content:
            digest.update(hashlib.file_digest(content, "sha256").digest())
        digest.update(hashlib.sha256(name.as_posix().encode()).digest())
    return digest.hexdigest()[:16]
