"""Releases for tests of the Space, in a folder or on a local Hub that the clients of this process talk to."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hf_relabel.builders.cascade.suspects import Opinion, Suspect
from hf_relabel.builders.configs.writing import write_configs
from hf_relabel.builders.judgements import Judgement, Label, Outcome, Verdict
from hf_relabel.builders.rows import NumberedRow, Passage, Row
from hf_relabel.hub_tools.local_hub import LocalHub
from hf_relabel.hub_tools.releases.push import push

REPO = "alice/set"
HOSTILE = "<script>alert(1)</script> ${x} [[x]] \u202e {{ x }} <img src=x onerror=alert(2)> \0 '\"`"
"""A text that is markup, a template, a formula and a control sequence to whoever takes it for one."""
NEGATIVES = 6


def judged_rows(rows: int, seed: int = 0, characters: int = 80) -> Iterator[tuple[NumberedRow, list[Verdict]]]:
    """Rows with every outcome; in some rows more false negatives than the limit, in some no negatives."""
    chance = random.Random(seed)
    for number in range(rows):
        negatives = 0 if number % 17 == 3 else 12 if number % 11 == 5 else chance.randint(1, NEGATIVES)
        passages = [
            Passage(f"d{number}-{place}", HOSTILE if place == 2 else f"T{place}", _text(chance, characters))
            for place in range(negatives + 1)
        ]
        outcomes = [_outcome(chance, number) for _ in range(negatives)]
        for place, outcome in enumerate(outcomes, start=1):
            if outcome is Outcome.DUPLICATE:
                passages[place] = Passage(passages[place].docid, "", passages[0].text)
            elif outcome is Outcome.EMPTY:
                passages[place] = Passage(passages[place].docid, "", "")
        query = f"{HOSTILE} {number}" if number % 13 == 7 else f"What is Number {number}? {chance.choice(WORDS)}"
        row = Row(f"q-{number}", query, (passages[0],), tuple(passages[1:]), ("", "news", "web")[number % 3])
        verdicts = [_verdict(place, passages[place + 1], outcome, chance) for place, outcome in enumerate(outcomes)]
        yield NumberedRow(number, row), verdicts


WORDS = ("Äpfel", "ΣΊΣΥΦΟΣ", "naïve", "apple", "東京")


def _text(chance: random.Random, characters: int) -> str:
    return "".join(chance.choice("abcdefghij klmnop") for _ in range(chance.randint(1, characters)))


def _outcome(chance: random.Random, number: int) -> Outcome:
    if number % 11 == 5:
        return Outcome.FALSE_NEGATIVE
    weights = dict.fromkeys(Outcome, 1) | {Outcome.NEGATIVE: 6}
    return chance.choices(list(weights), list(weights.values()))[0]


def _verdict(place: int, passage: Passage, outcome: Outcome, chance: random.Random) -> Verdict:
    def said(label: Label) -> Judgement:
        return Judgement(label, chance.choice([None, round(chance.random(), 3)]), HOSTILE, 11.0, 3.0, cut=place == 1)

    better, other = said(Label.BETTER), said(chance.choice([Label.WORSE, Label.IRRELEVANT]))
    stages: dict[Outcome, tuple[Judgement | None, ...]] = {
        Outcome.FALSE_NEGATIVE: (better, said(Label.BETTER)),
        Outcome.DOUBTFUL: (better, other),
        Outcome.NEGATIVE: (other, None),
        Outcome.UNJUDGED: (said(Label.FAILED), None),
    }
    reasons = {Outcome.DUPLICATE: "same-text", Outcome.EMPTY: "empty", Outcome.UNJUDGED: "failed"}
    return Verdict(place, passage.docid, outcome, reasons.get(outcome, "judged"), stages.get(outcome, ()))


def suspects_of(numbered: NumberedRow) -> list[Suspect]:
    """Every fifth row has a suspected ground truth."""
    row = numbered.row
    if numbered.number % 5:
        return []
    opinion = Opinion("listwise small", "irrelevant", 0.1, 3, 5)
    place = (numbered.number, row.query_id, row.subset, 0, row.positive_passages[0].docid)
    return [Suspect(*place, "unanswering", (opinion,))]


def built(folder: Path, rows: int = 200, **settings: Any) -> Path:
    """A folder of all configs, in several files of several row groups."""
    write_configs(
        judged_rows(rows, settings.pop("seed", 0), settings.pop("characters", 80)),
        folder,
        stage_names=["cheap", "accurate"],
        stage_judges=["listwise small", "listwise large"],
        **{"suspects": suspects_of, "max_shard_bytes": 40_000, "row_group_bytes": 9_000, **settings},
    )
    return folder


@dataclass
class Here:
    """A local Hub that `huggingface_hub` in this process talks to as the user alice."""

    hub: LocalHub
    failing: list[tuple[str, str, int]]
    """Requests to refuse, in turn: method, the end of the path, status."""

    def push(self, folder: Path, repo: str = REPO, **options: Any) -> str:
        return push(folder, repo, license="mit", **options).version


@contextmanager
def hub_here(folder: Path, monkeypatch: pytest.MonkeyPatch, **hub: Any) -> Iterator[Here]:
    from huggingface_hub import constants

    failing: list[tuple[str, str, int]] = []

    def fail(method: str, path: str) -> int | None:
        if failing and failing[0][0] == method and path.endswith(failing[0][1]):
            return failing.pop(0)[2]
        return None

    with LocalHub(
        folder / "hub", users={"alice": "hf_local_alice", "bob": "hf_local_bob"}, fail=fail, **hub
    ) as running:
        monkeypatch.setattr(constants, "ENDPOINT", running.url)
        template = running.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # hf_xet reads its settings once for a process
        monkeypatch.setenv("HF_TOKEN", "hf_local_alice")
        yield Here(running, failing)
