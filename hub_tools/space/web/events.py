"""What happens when a page asks or sends something: each function answers one event, in text or HTML."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import gradio as gr

from hf_relabel.builders.audit.exports import CHOICES
from hf_relabel.builders.errors import ConfigError, RelabelError
from hf_relabel.hub_tools.hub.redaction import redact
from hf_relabel.hub_tools.space.data.filters import Filter
from hf_relabel.hub_tools.space.running import Running
from hf_relabel.hub_tools.space.web import views
from hf_relabel.hub_tools.space.web.texts import one_line, visible

if TYPE_CHECKING:
    from hf_relabel.hub_tools.space.people.adjudication import Adjudication
    from hf_relabel.hub_tools.space.people.allowed import Permission

MOST_TEXT = 500
"""Characters of a search."""
_NO_ROW = "No row to show before and after."
CHOOSE_ROW = "Choose a row to see its passages, and what every stage said of them."


def own_html(value: str = "", **options: Any) -> gr.HTML:
    """A part of a page that our own templates fill."""
    return gr.HTML(value, apply_default_css=False, **options)


def quiet() -> dict[str, Any]:
    """Options of every event: answered at once and in parallel, without a veil over the page, and not for scripts."""
    return {"queue": False, "show_progress": "hidden", "api_visibility": "private"}


def listed(running: Running, wanted: Filter, offset: int, opened: int | None = None) -> str:
    browser = running.browser()
    page = browser.find(wanted, offset=offset, size=views.PAGE_ROWS)
    browser.prefetch([line.number for line in page.lines])
    return views.list_html(page, query={"q": wanted.text} if wanted.text else {}, opened=opened)


def row(running: Running, wanted: Filter, number: int) -> str:
    browser = running.browser()
    return views.row_html(browser.row(number), browser.around(number, wanted))


def row_or_first(running: Running, wanted: Filter, number: int | None) -> str:
    """A row, else the first that is found, so that there is something to see at once."""
    number = _first(running, wanted) if number is None else number
    return views.empty_html(CHOOSE_ROW) if number is None else row(running, wanted, number)


def _first(running: Running, wanted: Filter) -> int | None:
    lines = running.browser().find(wanted, size=1).lines
    return lines[0].number if lines else None


def first_effect(running: Running, wanted: Filter, technique: str) -> str:
    number = _first(running, wanted)
    return views.empty_html(_NO_ROW) if number is None else effect(running, wanted, technique, number)


def effect(running: Running, wanted: Filter, technique: str, number: int) -> str:
    browser = running.browser()
    return views.effect_html(browser.row(number), technique, browser.around(number, wanted))


def changes(running: Running, technique: Any) -> str:
    """The counts of one technique before and after."""
    overview = running.overview()
    total = next((config for config in overview.configs if config.name == technique), None)
    if total is None:
        return views.empty_html("Choose a technique.")
    return views.changes_by_technique_html(total, overview.config_subsets.get(total.name, ()), overview)


def difference(running: Running, before: str, after: str, offset: int, kind: str | None, request: Any) -> str:
    comparison = running.comparison(before, after, request)
    state = comparison.wait(0.3)
    counts = comparison.counts()
    page = None if counts is None else comparison.page(offset=offset, size=views.PAGE_CHANGES, kind=kind)
    return views.difference_html(comparison.before, comparison.after, state, counts, page, kind=kind)


def agreement(adjudication: Adjudication) -> str:
    return views.agreement_html(adjudication.agreement(), adjudication.sync_state())


def adjudicated(running: Running, sent: Mapping[str, Any], request: Any) -> dict[str, Any]:
    """Do what a person's page asks for, and say what it is to show next.

    Args:
        sent: `do` is `show`, `answer` (with `item` and `value`), `undo` (with `item`, if the page
            knows which answer was the last) or `progress`. Who the person is comes from the
            request alone.

    Returns:
        `state` (`asking`, `waiting`, `finished`, `reading` or `error`), `person`, and HTML for `progress` and
        `question`; the question is None where the one that is shown stays.
    """
    try:
        permission = running.who(request)
        adjudication = running.adjudication()
        if not permission.may_write or permission.person is None:
            return {
                "state": "reading",
                "person": None,
                "progress": "",
                "question": views.notice_html(permission.reason, kind="empty"),
            }
        return _asked(adjudication, permission, permission.person, sent)
    except RelabelError as error:
        return {"state": "error", "person": None, "progress": "", "question": views.notice_html(sentence(error))}


def _asked(adjudication: Adjudication, permission: Permission, person: str, sent: Mapping[str, Any]) -> dict[str, Any]:
    state = adjudication.sample_state()
    if not state.is_ready:
        waiting = "error" if state.error else "waiting"
        return {"state": waiting, "person": person, "progress": "", "question": views.waiting_html(state)}
    do = sent.get("do")
    if do == "progress":
        return {"state": "asking", "person": person, "question": None, "progress": _progress(adjudication, permission)}
    question = None
    if do == "answer":
        value = sent.get("value")
        if value not in CHOICES:
            raise ConfigError(f"An answer is one of {', '.join(CHOICES)}.")
        adjudication.answer(person, str(sent.get("item")), str(value))
    elif do == "undo":
        # With the item, a request that is sent again takes no second answer back.
        item = sent.get("item")
        question = adjudication.undo(person, item if isinstance(item, str) else None)
    question = question or adjudication.next(person)
    finished = views.finished_html(adjudication.progress(person)) if question is None else ""
    return {
        "state": "finished" if question is None else "asking",
        "person": person,
        "progress": _progress(adjudication, permission),
        "question": finished if question is None else views.question_html(question),
    }


def _progress(adjudication: Adjudication, permission: Permission) -> str:
    return views.progress_html(permission, adjudication.progress(str(permission.person)), adjudication.sync_state())


def wanted_rows(running: Running, values: tuple[Any, ...]) -> Filter:
    """What the filters of the page say."""
    text, subset, outcomes, labels, disagreement, suspects = values
    return Filter(
        text=words(text),
        subset=subset_named(running, subset),
        outcomes=tuple(name for name in outcomes or () if name in views.OUTCOMES),
        labels=tuple(name for name in labels or () if name in views.LABELS),
        disagreement=bool(disagreement),
        suspects=bool(suspects),
    )


def words(text: Any) -> str:
    """A text that somebody typed, without halves of characters, which neither index nor address can hold."""
    words = text.strip()[:MOST_TEXT] if isinstance(text, str) else ""
    return words.encode("utf-8", "replace").decode()


def subset_choices(running: Running) -> list[tuple[str, str]]:
    """Names of subsets and what stands for them: their place, since a name may be anything."""
    subsets = running.overview().subsets
    named = [(one_line(visible(subset.name), 60) or "(none)", str(place)) for place, subset in enumerate(subsets)]
    return [("all", "all"), *named]


def subset_named(running: Running, value: Any) -> str | None:
    """The subset that a choice stands for; None for all."""
    place = number_of(value)
    subsets = running.overview().subsets
    return subsets[place].name if place is not None and place < len(subsets) else None


def html_or_list(choices: Callable[[], list[tuple[str, str]]]) -> list[tuple[str, str]]:
    try:
        return choices()
    except RelabelError:
        return [("all", "all")]


def data(event: gr.EventData) -> Mapping[str, Any]:
    """What a page sent with an event."""
    data = event._data
    return data if isinstance(data, Mapping) else {}


def sent(event: gr.EventData, name: str) -> int:
    """A whole number that a page sent with an event.

    Raises:
        ConfigError: it sent none.
    """
    number = number_of(data(event).get(name))
    if number is None:
        raise ConfigError(f"The page sent no number for {name!r}. Reload it.")
    return number


def number_of(value: Any) -> int | None:
    text = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 12 else None


def sentence(error: Exception) -> str:
    return redact(" ".join(str(error).split()))
