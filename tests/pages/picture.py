"""Draws the README's picture, one row before and after: `python -m tests.pages.picture`.

The row is of the set that ships with the package, and so are the passages that became positives: its truth file names
them.
"""

from __future__ import annotations

import json
from typing import Any

from hf_relabel.builders.quickstart import rows_path, truth_path
from hf_relabel.cards.style import BLUE, FAINT, INK, MARGIN, RED, SIZE, SMALL, WIDTH, Sheet
from tests.pages.reading import ROOT

QUERY_ID = "home-q02"
PICTURE = ROOT / "hub_tools" / "pages" / "before-and-after.png"
_SHOWN = 5
_LINE, _HALF = 0.21, WIDTH / 2


def picture() -> bytes:
    """The picture, as PNG."""
    row, false_negatives = _row()
    positives = [passage["text"] for passage in row["positive_passages"]]
    found = [passage["text"] for passage in row["negative_passages"] if passage["docid"] in false_negatives]
    rest = [passage["text"] for passage in row["negative_passages"] if passage["docid"] not in false_negatives]
    sheet = Sheet(0.95 + _LINE * (2 + len(positives) + len(found) + _SHOWN), f"“{row['query']}”")
    _column(sheet, MARGIN, "as mined", [(positives, INK)], [(found, RED), (rest, INK)])
    _column(sheet, _HALF + 0.06, "relabelled", [(positives, INK), (found, BLUE)], [(rest, INK)])
    return sheet.png()


def _row() -> tuple[dict[str, Any], set[str]]:
    rows = map(json.loads, rows_path().read_text(encoding="utf-8").splitlines())
    truth = map(json.loads, truth_path().read_text(encoding="utf-8").splitlines())
    row = next(row for row in rows if row["query_id"] == QUERY_ID)
    return row, set(next(line for line in truth if line["query_id"] == QUERY_ID)["false_negatives"])


def _column(
    sheet: Sheet, x: float, name: str, positives: list[tuple[list[str], str]], negatives: list[tuple[list[str], str]]
) -> None:
    y = sheet.height - 0.58
    sheet.writer.write(x, y, name, width=_HALF - 0.2, size=SMALL, color=FAINT)
    for title, groups in (("positives", positives), ("hard negatives", negatives)):
        lines = [(text, color) for texts, color in groups for text in texts]
        y -= _LINE
        sheet.writer.write(x, y, f"{title}: {len(lines)}", width=_HALF - 0.2, size=SIZE, bold=True)
        for text, color in lines[:_SHOWN]:
            y -= _LINE
            sheet.writer.write(x + 0.1, y, text, width=_HALF - 0.3, size=SMALL, color=color)


def main() -> None:
    PICTURE.write_bytes(picture())


if __name__ == "__main__":
    main()
