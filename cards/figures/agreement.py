"""Agreement as Cohen's kappa: of judges with people or a truth file, of people with each other, of stages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from hf_relabel.builders.audit.answers import TRUTH
from hf_relabel.builders.readme.markdown import cut
from hf_relabel.cards.kappa import cohens_kappa
from hf_relabel.cards.style import BLUE, FAINT, MARGIN, RED, SMALL, TRACK, WIDTH, Axis, Sheet

AGREEMENT = "figures/agreement.png"
PAPER = {"GPT-4o-mini": 0.320, "GPT-4o": 0.390}
"""Against people on 670 pairs (RLHN, arXiv 2505.16967): shown beside kappas of judges with people, and no others."""
MOST_ROWS = 30
WITH_PEOPLE, PEOPLE, STAGES = "Judges with people", "People with each other", "Stages with each other"
WITH_TRUTH = "Judges with the truth file"

_LEFT, _RIGHT, _TOP, _BOTTOM, _STEP, _GROUP, _GAP = 2.0, 1.34, 0.62, 0.66, 0.27, 0.29, 0.1


def agreement_rows(manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What a manifest knows of agreement, as `agreement_png` draws it: `name`, `kappa`, `lo` and `hi` or None, `group`.

    Stages see only what the one before passed on, people a sample of everything.
    """
    rows: list[dict[str, Any]] = []
    evidence = manifest.get("evidence")
    audit = evidence.get("audit") if isinstance(evidence, Mapping) else None
    if audit:
        with_whom = WITH_TRUTH if audit["people"]["people"] == [TRUTH] else WITH_PEOPLE
        judges = [(judge["name"], judge["kappa"]) for judge in (audit["verdict"], *audit["judges"])]
        rows += [
            {"name": name, "kappa": kappa["value"], "lo": kappa["low"], "hi": kappa["high"], "group": with_whom}
            for name, kappa in judges
        ]
        pairs = audit["people"].get("pairs") or ()
        rows += [_pair(" and ".join(pair["people"]), pair["binary"], PEOPLE) for pair in pairs]
    for pair in manifest["verdicts"]["total"].get("agreement") or ():
        counts = [pair[name] for name in ("both", "only_first", "only_second", "neither")]
        rows.append(_pair(f"{pair['first']} and {pair['second']}", cohens_kappa(*counts), STAGES))
    return [row for row in rows if row["kappa"] is not None]


def agreement_png(data: Mapping[str, Any]) -> bytes:
    """Draw `data["rows"]`, each with `name`, `kappa`, `lo` and `hi` or None, and a `group` or none. The same rows give
    the same bytes."""
    rows = list(data["rows"])[:MOST_ROWS]
    groups = _starts(rows)
    headings = [_GROUP + _GAP * bool(number) for number, group in enumerate(groups) if group]
    height = _TOP + _BOTTOM + len(rows) * _STEP + sum(headings)
    sheet = Sheet(height, "Agreement (Cohen's kappa)")
    pen, writer = sheet.pen, sheet.writer
    low = min([0.0, *(value for row in rows for value in (row["kappa"], row.get("lo")) if value is not None)])
    axis = Axis.between(max(-1.0, low), 1.0, _LEFT, WIDTH - _LEFT - _RIGHT)
    top = height - _TOP + 0.1
    for tick in axis.ticks:
        pen.box(axis.at(tick) - 0.004, _BOTTOM - 0.04, 0.008, top - _BOTTOM + 0.04, TRACK)
        pen.text(axis.at(tick), _BOTTOM - 0.17, f"{tick:g}", align="center", size=SMALL, color=FAINT)
    y = height - _TOP - 0.08
    for number, (row, group) in enumerate(zip(rows, groups, strict=True)):
        if group:
            y -= _GAP * bool(number)
            writer.write(MARGIN, y, group, width=WIDTH - 2 * MARGIN, bold=True)
            y -= _GROUP
        if _is_with_people(row):
            for value in PAPER.values():
                pen.dashes(axis.at(value), y - _STEP / 2, _STEP, RED)
        _draw(sheet, row, y, axis)
        y -= _STEP
    if any(map(_is_with_people, rows)):
        note = "dashed: GPT-4o-mini (.32) and GPT-4o (.39) with people, in the paper"
        writer.write(MARGIN, 0.2, note, width=WIDTH - 2 * MARGIN, size=SMALL, color=RED)
    return sheet.png()


def _is_with_people(row: Mapping[str, Any]) -> bool:
    return row.get("group") == WITH_PEOPLE


def _draw(sheet: Sheet, row: Mapping[str, Any], y: float, axis: Axis) -> None:
    pen, kappa, low, high = sheet.pen, row["kappa"], row.get("lo"), row.get("hi")
    sheet.writer.write(_LEFT - 0.14, y, str(row["name"]), width=_LEFT - 0.14 - MARGIN, align="right")
    if low is not None and high is not None:
        pen.box(axis.at(low), y - 0.011, axis.at(high) - axis.at(low), 0.022, BLUE)
    pen.dot(axis.at(kappa), y, BLUE, 0.045)
    sheet.writer.write(
        WIDTH - MARGIN, y, _numbers(kappa, low, high), width=_RIGHT - MARGIN - 0.08, align="right", size=SMALL
    )


def agreement_alt(data: Mapping[str, Any]) -> str:
    """The numbers in words: plain text on one line, not Markdown."""
    rows = list(data["rows"])[:MOST_ROWS]
    parts = []
    for row, group in zip(rows, _starts(rows), strict=True):
        numbers = _numbers(row["kappa"], row.get("lo"), row.get("hi"))
        parts.append(f"{f'{group}. ' if group else ''}{cut(str(row['name']), 100)}: {numbers}")
    more = len(data["rows"]) - len(rows)
    shown = "; ".join(parts) + (f"; {more} more are not shown" if more > 0 else "")
    paper = " In the paper, with people: GPT-4o-mini 0.32, GPT-4o 0.39." if any(map(_is_with_people, rows)) else ""
    return f"Cohen's kappa. {shown}.{paper}"


def _pair(name: str, kappa: float | None, group: str) -> dict[str, Any]:
    return {"name": name, "kappa": kappa, "lo": None, "hi": None, "group": group}


def _numbers(kappa: float, low: float | None, high: float | None) -> str:
    numbers = f"{kappa:.2f}"
    return numbers if low is None or high is None else f"{numbers} [{low:.2f}, {high:.2f}]"


def _starts(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Per row the name of the group that starts with it, or nothing."""
    groups = ["", *(str(row.get("group") or "") for row in rows)]
    return [now if now != before else "" for before, now in pairwise(groups)]
