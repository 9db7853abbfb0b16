"""The pages as HTML. Every value in it is text: the templates escape all they are given, see `_text`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from hf_relabel.hub_tools.space.data.browsed_row import BrowsedRow, TechniqueEffect
from hf_relabel.hub_tools.space.data.differences import ChangePage, ComparisonState
from hf_relabel.hub_tools.space.data.index import Page
from hf_relabel.hub_tools.space.data.overview import ConfigCounts, Overview, SubsetCounts
from hf_relabel.hub_tools.space.people.agreement import Agreement
from hf_relabel.hub_tools.space.people.allowed import Permission
from hf_relabel.hub_tools.space.people.questions import Progress, Question, SampleState
from hf_relabel.hub_tools.space.people.sending import SyncState
from hf_relabel.hub_tools.space.web.texts import excerpt, one_line, text_limit, visible

if TYPE_CHECKING:
    from jinja2 import Environment

_HERE = Path(__file__).parent
PAGE_ROWS = 20
PAGE_CHANGES = 50
MOST_SUBSETS = 100
"""Subsets in a table of the overview, the largest. All are in manifest.json."""
JUDGED_CHARACTERS = 4_000
"""Of a passage that show at once where people judge it: they should have to open few."""
MOST_BAR = 8
"""Rows with so many false negatives or more share one bar."""

_BOUNDS = ("value", "low", "high")

KEYS = {"better": "1", "worse": "2", "irrelevant": "3", "cannot tell": "4"}
"""The key of each answer."""
ANSWERS = {
    "better": "Relevant, at least as good",
    "worse": "Relevant, but less so",
    "irrelevant": "Not relevant",
    "cannot tell": "Cannot tell",
}

OUTCOMES = {
    "false_negative": "false negative",
    "duplicate": "copy of a positive",
    "doubtful": "doubtful",
    "negative": "negative",
    "empty": "empty",
    "unjudged": "unjudged",
}
LABELS = ("better", "worse", "irrelevant", "unparsable", "failed", "not-asked")
DROPPED = {
    "false_negative": "false negative",
    "duplicate": "copy of a positive",
    "repeated": "repeats another",
    "doubtful": "doubtful",
    "empty": "empty",
    "row": "with its row",
}
KINDS = {
    "row_added": "row added",
    "row_dropped": "row dropped",
    "row_changed": "row changed",
    "verdict_changed": "verdict changed",
}


def overview_html(overview: Overview) -> str:
    """What the manifest says, as one page."""
    return _render(
        "overview.html.jinja",
        overview=overview,
        spread=_spread(overview.total),
        subsets=overview.subsets[:MOST_SUBSETS],
        more_subsets=max(0, len(overview.subsets) - MOST_SUBSETS),
        false_negatives=false_negatives(overview.total),
        intervals=_intervals(overview),
        configs={config.name: config for config in overview.configs},
        source=overview.source.get("name"),
        audit=_audit(overview.audit),
    )


def _audit(audit: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The figures of an audit; None where there is none, or a manifest that others wrote has something else there."""
    try:
        verdict = (audit or {})["verdict"]
        estimates = {
            name: {bound: None if verdict[key][bound] is None else float(verdict[key][bound]) for bound in _BOUNDS}
            for name, key in (("precision", "precision"), ("recall", "recall"), ("F1", "f1"), ("κ", "kappa"))
        }
        return {"estimates": estimates, "answers": int(verdict["answers"]), "drawn": int((audit or {})["drawn"])}
    except (KeyError, TypeError, ValueError):
        return None


def false_negatives(counts: SubsetCounts) -> int:
    """Candidates that are false negatives, copies of positives included."""
    return counts.outcomes.get("false_negative", 0) + counts.outcomes.get("duplicate", 0)


def _spread(counts: SubsetCounts) -> list[dict[str, Any]]:
    """Rows by their number of false negatives, from one on; the last bar takes all that have more."""
    rows = [0] * MOST_BAR
    for number, some in counts.spread.items():
        if number > 0:
            rows[min(number, MOST_BAR) - 1] += some
    most, affected = max(rows) or 1, sum(rows) or 1
    names = [*(str(number) for number in range(1, MOST_BAR)), f"{MOST_BAR}+"]
    return [
        {"name": name, "rows": some, "share": some / affected, "height": some / most}
        for name, some in zip(names, rows, strict=True)
    ]


def _intervals(overview: Overview) -> dict[str, dict[str, float]]:
    """Where the interval of each technique's difference lies on a scale that all share, in shares of its width."""
    known = [each for each in overview.techniques if each.low is not None and each.high is not None]
    if not known:
        return {}
    least = min(0.0, *(float(each.low or 0) for each in known))
    most = max(0.0, *(float(each.high or 0) for each in known))
    width = (most - least) or 1.0
    return {
        each.name: {
            "left": (float(each.low or 0) - least) / width,
            "width": (float(each.high or 0) - float(each.low or 0)) / width,
            "point": (float(each.difference or 0) - least) / width,
            "zero": -least / width,
        }
        for each in known
    }


def list_html(page: Page, *, query: Mapping[str, str], opened: int | None = None) -> str:
    """The rows that were found.

    Args:
        query: the filter as parameters of an address, by which the page can be called up again.
    """
    return _render(
        "list.html.jinja",
        page=page,
        size=PAGE_ROWS,
        address=urlencode(query, errors="replace"),
        opened=opened,
        last_offset=max(0, (page.total - 1) // PAGE_ROWS * PAGE_ROWS),
    )


def row_html(row: BrowsedRow, around: tuple[int | None, int | None]) -> str:
    """A row with its candidates and what every stage said of them."""
    return _render("row.html.jinja", row=row, around=around, limit=_limit_of(row), effects=row.techniques)


def effect_html(row: BrowsedRow, technique: str, around: tuple[int | None, int | None]) -> str:
    """A row before and after one technique."""
    effect = next((each for each in row.techniques if each.technique == technique), None)
    return _render(
        "effect.html.jinja",
        row=row,
        around=around,
        effect=effect,
        limit=_limit_of(row),
        fate={} if effect is None else _fates(effect),
    )


def _fates(effect: TechniqueEffect) -> dict[int, str]:
    """What becomes of each candidate, in a word."""
    moved = dict.fromkeys(effect.moved, "moved")
    return {**dict.fromkeys(effect.kept, "kept"), **moved, **dict.fromkeys(effect.dropped, "dropped")}


def _limit_of(row: BrowsedRow) -> int:
    return text_limit(1 + len(row.positives) + len(row.candidates))


def changes_by_technique_html(total: ConfigCounts, subsets: Sequence[ConfigCounts], original: Overview) -> str:
    """Rows and passages before and after a technique, all together and by subset."""
    return _render(
        "technique.html.jinja",
        total=total,
        lines=[*subsets[:MOST_SUBSETS], total],
        more_subsets=max(0, len(subsets) - MOST_SUBSETS),
        what=next((each.what for each in original.techniques if each.name == total.name), ""),
        limit=original.limit,
    )


def difference_html(
    before: str,
    after: str,
    state: ComparisonState,
    counts: Mapping[str, Any] | None,
    page: ChangePage | None,
    *,
    kind: str | None = None,
) -> str:
    """What changed between two releases; while it is being worked out, how far that is."""
    return _render(
        "difference.html.jinja",
        before=before,
        after=after,
        state=state,
        counts=counts,
        page=page,
        kind=kind,
        kinds=KINDS,
        size=PAGE_CHANGES,
        most=MOST_SUBSETS,
    )


def question_html(question: Question) -> str:
    """What a person answers. Nothing in it comes from a judge."""
    texts = 2 + len(question.positives)
    return _render(
        "question.html.jinja",
        question=question,
        limit=text_limit(texts),
        short=JUDGED_CHARACTERS,
        answers=ANSWERS,
        keys=KEYS,
    )


def waiting_html(state: SampleState) -> str:
    """How far the drawing of the sample is."""
    return _render("waiting.html.jinja", state=state)


def finished_html(progress: Progress) -> str:
    """A person has answered everything."""
    return _render("finished.html.jinja", progress=progress)


def progress_html(permission: Permission, progress: Progress, sync: SyncState) -> str:
    """How far a person is, and what is not on the Hub yet."""
    return _render("progress.html.jinja", permission=permission, progress=progress, sync=sync)


def agreement_html(agreement: Agreement, sync: SyncState) -> str:
    """How people and judges agree by now."""
    judges = sorted({judge for said in agreement.by_person.values() for judge in said})
    return _render("agreement.html.jinja", agreement=agreement, judges=judges, sync=sync)


def head_html(name: str, page: str, pages: Iterable[tuple[str, str]]) -> str:
    """The name of the release and the way to the other pages."""
    return _render("head.html.jinja", name=name, page=page, pages=list(pages))


def notice_html(message: str, *, kind: str = "error") -> str:
    """One sentence in place of what cannot be shown."""
    return _render("notice.html.jinja", message=message, kind=kind)


def empty_html(message: str) -> str:
    """What stands where nothing has been chosen yet."""
    return notice_html(message, kind="empty")


def static_text(name: str) -> str:
    """A style sheet or script of ours."""
    return (_HERE / "static" / name).read_text(encoding="utf-8")


def _render(template: str, **values: Any) -> str:
    return _environment().get_template(template).render(**values)


@cache
def _environment() -> Environment:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        finalize=_text,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "excerpt": excerpt,
        "short": lambda text, limit=200: one_line(str(text), limit),
        "number": _number,
        "share": _share,
        "figure": _figure,
        "signed": _signed,
        "outcome": lambda name: OUTCOMES.get(name, name),
        "dropped": lambda name: DROPPED.get(name, name),
        "css": _css_word,
    }
    environment.globals["false_negatives_of"] = false_negatives
    return environment


def _text(value: Any) -> Any:
    """A value as it stands on the page. Escaped here, so that it is whatever the template does with it."""
    from markupsafe import Markup, escape

    if isinstance(value, Markup):
        return value
    return escape(visible("–" if value is None else str(value)))


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}"


def _share(part: float, whole: float) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "–"


def _figure(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}f}".replace("-", "−")


def _signed(value: float | None, digits: int = 2) -> str:
    return "–" if value is None else f"{value:+.{digits}f}".replace("-", "−")


def _css_word(text: str) -> str:
    """A word of ours as part of a class name; of other texts nothing is left that could be one."""
    return "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in text[:30])
