"""What `bench_zones_training` compares."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hf_relabel.builders.techniques import Technique
from hf_relabel.trainers.students.static import PACKAGED_TEACHER
from tests.benchmarks.zones_judges import (
    Judge,
    Rule,
    by_audit,
    by_similarity,
    by_student,
    shuffled,
    simulated,
    too_sure,
)
from tests.benchmarks.zones_rivals import guided, perc_pos
from tests.benchmarks.zones_runs import Way
from tests.benchmarks.zones_soft import distilled, expected, inside, outside, soft_negatives, trained_with

SIMULATED = [simulated(precision, 0.7) for precision in (1, 0.95, 0.9, 0.8, 0.6)]
LABELS, AUDITS = 400, 20
"""Of the tool's default, which is measured over so many draws of labels."""
DEFAULT = Rule("p .9, .8 backed", 0.8, 0.9, "keep")
"""That of `audit report --calibrate`."""
FEW_ROWS = Rule("p .7, .6 backed", 0.6, 0.7, "keep")
"""Of hypothesis (e)."""
LOW = [Rule("p .5, .5 backed", 0.5, 0.5, "keep"), Rule("p .5, a third backed", 1 / 3, 0.5, "keep")]
"""Of hypothesis (f)."""
OTHER_RULES = [Rule(".9 backed", 0.9, None, "keep"), Rule(".9 backed, likely dropped", 0.9, None, "likely")]
"""What it was before, and another lower threshold."""
PROTOTYPE = simulated(0.82, 0.76)
"""The judge of claim (c)."""
REAL = [by_similarity(500), by_student(500), by_student(2_000)]
CONTROLS = [shuffled(PROTOTYPE), too_sure(PROTOTYPE)]
JUDGES = [PROTOTYPE, *SIMULATED, *REAL]

ORIGINAL = Way("original")
REMOVE_HN = Way("remove-hn", Technique.REMOVE_HN)
RELABEL = Way("relabel", Technique.RELABEL)


def zones(sure: float, drop: float = 0.5) -> Way:
    below = "" if drop == 0.5 else f", {drop:g} dropped"
    return Way(f"zones {sure:g}{below}", Technique.RELABEL_FILTER, sure, drop)


ZONES = [zones(0.7), zones(0.9), zones(0.95)]
WIDER = [zones(0.9, 0.3), zones(0.9, 0.15), zones(0.7, 0.3)]


def soft(name: str, loss: Callable[..., Any], sure: float, **given: Any) -> Way:
    around = trained_with(loss)
    return Way(f"soft: {name}", Technique.RELABEL, sure, around=around, scored=lambda _, p: p, **given)


def from_scores(name: str, share: float) -> Way:
    """Distillation from the mean of MiniLM's cosine and p, with this share of p."""
    return Way(
        f"distilled: {name}",
        Technique.RELABEL,
        sure=1.0,
        around=trained_with(distilled()),
        scored=lambda cosines, p: (1 - share) * cosines + share * p,
        changes={"loss": {"positives": "random", "in_batch": False}},
    )


SOFT = [
    soft("negatives 1 - p", soft_negatives, 1.0),
    soft("p and 1 - p inside the log-sum", inside, 0.5),
    soft("positives p outside", outside(), 0.5),
    soft("positives p^4 outside", outside(4), 0.5),
    soft("positives p > .9, negatives 1 - p", soft_negatives, 0.9),
    soft("p · L₊ + (1 - p) · L₋", expected, 1.0),
    from_scores("MiniLM", 0.0),
    from_scores("MiniLM and p", 0.5),
]


def robust(name: str, **settings: float) -> Way:
    shown = ", ".join(f"{key} {value:g}" for key, value in settings.items())
    return Way(f"{name}, {shown}", changes={"loss": {"robust": {"name": name, **settings}}})


GUIDE = {"model": PACKAGED_TEACHER}
RIVALS = [
    Way("perc-pos .95", filtered=perc_pos(0.95)),
    Way("guide, margin 0", around=guided(0.0), changes={"loss": {"guide": GUIDE}}),
    Way("guide, margin .05", around=guided(0.05), changes={"loss": {"guide": {**GUIDE, "margin": 0.05}}}),
    *(robust("debiased", tau_plus=value) for value in (0.01, 0.05, 0.1)),
    *(robust("gce", q=value) for value in (0.3, 0.7)),
    *(robust("ccr", beta=value) for value in (0.1, 0.5)),
    Way("sieve, beta .5", changes={"sieve": {"beta": 0.5}}),
    robust("label-weakening", alpha=0.1, beta=0.6),
    robust("label-weakening", alpha=0.1, beta=0.3),
]
MENDS = [
    replace(ZONES[1], name="zones 0.9, guide", around=guided(0.0), changes={"loss": {"guide": GUIDE}}),
    replace(ZONES[1], name="zones 0.9, ccr", changes={"loss": {"robust": {"name": "ccr", "beta": 0.1}}}),
    zones(0.95, 0.15),
]
"""What might make zones worth more, tried after the first table."""
WITHOUT_JUDGE = [ORIGINAL, Way("original, 1.5 times the steps", steps=1.5)]


MINILM = {
    "model": PACKAGED_TEACHER,
    "query_prompt": "",
    "passage_prompt": "",
    "batch_size": 32,
    "gradient_accumulation": 1,
    "gradient_checkpointing": False,
    "learning_rate": 5.0e-5,
    "max_steps": 40,
    "max_length": 24,
    "precision": "fp32",
    "loss": {"positives": "logsumexp", "negatives": 3, "temperature": 0.02},
}
"""As E5-base is trained, but short, for a CPU: two thirds of an epoch."""


MINILM_NAME = "MiniLM: "


def by_minilm(way: Way) -> Way:
    return replace(way, name=f"{MINILM_NAME}{way.name}", student="e5-base", changes=MINILM)


@dataclass(frozen=True)
class Cell:
    part: str
    judge: Judge | None
    way: Way
    seeds: int
    sets: tuple[str, ...] | None = None

    @property
    def name(self) -> str:
        return f"{self.way.name} · {self.judge.name if self.judge else 'no judge'}"


def cells(only: Sequence[str] | None = None) -> Iterator[Cell]:
    """In the order in which they are run."""
    found = [Cell("without", None, way, 10) for way in WITHOUT_JUDGE]
    for judge in JUDGES:
        few = 5 if judge.simulated else 10
        most = few if judge in SIMULATED[:-1] else 10
        found += [Cell("zones", judge, way, most) for way in (REMOVE_HN, ZONES[1])]
        found += [Cell("zones", judge, way, few) for way in (RELABEL, ZONES[0], ZONES[2])]
    found += [Cell("rivals", None, way, 5) for way in RIVALS]
    for judge in (PROTOTYPE, SIMULATED[4], REAL[0], REAL[2]):
        found += [Cell("wider", judge, way, 3) for way in WIDER]
    for judge in (PROTOTYPE, SIMULATED[1], REAL[2]):
        found += [Cell("soft", judge, way, 3) for way in SOFT]
    for judge in CONTROLS:
        found += [Cell("controls", judge, way, 5) for way in (REMOVE_HN, RELABEL, ZONES[1])]
    found += [Cell("minilm", None, by_minilm(ORIGINAL), 3, ("banking77",))]
    found += [Cell("minilm", PROTOTYPE, by_minilm(way), 3, ("banking77",)) for way in (REMOVE_HN, RELABEL, ZONES[1])]
    found += [Cell("mends", PROTOTYPE, way, 5) for way in MENDS]
    first_rows = ("banking77-284",)
    found += [Cell("few", None, ORIGINAL, 5, first_rows)]
    for judge in SIMULATED:
        found += [Cell("few", judge, way, 5, first_rows) for way in (REMOVE_HN, RELABEL, ZONES[1])]
    ladder = ("banking77-71", "banking77-142", "banking77-284", "banking77-568", "banking77-1136")
    found += [Cell("ladder", None, ORIGINAL, 5, ladder)]
    for judge in SIMULATED[3:]:
        found += [Cell("ladder", judge, way, 5, ladder) for way in (REMOVE_HN, RELABEL)]
    found += [Cell("regret", None, ORIGINAL, AUDITS)]
    for judge in (*SIMULATED, *REAL):
        found += [Cell("regret", by_audit(judge, LABELS, DEFAULT), ZONES[1], AUDITS)]
        found += [Cell("rules", by_audit(judge, LABELS, rule), ZONES[1], 8) for rule in OTHER_RULES]
        found += [Cell("few rows", by_audit(judge, LABELS, FEW_ROWS), ZONES[1], AUDITS)]
        found += [Cell("low", by_audit(judge, LABELS, rule), ZONES[1], AUDITS) for rule in LOW]
    return (each for each in found if not only or each.part in only)
