"""Figures of judges and subsets: reliability, Pareto, agreement, pruning. Names are text, whatever they hold."""

from __future__ import annotations

import copy
import io
import json
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image

from hf_relabel.builders.cascade.fitting import LabelledScore, fit
from hf_relabel.cards.data_card import figures, render_card
from hf_relabel.cards.figures.agreement import AGREEMENT, MOST_ROWS, agreement_alt, agreement_png, agreement_rows
from hf_relabel.cards.figures.pareto import MOST_POINTS, pareto_png
from hf_relabel.cards.figures.pruning import pruning_alt, pruning_png, pruning_report
from hf_relabel.cards.figures.reliability import reliability_alt, reliability_png
from tests import forked
from tests.cards.card_data import HARD_TO_DRAW, Page, facts, manifest

BLUE, RED = (0x2F, 0x6D, 0xB5), (0xD1, 0x49, 0x5B)
HOSTILE = "$\\frac{1}{0}$ <script>\n\u202e" + "x" * 200


def calibration() -> dict[str, object]:
    chance = np.random.default_rng(0)
    scores = chance.random(800)
    found: dict[str, object] = fit(
        [LabelledScore(float(score), bool(chance.random() < score**2)) for score in scores], precision=0.7
    ).to_dict()
    return found


POINTS: dict[str, list[dict[str, Any]]] = {
    "points": [
        {"name": HOSTILE, "tokens": 1000, "false_negatives": 10, "on_front": True},
        {"name": "by row", "tokens": 9000, "false_negatives": 30, "on_front": False},
        {"name": "by candidate", "tokens": 3000, "false_negatives": 30, "on_front": True},
    ]
}
KAPPAS: dict[str, list[dict[str, Any]]] = {
    "rows": [
        {"name": HOSTILE, "kappa": 0.4, "lo": 0.3, "hi": 0.5},
        {"name": "b", "kappa": -0.1, "lo": None, "hi": None},
    ]
}


PRUNED: dict[str, Any] = {
    "metric": "ndcg@10",
    "with_all": 0.512,
    "with_kept": 0.5203,
    "kept": ["nq", HOSTILE],
    "subsets": [
        {"subset": "nq", "rows": 58, "harm": -0.004, "low": -0.011, "high": 0.002, "p_holm": 0.2, "keep": True},
        {"subset": "fever", "rows": 29, "harm": 0.0123, "low": 0.006, "high": 0.019, "p_holm": 0.01, "keep": False},
        {"subset": HOSTILE, "rows": 4, "harm": -0.02, "low": -0.03, "high": -0.01, "p_holm": 1.0, "keep": True},
    ],
}
EVERY = [
    (reliability_png, calibration()),
    (pareto_png, POINTS),
    (pareto_png, {"points": []}),
    (agreement_png, KAPPAS),
    (agreement_png, {"rows": []}),
    (pruning_png, PRUNED),
]


def audited() -> dict[str, Any]:
    """A manifest with two stages and an audit by two people."""
    found = copy.deepcopy(manifest())
    none = {"value": None, "low": None, "high": None}
    judges = [
        {"name": name, "candidates": 900, "answers": 90, **dict.fromkeys(("precision", "recall", "f1"), none)}
        for name in ("verdict", "cheap", "accurate")
    ]
    for judge, kappa in zip(judges, (0.62, 0.31, None), strict=True):
        known = kappa is not None
        judge["kappa"] = {"value": kappa, "low": kappa - 0.1 if known else None, "high": kappa + 0.1 if known else None}
    pairs = [{"people": ["anna", "ben"], "both": 90, "same": 80, "graded": 0.8, "binary": 0.71}]
    people = {"people": ["anna", "ben"], "pairs": pairs, "fleiss": {"binary": 0.7, "graded": 0.8}}
    found["evidence"] = {"audit": {"verdict": judges[0], "judges": judges[1:], "people": people, "drawn": 100}}
    return found


def picture(png: bytes) -> Any:
    """Shape (height, width, 3)."""
    image = Image.open(io.BytesIO(png))
    image.load()
    return np.asarray(image.convert("RGB")).astype(int)


def columns(pixels: Any, color: tuple[int, int, int]) -> Any:
    """Columns of pixels that hold this colour."""
    return np.flatnonzero((np.abs(pixels - color).sum(axis=2) < 12).any(axis=0))


def test_bounds_that_are_not_known_are_left_out_of_a_pruning() -> None:
    unknown = {"low": None, "high": None, "p_holm": None, "keep": True}
    pruned = {**PRUNED, "subsets": [{**each, **unknown} for each in PRUNED["subsets"]]}
    assert columns(picture(pruning_png(pruned)), BLUE).size == 0
    assert "fever: +1.23." in pruning_alt(pruned).replace(";", ".")
    assert "| not known |" in pruning_report(pruned, "x.png")


@pytest.mark.parametrize(("draw", "data"), EVERY)
def test_the_same_data_gives_the_same_picture_whatever_the_users_settings(
    draw: object, data: dict[str, object]
) -> None:
    first = draw(json.loads(json.dumps(data)))  # type: ignore[operator]
    style = {
        "font.size": 30, "font.family": "monospace", "axes.facecolor": "red", "figure.facecolor": "black",
        "figure.dpi": 50, "text.color": "red", "patch.force_edgecolor": True, "text.usetex": True,
        "path.sketch": (5, 100, 2), "savefig.dpi": 30, "savefig.transparent": True, "patch.linewidth": 9,
    }  # fmt: skip
    with mpl.rc_context(style):
        second = draw(data)  # type: ignore[operator]

    assert first.startswith(b"\x89PNG")
    assert first == second


@pytest.mark.parametrize(("draw", "data"), EVERY)
def test_a_picture_brings_its_white_ground_and_keeps_clear_of_its_edges(draw: Any, data: dict[str, object]) -> None:
    pixels = picture(draw(data))
    for edge in (pixels[:10], pixels[-10:], pixels[:, :18], pixels[:, -18:]):
        assert (edge == 255).all()


@pytest.mark.parametrize("text", HARD_TO_DRAW)
def test_any_name_can_be_drawn(text: str) -> None:
    points = [{**point, "name": text} for point in POINTS["points"]]
    rows = [{**row, "name": text, "group": text} for row in KAPPAS["rows"]]
    subsets = [{**subset, "subset": text} for subset in PRUNED["subsets"]]
    for png in (pareto_png({"points": points}), agreement_png({"rows": rows})):
        assert png.startswith(b"\x89PNG")
    assert pruning_png({**PRUNED, "subsets": subsets}).startswith(b"\x89PNG")


def test_pyplot_is_never_needed() -> None:
    code = """
import importlib, json, sys, warnings
warnings.simplefilter("error")
for module, name, data in json.loads(sys.argv[1]):
    getattr(importlib.import_module(module), name)(data)
assert "matplotlib.pyplot" not in sys.modules
"""
    drawn = [(draw.__module__, draw.__name__, data) for draw, data in EVERY]
    done = forked.run(code, json.dumps(drawn), modules=())
    assert (done.returncode, done.stderr) == (0, "")


def test_a_kappa_stands_where_it_belongs_with_its_interval() -> None:
    def drawn(kappa: float, low: float, high: float) -> Any:
        return columns(picture(agreement_png({"rows": [{"name": "x", "kappa": kappa, "lo": low, "hi": high}]})), BLUE)

    whole, half = drawn(0.5, 0.0, 1.0), drawn(0.5, 0.25, 0.75)
    length = whole[-1] - whole[0]
    assert half[0] - whole[0] == pytest.approx(length / 4, abs=4)
    assert half[-1] - whole[0] == pytest.approx(3 * length / 4, abs=4)


def test_kappas_of_the_paper_stand_beside_those_with_people_and_no_others() -> None:
    one = {"name": "x", "kappa": 1.0, "lo": 0.0, "hi": 1.0}
    pixels = picture(agreement_png({"rows": [{**one, "group": "Judges with people"}, {**one, "group": "Stages"}]}))
    whole, length = columns(pixels, BLUE)[0], np.ptp(columns(pixels, BLUE))
    is_red = np.abs(pixels - RED).sum(axis=2) < 12
    above_the_note = is_red[: len(is_red) - 80]
    paper = np.flatnonzero(above_the_note.any(axis=0))
    assert paper[0] - whole == pytest.approx(0.32 * length, abs=5)
    assert paper[-1] - whole == pytest.approx(0.39 * length, abs=5)
    lines = np.flatnonzero((np.abs(pixels - BLUE).sum(axis=2) < 12).any(axis=1))
    assert np.flatnonzero(above_the_note.any(axis=1))[-1] < np.mean([lines[0], lines[-1]]), "down to the stages"

    stages = copy.deepcopy(manifest())
    of_file = audited()
    of_file["evidence"]["audit"]["people"] |= {"people": ["truth"], "pairs": []}
    for found in (stages, of_file):
        rows = agreement_rows(found)
        assert rows
        assert not columns(picture(agreement_png({"rows": rows})), RED).size
        assert "paper" not in agreement_alt({"rows": rows})
    assert rows[0]["group"] == "Judges with the truth file"


def test_bins_lie_on_the_diagonal_where_the_probability_is_right() -> None:
    one = {"score": 0.9, "probability": 0.3, "observed": 0.3, "low": 0.2, "high": 0.4, "labels": 50}
    zones = {"wanted": 0.9, "sure": None}
    pixels = picture(reliability_png({"bins": [one], "zones": zones}))[200:]
    is_blue = np.abs(pixels - BLUE).sum(axis=2) < 12
    rows = np.flatnonzero(is_blue.any(axis=1))
    assert rows[-1] - rows[0] == pytest.approx(0.2 * 2.9 * 200, abs=6), "the interval is .2 of the panel high"


def test_points_that_coincide_share_one_label_and_too_many_are_counted() -> None:
    from hf_relabel.cards.figures.pareto import _labels

    assert _labels([(1.0, 1.0), (3.0, 1.0), (1.05, 1.02)]) == [("1, 3", (1.0, 1.0)), ("2", (3.0, 1.0))]
    many = {"points": POINTS["points"] * MOST_POINTS}
    assert pareto_png(many) == pareto_png({"points": many["points"][:MOST_POINTS]})
    rows = {"rows": KAPPAS["rows"] * MOST_ROWS}
    assert f"{MOST_ROWS} more are not shown" in agreement_alt(rows)


def test_a_card_shows_agreement_with_people_and_between_stages() -> None:
    rows = agreement_rows(audited())
    assert [(row["group"], row["name"], row["kappa"]) for row in rows] == [
        ("Judges with people", "verdict", 0.62),
        ("Judges with people", "cheap", 0.31),
        ("People with each other", "anna and ben", 0.71),
        ("Stages with each other", "cheap and accurate", pytest.approx(0.4)),
    ]
    page = Page.of(render_card(facts(manifest=audited()), None))
    (alt,) = [alt for alt in page.alts if "kappa" in alt]
    assert "Judges with people. verdict: 0.62 [0.52, 0.72]; cheap: 0.31" in alt
    assert "People with each other. anna and ben: 0.71" in alt
    assert figures(audited())[AGREEMENT] == agreement_png({"rows": rows})


def test_with_one_stage_the_figure_stands_with_the_audit_and_without_either_there_is_none() -> None:
    one = audited()
    del one["verdicts"]["total"]["agreement"]
    card = render_card(facts(manifest=one), None)
    assert card.count(AGREEMENT) == 1
    assert card.index(AGREEMENT) > card.index("## Evidence")
    del one["evidence"]
    assert AGREEMENT not in figures(one)
    assert AGREEMENT not in render_card(facts(manifest=one), None)


def test_a_pruning_is_a_page_with_its_picture() -> None:
    text = pruning_report(PRUNED, "my pruning.png")
    page = Page.of(text)
    (alt,) = page.alts
    assert "Better without, fever: +1.23 [+0.60, +1.90]" in alt
    assert "With all subsets ndcg@10 is 0.5120, with those kept 0.5203." in alt
    assert "](my%20pruning.png)" in text
    assert "| <code>fever</code> | 29 | 0.5243 | +1.23 | +0.60 to +1.90 | 0.0100 | prune |" in text
    assert ("script", ()) not in page.tags
    assert "\n" not in pruning_alt(PRUNED)


def test_prune_writes_the_page_and_the_picture_beside_it(tmp_path: Path) -> None:
    from types import SimpleNamespace

    from hf_relabel.hub_tools.commands.prune_command import _write_report

    report: Any = SimpleNamespace(to_dict=lambda: PRUNED)
    _write_report(tmp_path / "pruning.md", report)
    assert (tmp_path / "pruning.png").read_bytes() == pruning_png(PRUNED)
    assert "](pruning.png)" in (tmp_path / "pruning.md").read_text(encoding="utf-8")


def test_alt_texts_hold_the_numbers_on_one_line() -> None:
    assert "b: -0.10" in agreement_alt(KAPPAS)
    assert "Sure zone for precision 0.70: from" in reliability_alt(calibration())
    for text in (agreement_alt(KAPPAS), reliability_alt(calibration())):
        assert "\n" not in text
