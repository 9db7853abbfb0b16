"""The sample of an audit: blind, stratified and seeded, of all labels and not only of hits.

What is drawn is in `hf_relabel.builders.audit.strata` and `selection`; here is what a sample holds, on disk too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from hf_relabel.builders.audit.strata import Cell, Stored, Stratum
from hf_relabel.builders.disk.atomic_file import written_whole
from hf_relabel.builders.errors import BadRow, ConfigError
from hf_relabel.builders.judgements import Outcome
from hf_relabel.builders.messages.problems import first_line, first_problem, path
from hf_relabel.builders.messages.program import program
from hf_relabel.builders.rows import joined_text
from hf_relabel.builders.sources.paths import did_you_mean_beside

SAMPLE_NAME = "sample.jsonl"
STRATA_NAME = "sample.json"
VERSION = 2


class Text(Stored):
    """A passage of an item."""

    docid: str
    title: str
    text: str


class Item(Stored):
    """A candidate that was drawn.

    Attributes:
        id: says nothing of what it stands for.
        cell: index into `AuditSample.cells`.
        weight: how many candidates it stands for if all that were drawn are answered.
        labels, scores: by judge, None where it was not asked or gives none.
    """

    id: str
    query_id: str
    docid: str
    position: int = Field(ge=0)
    subset: str
    cell: int = Field(ge=0)
    weight: float = Field(gt=0)
    outcome: Outcome
    settled_by: str
    signal: float | None
    labels: dict[str, str | None]
    scores: dict[str, float | None]
    query: str
    positives: tuple[Text, ...]
    candidate: Text


@dataclass(frozen=True, slots=True)
class AuditSample:
    """What was drawn, and what it was drawn from.

    Example:
            sample = draw_audit("train.jsonl", "journal.sqlite", size=200)
            sample.write(Path("audit"))
            assert AuditSample.read(Path("audit")) == sample

    Attributes:
        items: in the order of their ids, which is random.
        strata: that it was drawn from, and the `cells` in them, see `hf_relabel.builders.audit.strata`.
        left_out: candidates that are not audited (duplicates, empty, unjudged), by outcome.
        calibrated: whether the verdicts follow the thresholds of an earlier audit, and not the judges' labels.
        stages: of the run whose verdicts it was drawn from, as the run records them; None in older samples.
        reuse: how often a passage returns in the rows, see `hf_relabel.builders.audit.reuse`; None in older samples and
            in those that people answer for in a Space.
    """

    items: tuple[Item, ...]
    strata: tuple[Stratum, ...]
    cells: tuple[Cell, ...]
    seed: int = 0
    left_out: Mapping[str, int] = field(default_factory=dict)
    calibrated: bool = False
    stages: tuple[Mapping[str, Any], ...] | None = None
    reuse: float | None = None

    @property
    def judges(self) -> list[str]:
        """The names of the judges, in the order of the cascade."""
        return list(dict.fromkeys(name for cell in self.cells for name in cell.labels))

    def write(self, folder: Path) -> None:
        """Write sample.jsonl (an item per line) and sample.json (the strata). Neither is for the people who answer."""
        folder.mkdir(parents=True, exist_ok=True)
        # Without it there is no sample: an interrupted write leaves no new items with the strata of earlier ones.
        (folder / STRATA_NAME).unlink(missing_ok=True)
        with written_whole(folder / SAMPLE_NAME) as file:
            for item in self.items:
                file.write(json.dumps(item.model_dump(mode="json")).encode() + b"\n")
        about = {
            "version": VERSION,
            "seed": self.seed,
            "calibrated": self.calibrated,
            "left_out": dict(self.left_out),
            **({} if self.stages is None else {"stages": list(self.stages)}),
            **({} if self.reuse is None else {"reuse": self.reuse}),
            "strata": [stratum.model_dump(mode="json") for stratum in self.strata],
            "cells": [cell.model_dump(mode="json") for cell in self.cells],
        }
        with written_whole(folder / STRATA_NAME) as file:
            file.write(json.dumps(about, indent=1).encode() + b"\n")

    @classmethod
    def read(cls, folder: Path) -> AuditSample:
        """Read what `write` wrote.

        Raises:
            ConfigError: there is no such folder, or it holds no sample.
            BadRow: a line of it cannot be read.
        """
        if not folder.is_dir():
            there = f"{folder} is a file." if folder.exists() else f"There is no folder {folder}."
            near = "" if folder.exists() else did_you_mean_beside(folder)
            raise ConfigError(f"{there}{near} An audit is the folder that `{program()} audit sample` wrote.")
        try:
            about = json.loads((folder / STRATA_NAME).read_text(encoding="utf-8"))
            lines = (folder / SAMPLE_NAME).read_text(encoding="utf-8").split("\n")
            if about["version"] != VERSION:
                raise ConfigError(f"The sample in {folder} is of another version, with other strata. Draw it again.")
            strata = tuple(map(Stratum.model_validate, about["strata"]))
            cells = tuple(map(Cell.model_validate, about["cells"]))
            seed, left_out, calibrated = int(about["seed"]), dict(about["left_out"]), bool(about.get("calibrated"))
            stages = None if about.get("stages") is None else tuple(map(dict, about["stages"]))
            reuse = None if about.get("reuse") is None else float(about["reuse"])
        except OSError as error:
            raise ConfigError(
                f"{folder} holds no sample of an audit ({error.strerror}). `{program()} audit sample` draws one."
            ) from None
        except ValidationError as error:
            raise ConfigError(f"{folder / STRATA_NAME} cannot be read: {first_line(error)}") from None
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"{folder / STRATA_NAME} cannot be read: {' '.join(str(error).split())[:200]}") from None
        items = tuple(_item(folder, number, line, len(cells)) for number, line in enumerate(lines, start=1) if line)
        return cls(items, strata, cells, seed, left_out, calibrated, stages, reuse)


def _item(folder: Path, number: int, line: str, cells: int) -> Item:
    try:
        item = Item.model_validate_json(line)
    except ValidationError as error:
        place, found = first_problem(error)
        field = path(place) or "the line"
        raise BadRow(str(folder / SAMPLE_NAME), number, field, found, "Draw the sample again.") from None
    if item.cell >= cells:
        raise BadRow(str(folder / SAMPLE_NAME), number, "cell", "there is no such cell", "Draw the sample again.")
    return item


def shown_positives(positives: Sequence[Text]) -> str:
    """The ground truths of an item as one text for people, numbered where there are several."""
    texts = [joined_text(text.title, text.text) for text in positives]
    return texts[0] if len(texts) == 1 else "\n\n".join(f"({n}) {text}" for n, text in enumerate(texts, start=1))
