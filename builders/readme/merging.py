"""Merging a README.md with what we have to say: our names in the front matter, our block in the text."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

from hf_relabel.builders.config_names import ALL_VIEWS, SUSPECTS, VERDICTS, config_names
from hf_relabel.builders.errors import CardError
from hf_relabel.builders.readme.front_matter import Readme
from hf_relabel.builders.readme.markers import put_block
from hf_relabel.builders.techniques import Technique

_EVER_OURS = frozenset({*map(str, Technique), VERDICTS, SUSPECTS, *ALL_VIEWS})


def merge_readme(
    earlier: str | None,
    *,
    title: str,
    values: Callable[[Mapping[str, Any]], Mapping[str, Any]],
    content: Callable[[Mapping[str, Any]], str],
) -> str:
    """A README.md with our values and our block. All else stays as it was, byte for byte.

    Args:
        earlier: the README.md that is there, None if there is none.
        title: Markdown for the first heading of a new one.
        values: given the front matter as it is, what our names in it should be; None takes one out.
        content: given the front matter as it is, the Markdown that goes between our markers.

    Raises:
        CardError: the front matter cannot be read or edited, or the markers are broken.
    """
    readme = Readme.parse(f"# {title}\n" if earlier is None else earlier)
    metadata = readme.metadata()
    body = put_block(readme.body, content(metadata), eol=readme.eol, first_line=readme.body_line)
    return readme.with_values(values(metadata)).with_body(body)


def config_values(
    metadata: Mapping[str, Any], settings: Mapping[str, Any], files: Mapping[str, Mapping[str, Any]] | None = None
) -> dict[str, Any]:
    """`configs` and `dataset_info` of the front matter: ours as they are now, others' as they were.

    Exactly one config is the default: ours, unless the repository holds one that is called "default", which `datasets`
    takes whatever is marked.

    Args:
        settings: the `settings` of a manifest.
        files: its `files`: what tells this content of a config from another.

    Raises:
        CardError: `configs` is no list of configs.
    """
    names = config_names(settings)
    foreign = [config for config in _listed(metadata) if not _is_ours(config, names)]
    default = None if has_foreign_default(metadata, settings) else settings["default_config"]
    configs = [_config(name, settings["split"], files or {}, is_default=name == default) for name in names]
    configs += [{key: value for key, value in config.items() if key != "default"} for config in foreign]
    return {"configs": configs, **_dataset_info(metadata, names)}


def has_foreign_default(metadata: Mapping[str, Any], settings: Mapping[str, Any]) -> bool:
    """Whether the repository holds somebody else's config that is called "default"."""
    names = settings["techniques"]
    return any(config["config_name"] == "default" and "default" not in names for config in _listed(metadata))


def _listed(metadata: Mapping[str, Any]) -> list[dict[str, Any]]:
    configs = metadata.get("configs") or []
    if not isinstance(configs, list) or not all(isinstance(item, dict) and "config_name" in item for item in configs):
        raise CardError("README.md: `configs` in the front matter must be a list, each entry with a config_name.")
    return configs


def _config(name: str, split: str, files: Mapping[str, Mapping[str, Any]], *, is_default: bool) -> dict[str, Any]:
    # None of ours is called "default": datasets mishandles that name.
    config: dict[str, Any] = {"config_name": name, "data_files": [{"split": split, "path": f"{name}/{split}-*"}]}
    if content := sorted((path, entry["sha256"]) for path, entry in files.items() if path.startswith(f"{name}/")):
        # `datasets` keeps what it loads of a folder by the folder's name and what stands here, not by the files:
        # without this, a folder that is built again would be loaded as it was before.
        config["description"] = f"content {hashlib.sha256(repr(content).encode()).hexdigest()[:16]}"
    return config | ({"default": True} if is_default else {})


def _is_ours(config: Mapping[str, Any], names: list[str]) -> bool:
    """Whether an entry is one that we write, or wrote for a technique that is no longer built."""
    name = config["config_name"]
    if name in names:
        return True
    files = config.get("data_files")
    if name not in _EVER_OURS or not isinstance(files, list) or len(files) != 1 or not isinstance(files[0], dict):
        return False
    return bool(files[0].get("path") == f"{name}/{files[0].get('split')}-*")


def _dataset_info(metadata: Mapping[str, Any], names: list[str]) -> dict[str, Any]:
    """Features and sizes of earlier files, as `datasets` writes them, would not fit ours."""
    info = metadata.get("dataset_info")
    entries = info if isinstance(info, list) else [info]
    kept = [entry for entry in entries if not (isinstance(entry, dict) and entry.get("config_name") in names)]
    if info is None or len(kept) == len(entries):
        return {}
    return {"dataset_info": kept or None}
