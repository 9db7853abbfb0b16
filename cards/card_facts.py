"""What a data card is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hf_relabel.cards.example import Example

if TYPE_CHECKING:
    pass


@dataclass(frozen=True, slots=True)
class CardFacts:
    """What a data card tells.

    Example:
            release = open_release("cleaned")
            facts = CardFacts("user/train-relabeled", "v1.0.0", release.manifest, license="cc-by-4.0")

    Attributes:
        repo_id: where the release is, `user/repo`.
        version: its tag, such as `v1.0.0`; None if it has none.
        manifest: the content of manifest.json.
        license: its id on the Hub, such as `apache-2.0`; None keeps what the card says.
        language: language codes, such as `en`; none keeps what the card says.
        pretty_name: the title; None keeps what the card says, or takes the repository's name.
        tags, source_datasets: added to those that the card has. The source, if it is on the Hub, needs no mention.
        example: see `example_of`.
        prices: per stage "prompt" and "completion", US dollars per million tokens, where they are known.
        citation: BibTeX of the release; None writes an entry from the repository's name.
    """

    repo_id: str
    version: str | None
    manifest: Mapping[str, Any]
    license: str | None = None
    language: Sequence[str] = ()
    pretty_name: str | None = None
    tags: Sequence[str] = ()
    source_datasets: Sequence[str] = ()
    example: Example | None = None
    prices: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    citation: str | None = None
