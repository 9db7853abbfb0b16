"""The sample of an audit: blind, stratified and seeded, of all labels and not only of hits.

A stratum holds the candidates of one subset that have the same verdict and the same label from every judge. So each
judge says the same of a whole stratum, whose size is known exactly, and people's answers to the few that are drawn say
what share of it is relevant. About a third of the sample goes to each verdict (false negative, doubtful, negative);
within one, strata get their share of it by size, the small ones two where there is room.

The candidates drawn are those with the smallest keyed hashes of query, document and texts: the same seed gives the same
sample, whatever the order of the rows.
"""

from __future__ import annotations

import hashlib
import heapq
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import Field, ValidationError

from hf_relabel.builders.audit.strata import (
    JudgedCandidate,
    Stored,
    Stratum,
    StratumKey,
    allocate,
    is_audited,
    stratum_key,
    stratum_of,
)
from hf_relabel.builders.disk.atomic_file import written_whole
from hf_relabel.builders.errors import BadRow, ConfigError
from hf_relabel.builders.journal.keys import storable
from hf_relabel.builders.judgements import Outcome
from hf_relabel.builders.messages.problems import first_line, first_problem, path
from hf_relabel.builders.messages.program import program
from hf_relabel.builders.rows import Passage, joined_text

SAMPLE_NAME = "sample.jsonl"
STRATA_NAME = "sample.json"


class Text(Stored):
    """A passage of an item."""

    docid: str
    title: str
    text: str


class Item(Stored):
    """A candidate that was drawn.

    Attributes:
        id: says nothing of what it stands for.
        stratum: index into `AuditSample.strata`.
        weight: how many candidates it stands for.
        labels, scores: by judge, None where it was not asked or gives none.
    """

    id: str
    query_id: str
    docid: str
    position: int = Field(ge=0)
    subset: str
    stratum: int = Field(ge=0)
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
        left_out: candidates that are not audited (duplicates, empty, unjudged), by outcome.
        calibrated: whether the verdicts follow the thresholds of an earlier audit, and not the judges' labels.
    """

    items: tuple[Item, ...]
    strata: tuple[Stratum, ...]
    seed: int = 0
    left_out: Mapping[str, int] = field(default_factory=dict)
    calibrated: bool = False

    @property
    def judges(self) -> list[str]:
        """The names of the judges, in the order of the cascade."""
        return list(dict.fromkeys(name for stratum in self.strata for name in stratum.labels))

    def write(self, folder: Path) -> None:
        """Write sample.jsonl (an item per line) and sample.json (the strata). Neither is for the people who answer."""
        folder.mkdir(parents=True, exist_ok=True)
        with written_whole(folder / SAMPLE_NAME) as file:
            for item in self.items:
                file.write(json.dumps(item.model_dump(mode="json")).encode() + b"\n")
        strata = [stratum.model_dump(mode="json") for stratum in self.strata]
        told = {"seed": self.seed, "calibrated": self.calibrated, "left_out": dict(self.left_out)}
        about = {"version": 1, **told, "strata": strata}
        with written_whole(folder / STRATA_NAME) as file:
            file.write(json.dumps(about, indent=1).encode() + b"\n")

    @classmethod
    def read(cls, folder: Path) -> AuditSample:
        """Read what `write` wrote.

        Raises:
            ConfigError: the folder holds no sample.
            BadRow: a line of it cannot be read.
        """
        try:
            about = json.loads((folder / STRATA_NAME).read_text(encoding="utf-8"))
            lines = (folder / SAMPLE_NAME).read_text(encoding="utf-8").split("\n")
            strata = tuple(Stratum.model_validate(each) for each in about["strata"])
            seed, left_out, calibrated = int(about["seed"]), dict(about["left_out"]), bool(about.get("calibrated"))
        except OSError as error:
            raise ConfigError(
                f"{folder} holds no sample of an audit ({error.strerror}). `{program()} audit sample` draws one."
            ) from None
        except ValidationError as error:
            raise ConfigError(f"{folder / STRATA_NAME} cannot be read: {first_line(error)}") from None
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"{folder / STRATA_NAME} cannot be read: {' '.join(str(error).split())[:200]}") from None
        items = tuple(_item(folder, number, line, len(strata)) for number, line in enumerate(lines, start=1) if line)
        return cls(items, strata, seed, left_out, calibrated)


def _item(folder: Path, number: int, line: str, strata: int) -> Item:
    try:
        item = Item.model_validate_json(line)
    except ValidationError as error:
        place, found = first_problem(error)
        field = path(place) or "the line"
        raise BadRow(str(folder / SAMPLE_NAME), number, field, found, "Draw the sample again.") from None
    if item.stratum >= strata:
        raise BadRow(str(folder / SAMPLE_NAME), number, "stratum", "there is no such stratum", "Draw the sample again.")
    return item


@dataclass(order=True, slots=True)
class _Drawn:
    """In a heap whose top is the first to give way: the one with the greatest hash."""

    place: int
    candidate: JudgedCandidate = field(compare=False)


def draw(
    candidates: Iterable[JudgedCandidate],
    size: int,
    *,
    seed: int = 0,
    by_subset: bool = True,
    calibrated: bool = False,
) -> AuditSample:
    """Draw the sample of an audit, reading the candidates once.

    Args:
        size: how many to draw; all where there are fewer.
        seed: another seed draws others.
        by_subset: whether each subset has strata of its own, which gives each its own figures.
        calibrated: whether the verdicts follow thresholds, which the sample remembers.

    Raises:
        ConfigError: no candidate was judged, or the size is below 1.
    """
    if size < 1:
        raise ConfigError(f"The size of a sample must be at least 1, found {size}.")
    heaps: dict[StratumKey, list[_Drawn]] = {}
    sizes: Counter[StratumKey] = Counter()
    left_out: Counter[str] = Counter()
    for candidate in candidates:
        if not is_audited(candidate):
            left_out[str(candidate.outcome)] += 1
            continue
        key = stratum_key(candidate, by_subset)
        sizes[key] += 1
        heap = heaps.setdefault(key, [])
        drawn = _Drawn(-_hash(candidate, seed), candidate)
        if len(heap) < size:
            heapq.heappush(heap, drawn)
        elif drawn > heap[0]:
            heapq.heapreplace(heap, drawn)
    if not sizes:
        raise ConfigError("There is nothing to audit: no candidate has a verdict of a judge. Judge first.")
    return sample_of(
        sizes,
        lambda key, number: [drawn.candidate for drawn in sorted(heaps[key], reverse=True)[:number]],
        size,
        seed=seed,
        left_out=left_out,
        calibrated=calibrated,
    )


def sample_of(
    sizes: Mapping[StratumKey, int],
    drawn: Callable[[StratumKey, int], Iterable[JudgedCandidate]],
    size: int,
    *,
    seed: int,
    left_out: Mapping[str, int],
    calibrated: bool = False,
) -> AuditSample:
    """A sample from strata whose sizes are known.

    Args:
        drawn: gives so many candidates of a stratum, drawn at random by the seed.
        size: how many to draw in all.
        left_out, calibrated: see `AuditSample`.
    """
    # In a fixed order, so that the order of the rows plays no part.
    keys = sorted(sizes, key=repr)
    taken = allocate({key: sizes[key] for key in keys}, {key: key[1] for key in keys}, size)
    strata, items = [], []
    for index, key in enumerate(keys):
        number = taken[key]
        strata.append(stratum_of(key, sizes[key], number))
        for candidate in drawn(key, number) if number else ():
            items.append(_made_item(candidate, index, sizes[key] / number, seed))
    return AuditSample(tuple(sorted(items, key=lambda item: item.id)), tuple(strata), seed, dict(left_out), calibrated)


def _hash(candidate: JudgedCandidate, seed: int) -> int:
    row, passage = candidate.row, candidate.row.negative_passages[candidate.position]
    digest = hashlib.blake2b(str(seed).encode(), digest_size=16)
    # The position parts copies: two candidates of a row may have the same docid and text.
    for text in (row.query_id, row.query, passage.docid, passage.title, passage.text, str(candidate.position)):
        data = text.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "little") + data)
    return int.from_bytes(digest.digest(), "big")


def _made_item(candidate: JudgedCandidate, stratum: int, weight: float, seed: int) -> Item:
    row, passage = candidate.row, candidate.row.negative_passages[candidate.position]
    opaque = hashlib.blake2b(_hash(candidate, seed).to_bytes(16, "big"), key=b"audit item", digest_size=8).hexdigest()
    said = candidate.judges.items()
    return Item(
        id=opaque,
        query_id=storable(row.query_id),
        docid=storable(passage.docid),
        position=candidate.position,
        subset=storable(row.subset),
        stratum=stratum,
        weight=weight,
        outcome=candidate.outcome,
        settled_by=candidate.settled_by,
        signal=candidate.signal,
        labels={name: None if judgement is None else str(judgement.label) for name, judgement in said},
        scores={name: None if judgement is None else judgement.score for name, judgement in said},
        query=storable(row.query),
        positives=tuple(map(_text, row.positive_passages)),
        candidate=_text(passage),
    )


def _text(passage: Passage) -> Text:
    return Text(docid=storable(passage.docid), title=storable(passage.title), text=storable(passage.text))


def shown_positives(positives: Sequence[Text]) -> str:
    """The ground truths of an item as one text for people, numbered where there are several."""
    texts = [joined_text(text.title, text.text) for text in positives]
    return texts[0] if len(texts) == 1 else "\n\n".join(f"({n}) {text}" for n, text in enumerate(texts, start=1))
