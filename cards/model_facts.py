"""What a model card is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from hf_relabel.cards.training_report import TrainingReport


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What a model card tells.

    Attributes:
        repo_id: where the model is, `user/repo`.
        version: its tag, such as `v1.0.0`; None if it has none.
        report: of its training.
        license: its id on the Hub, such as `apache-2.0`; None keeps what the card says.
        language: language codes, such as `en`; none keeps what the card says.
        pretty_name: the title of a new card; None takes the repository's name.
        tags: added to those that the card has.
        citation: BibTeX of the model; None writes an entry from the repository's name.
        data_url: where the data can be had that is not on the Hub.
        links: more to read, address by name.
        adapters_merged: whether LoRA's adapters were added to the weights, so that the model loads without peft.
    """

    repo_id: str
    version: str | None
    report: TrainingReport
    license: str | None = None
    language: Sequence[str] = ()
    pretty_name: str | None = None
    tags: Sequence[str] = ()
    citation: str | None = None
    data_url: str | None = None
    links: Mapping[str, str] = field(default_factory=dict)
    adapters_merged: bool = False
