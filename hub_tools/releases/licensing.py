"""License and language of a data set: as given, as in the card that is there, or as in the source's card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.messages.spelling import argument

if TYPE_CHECKING:
    from huggingface_hub import HfApi


@dataclass(frozen=True, slots=True)
class Legal:
    """What goes into the card, None or empty where the card that is there says it."""

    license: str | None = None
    language: Sequence[str] = ()


def find_legal(
    api: HfApi,
    repo_id: str,
    card: str | None,
    source: Mapping[str, Any],
    license: str | None,
    language: str | Sequence[str],
) -> Legal:
    """License and language of a release.

    Args:
        card: the README.md that is there.
        source: of a manifest.
        license, language: as given.

    Raises:
        ConfigError: no license is known.
    """
    present, theirs = front_matter(card), _source_card(api, source)
    license = license or (None if present.get("license") else theirs.get("license"))
    if not license and not present.get("license"):
        raise ConfigError(
            f"{repo_id} needs a license, and that of the source is not known. Say under which one the"
            f" data may be used: {argument('license', 'apache-2.0')}, cc-by-4.0, …, or `unknown`."
        )
    language = language or (() if present.get("language") else theirs.get("language") or ())
    return Legal(license, (language,) if isinstance(language, str) else tuple(map(str, language)))


def _source_card(api: HfApi, source: Mapping[str, Any]) -> Mapping[str, Any]:
    """The front matter of the source's card, empty where the source is not on the Hub or cannot be asked."""
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    name, revision = source.get("name"), source.get("revision")
    if not isinstance(name, str) or not revision:
        return {}
    try:
        data = api.dataset_info(name.partition(":")[0], revision=revision).card_data
    except (HfHubHTTPError, HFValidationError, OSError):
        return {}
    values: Mapping[str, Any] = dict(vars(data)) if data is not None else {}
    license_ = values.get("license")
    return {**values, "license": license_ if isinstance(license_, str) else None}


def front_matter(text: str | None) -> Mapping[str, Any]:
    """The front matter of a card; what is wrong with it is told when the card is merged."""
    import yaml
    from huggingface_hub import DatasetCard

    if not text:
        return {}
    try:
        return dict(vars(DatasetCard(text, ignore_metadata_errors=True).data))
    except (ValueError, yaml.YAMLError):
        return {}
