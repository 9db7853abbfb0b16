"""The pages of the Space, put together with gradio.

Lists, rows and tables are HTML of our own (`views`), in which every text of a release is text; gradio brings the
filters, the sign-in and the way between browser and server. Handlers keep nothing between two requests: what a page
shows follows from its address and from what it sends, so a server may be restarted under an open page.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

# Before gradio is imported, which reads them then: no word to anybody about who runs what.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

import gradio as gr

from hf_relabel.builders.errors import ConfigError, RelabelError
from hf_relabel.builders.techniques import Technique
from hf_relabel.hub_tools.hub.redaction import redact
from hf_relabel.hub_tools.space.data.index import Filter
from hf_relabel.hub_tools.space.people.adjudication import CHOICES
from hf_relabel.hub_tools.space.running import Running
from hf_relabel.hub_tools.space.web import views
from hf_relabel.hub_tools.space.web.texts import one_line, visible

if TYPE_CHECKING:
    from hf_relabel.hub_tools.space.people.adjudication import Adjudication
    from hf_relabel.hub_tools.space.people.allowed import Permission

PAGES = (
    ("Overview", ""),
    ("Rows", "rows"),
    ("Before and after", "techniques"),
    ("Difference", "difference"),
    ("Adjudicate", "adjudicate"),
    ("Agreement", "agreement"),
)
"""Title and path of each page."""

MOST_TEXT = 500
"""Characters of a search."""
_LISTENING = """
const known = ['open', 'turn'];
element.addEventListener('click', event => {
  const button = event.target.closest('button[data-do]');
  if (!button || button.disabled || !known.includes(button.dataset.do)) return;
  if (button.dataset.do === 'open') hfRelabel.chosen();
  trigger(button.dataset.do, {...button.dataset});
});
hfRelabel.shown(element, trigger, watch);
"""
_NO_ROW = "No row to show before and after."
_CHOOSE_ROW = "Choose a row to see its passages, and what every stage said of them."


def build(running: Running) -> gr.Blocks:
    """The app: one page per entry of `PAGES`."""
    title = f"hf-relabel: {one_line(visible(running.settings.name), 80)}"
    demo = gr.Blocks(title=title, analytics_enabled=False, fill_width=True)
    makers = (_overview_page, _rows_page, _techniques_page, _difference_page, _adjudicate_page, _agreement_page)
    for (title, path), make in zip(PAGES, makers, strict=True):
        with demo.route(title, path, show_in_navbar=False) if path else demo:
            _own_html(views.head_html(running.settings.name, path, PAGES), elem_id="hr-head")
            make(running, demo)
    # Told that it runs as a Space, gradio's page puts a bar with fonts and scripts of other sites on top.
    demo.space_id = None
    demo.queue(default_concurrency_limit=None, api_open=False)
    return demo


def theme() -> gr.themes.Base:
    """Fonts of the system, one accent, and nothing that is fetched from elsewhere."""
    return gr.themes.Base(
        primary_hue=gr.themes.colors.blue,
        secondary_hue=gr.themes.colors.slate,
        neutral_hue=gr.themes.colors.slate,
        radius_size=gr.themes.sizes.radius_sm,
        font=["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"],
        font_mono=["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace"],
    )


def _html(show: Callable[[], str]) -> str:
    """HTML of a page, or one sentence on why there is none."""
    try:
        return show()
    except RelabelError as error:
        return views.notice_html(_sentence(error))


def _sentence(error: Exception) -> str:
    return redact(" ".join(str(error).split()))


def _overview_page(running: Running, demo: gr.Blocks) -> None:
    page = _own_html(views.empty_html("Opening the release …"))

    def show() -> str:
        return _html(lambda: views.overview_html(running.overview()))

    demo.load(show, outputs=page, **_quiet())


def _rows_page(running: Running, demo: gr.Blocks) -> None:
    with gr.Row(elem_id="hr-filters"):
        text = gr.Textbox(label="Search queries and query ids", elem_id="hr-search", scale=3, max_lines=1)
        subset = gr.Dropdown([], label="Subset", elem_id="hr-subset", scale=2, filterable=True)
        outcomes = gr.Dropdown(
            [(title, name) for name, title in views.OUTCOMES.items()],
            label="Verdict",
            multiselect=True,
            elem_id="hr-outcomes",
            scale=2,
        )
        labels = gr.Dropdown(list(views.LABELS), label="Label of the last stage", multiselect=True, scale=2)
        with gr.Column(scale=2, min_width=200):
            disagreement = gr.Checkbox(label="Stages disagree", elem_id="hr-disagree", container=False)
            suspects = gr.Checkbox(label="Suspected positives", elem_id="hr-suspects", container=False)
    with gr.Row(elem_id="hr-browse"):
        found = _own_html(views.empty_html("Opening the release …"), js_on_load=_LISTENING, elem_id="hr-found")
        row = _own_html(views.empty_html(_CHOOSE_ROW), js_on_load=_LISTENING, elem_id="hr-row")
    filters: list[Any] = [text, subset, outcomes, labels, disagreement, suspects]

    def find(*values: Any) -> str:
        return _html(lambda: _list(running, _filter(running, values), 0))

    def turn(event: gr.EventData, *values: Any) -> str:
        return _html(lambda: _list(running, _filter(running, values), _sent(event, "offset")))

    def open_row(event: gr.EventData, *values: Any) -> str:
        return _html(lambda: _row(running, _filter(running, values), _sent(event, "row")))

    def start(request: gr.Request) -> list[Any]:
        """The page as its address says: a search, and a row."""
        asked = dict(request.query_params)
        words = _words(asked.get("q"))
        wanted = Filter(text=words)
        choices = _html_or_list(lambda: _subset_choices(running))
        chosen = _number(asked.get("row"))
        shown = _html(lambda: _list(running, wanted, 0, chosen))
        opened = _html(lambda: _row_or_first(running, wanted, chosen))
        return [gr.update(value=words) if words else gr.skip(), gr.update(choices=choices, value="all"), shown, opened]

    demo.load(start, outputs=[text, subset, found, row], **_quiet())
    # `input` of a text box misses what is typed first after a value was put into it.
    text.change(find, filters, found, trigger_mode="always_last", **_quiet())
    for each in filters[1:]:
        each.input(find, filters, found, trigger_mode="always_last", **_quiet())
    found.turn(turn, filters, found, **_quiet())
    found.open(open_row, filters, row, **_quiet())
    row.open(open_row, filters, row, **_quiet())


def _techniques_page(running: Running, demo: gr.Blocks) -> None:
    with gr.Row(elem_id="hr-filters"):
        technique = gr.Radio([], label="Technique", elem_id="hr-technique", scale=4)
        subset = gr.Dropdown([], label="Subset", scale=2, filterable=True)
        text = gr.Textbox(label="Search queries and query ids", scale=2, max_lines=1)
    counts = _own_html(views.empty_html("Opening the release …"))
    with gr.Row(elem_id="hr-browse"):
        found = _own_html(js_on_load=_LISTENING, elem_id="hr-found")
        row = _own_html(views.empty_html("Opening the release …"), js_on_load=_LISTENING, elem_id="hr-row")
    filters = [technique, subset, text]

    def wanted(values: tuple[Any, ...]) -> Filter:
        name, subset_value, words = values
        return Filter(
            text=_words(words),
            subset=_subset_named(running, subset_value),
            changed_by=name if name in tuple(Technique) and name != Technique.ORIGINAL else None,
        )

    def find(*values: Any) -> list[str]:
        return [
            _html(lambda: _changes(running, values[0])),
            _html(lambda: _list(running, wanted(values), 0)),
            _html(lambda: _first_effect(running, wanted(values), str(values[0]))),
        ]

    def turn(event: gr.EventData, *values: Any) -> str:
        return _html(lambda: _list(running, wanted(values), _sent(event, "offset")))

    def open_row(event: gr.EventData, *values: Any) -> str:
        return _html(lambda: _effect(running, wanted(values), str(values[0]), _sent(event, "row")))

    def start() -> list[Any]:
        try:
            overview = running.overview()
        except RelabelError as error:
            return [gr.update(), gr.update(), views.notice_html(_sentence(error)), "", ""]
        names = [config.name for config in overview.configs if config.name != Technique.ORIGINAL]
        chosen = overview.default_config if overview.default_config in names else names[0] if names else None
        return [
            gr.update(choices=[(one_line(visible(name), 40), name) for name in names], value=chosen),
            gr.update(choices=_subset_choices(running), value="all"),
            *find(chosen, "all", ""),
        ]

    shown = [counts, found, row]
    demo.load(start, outputs=[technique, subset, *shown], **_quiet())
    text.change(find, filters, shown, trigger_mode="always_last", **_quiet())
    for each in (technique, subset):
        each.input(find, filters, shown, trigger_mode="always_last", **_quiet())
    found.turn(turn, filters, found, **_quiet())
    found.open(open_row, filters, row, **_quiet())
    row.open(open_row, filters, row, **_quiet())


def _difference_page(running: Running, demo: gr.Blocks) -> None:
    with gr.Row(elem_id="hr-filters"):
        before = gr.Dropdown([], label="Before", allow_custom_value=True, elem_id="hr-before", scale=2)
        after = gr.Dropdown([], label="After", allow_custom_value=True, elem_id="hr-after", scale=2)
        compare = gr.Button("Compare", variant="primary", elem_id="hr-compare", scale=1, min_width=120)
    page = _own_html(
        views.empty_html("Choose two versions, or name other releases (user/repo@v1.0.0)."),
        js_on_load=_LISTENING,
        elem_id="hr-changes",
    )

    def show(old: Any, new: Any, offset: int = 0, kind: str | None = None) -> str:
        return _html(lambda: _difference(running, _words(old), _words(new), offset, kind))

    def first(old: Any, new: Any) -> str:
        return show(old, new)

    def turn(event: gr.EventData, old: Any, new: Any) -> str:
        kind = _data(event).get("kind")
        return show(old, new, _sent(event, "offset"), kind if kind in views.KINDS else None)

    def start() -> list[Any]:
        try:
            versions = running.versions()
            overview = running.overview()
        except RelabelError:
            return [gr.update(), gr.update()]
        current = overview.version if overview.version in versions else next(iter(versions), None)
        older = versions[versions.index(current) + 1 :] if current else []
        choices = [(one_line(visible(name), 60), name) for name in versions]
        return [
            gr.update(choices=choices, value=older[0] if older else None),
            gr.update(choices=choices, value=current),
        ]

    demo.load(start, outputs=[before, after], **_quiet())
    compare.click(first, [before, after], page, **_quiet())
    page.turn(turn, [before, after], page, **_quiet())


def _adjudicate_page(running: Running, demo: gr.Blocks) -> None:
    if running.settings.is_space:
        gr.LoginButton(elem_id="hr-login", size="sm", logout_value="Sign out ({})")

    def adjudicate(sent: Any, request: gr.Request) -> dict[str, Any]:
        return _adjudicated(running, sent if isinstance(sent, Mapping) else {}, request)

    _own_html(
        views.empty_html("Opening the release …"),
        js_on_load="hfRelabel.adjudicate(element, server);",
        server_functions=[adjudicate],
        elem_id="hr-adjudicate",
    )


def _agreement_page(running: Running, demo: gr.Blocks) -> None:
    def agreement(sent: Any) -> str:
        return _html(lambda: _agreement(running.adjudication()))

    _own_html(
        views.empty_html("Reading the answers …"),
        js_on_load="hfRelabel.live(element, server.agreement, 4000);",
        server_functions=[agreement],
        elem_id="hr-agreement",
    )


def _own_html(value: str = "", **options: Any) -> gr.HTML:
    """A part of a page that our own templates fill."""
    return gr.HTML(value, apply_default_css=False, **options)


def _quiet() -> dict[str, Any]:
    """Options of every event: answered at once and in parallel, without a veil over the page, and not for scripts."""
    return {"queue": False, "show_progress": "hidden", "api_visibility": "private"}


def _list(running: Running, wanted: Filter, offset: int, opened: int | None = None) -> str:
    browser = running.browser()
    page = browser.find(wanted, offset=offset, size=views.PAGE_ROWS)
    browser.prefetch([line.number for line in page.lines])
    return views.list_html(page, query={"q": wanted.text} if wanted.text else {}, opened=opened)


def _row(running: Running, wanted: Filter, number: int) -> str:
    browser = running.browser()
    return views.row_html(browser.row(number), browser.around(number, wanted))


def _row_or_first(running: Running, wanted: Filter, number: int | None) -> str:
    """A row, else the first that is found, so that there is something to see at once."""
    number = _first(running, wanted) if number is None else number
    return views.empty_html(_CHOOSE_ROW) if number is None else _row(running, wanted, number)


def _first(running: Running, wanted: Filter) -> int | None:
    lines = running.browser().find(wanted, size=1).lines
    return lines[0].number if lines else None


def _first_effect(running: Running, wanted: Filter, technique: str) -> str:
    number = _first(running, wanted)
    return views.empty_html(_NO_ROW) if number is None else _effect(running, wanted, technique, number)


def _effect(running: Running, wanted: Filter, technique: str, number: int) -> str:
    browser = running.browser()
    return views.effect_html(browser.row(number), technique, browser.around(number, wanted))


def _changes(running: Running, technique: Any) -> str:
    """The counts of one technique before and after."""
    overview = running.overview()
    total = next((config for config in overview.configs if config.name == technique), None)
    if total is None:
        return views.empty_html("Choose a technique.")
    return views.changes_by_technique_html(total, overview.config_subsets.get(total.name, ()), overview)


def _difference(running: Running, before: str, after: str, offset: int, kind: str | None) -> str:
    comparison = running.comparison(before, after)
    state = comparison.wait(0.3)
    counts = comparison.counts()
    page = None if counts is None else comparison.page(offset=offset, size=views.PAGE_CHANGES, kind=kind)
    return views.difference_html(comparison.before, comparison.after, state, counts, page, kind=kind)


def _agreement(adjudication: Adjudication) -> str:
    return views.agreement_html(adjudication.agreement(), adjudication.sync_state())


def _adjudicated(running: Running, sent: Mapping[str, Any], request: Any) -> dict[str, Any]:
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
        return {"state": "error", "person": None, "progress": "", "question": views.notice_html(_sentence(error))}


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


def _filter(running: Running, values: tuple[Any, ...]) -> Filter:
    """What the filters of the page say."""
    text, subset, outcomes, labels, disagreement, suspects = values
    return Filter(
        text=_words(text),
        subset=_subset_named(running, subset),
        outcomes=tuple(name for name in outcomes or () if name in views.OUTCOMES),
        labels=tuple(name for name in labels or () if name in views.LABELS),
        disagreement=bool(disagreement),
        suspects=bool(suspects),
    )


def _words(text: Any) -> str:
    """A text that somebody typed, without halves of characters, which neither index nor address can hold."""
    words = text.strip()[:MOST_TEXT] if isinstance(text, str) else ""
    return words.encode("utf-8", "replace").decode()


def _subset_choices(running: Running) -> list[tuple[str, str]]:
    """Names of subsets and what stands for them: their place, since a name may be anything."""
    subsets = running.overview().subsets
    named = [(one_line(visible(subset.name), 60) or "(none)", str(place)) for place, subset in enumerate(subsets)]
    return [("all", "all"), *named]


def _subset_named(running: Running, value: Any) -> str | None:
    """The subset that a choice stands for; None for all."""
    place = _number(value)
    subsets = running.overview().subsets
    return subsets[place].name if place is not None and place < len(subsets) else None


def _html_or_list(choices: Callable[[], list[tuple[str, str]]]) -> list[tuple[str, str]]:
    try:
        return choices()
    except RelabelError:
        return [("all", "all")]


def _data(event: gr.EventData) -> Mapping[str, Any]:
    """What a page sent with an event."""
    data = event._data
    return data if isinstance(data, Mapping) else {}


def _sent(event: gr.EventData, name: str) -> int:
    """A whole number that a page sent with an event.

    Raises:
        ConfigError: it sent none.
    """
    number = _number(_data(event).get(name))
    if number is None:
        raise ConfigError(f"The page sent no number for {name!r}. Reload it.")
    return number


def _number(value: Any) -> int | None:
    text = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 12 else None


__all__ = ["PAGES", "build", "theme"]
