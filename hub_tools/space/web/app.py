"""The pages of the Space, put together with gradio.

Lists, rows and tables are HTML of our own (`views`), in which every text of a release is text; gradio brings the
filters, the sign-in and the way between browser and server. Handlers keep nothing between two requests: what a page
shows follows from its address and from what it sends, so a server may be restarted under an open page.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

# Before gradio is imported, which reads them then: no word to anybody about who runs what.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

import gradio as gr

from hf_relabel.builders.errors import RelabelError
from hf_relabel.builders.techniques import Technique
from hf_relabel.hub_tools.space.data.filters import Filter
from hf_relabel.hub_tools.space.running import Running
from hf_relabel.hub_tools.space.web import events, views
from hf_relabel.hub_tools.space.web.texts import one_line, visible

PAGES = (
    ("Overview", ""),
    ("Rows", "rows"),
    ("Before and after", "techniques"),
    ("Difference", "difference"),
    ("Adjudicate", "adjudicate"),
    ("Agreement", "agreement"),
)
"""Title and path of each page."""

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


def build(running: Running) -> gr.Blocks:
    """The app: one page per entry of `PAGES`."""
    title = f"hf-relabel: {one_line(visible(running.settings.name), 80)}"
    demo = gr.Blocks(title=title, analytics_enabled=False, fill_width=True)
    makers = (_overview_page, _rows_page, _techniques_page, _difference_page, _adjudicate_page, _agreement_page)
    for (title, path), make in zip(PAGES, makers, strict=True):
        with demo.route(title, path, show_in_navbar=False) if path else demo:
            events.own_html(views.head_html(running.settings.name, path, PAGES), elem_id="hr-head")
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
        return views.notice_html(events.sentence(error))


def _overview_page(running: Running, demo: gr.Blocks) -> None:
    page = events.own_html(views.empty_html("Opening the release …"))

    def show() -> str:
        return _html(lambda: views.overview_html(running.overview()))

    demo.load(show, outputs=page, **events.quiet())


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
        found = events.own_html(views.empty_html("Opening the release …"), js_on_load=_LISTENING, elem_id="hr-found")
        row = events.own_html(views.empty_html(events.CHOOSE_ROW), js_on_load=_LISTENING, elem_id="hr-row")
    filters: list[Any] = [text, subset, outcomes, labels, disagreement, suspects]

    def find(*values: Any) -> str:
        return _html(lambda: events.listed(running, events.wanted_rows(running, values), 0))

    def turn(event: gr.EventData, *values: Any) -> str:
        return _html(lambda: events.listed(running, events.wanted_rows(running, values), events.sent(event, "offset")))

    def open_row(event: gr.EventData, *values: Any) -> str:
        return _html(lambda: events.row(running, events.wanted_rows(running, values), events.sent(event, "row")))

    def start(request: gr.Request) -> list[Any]:
        """The page as its address says: a search, and a row."""
        asked = dict(request.query_params)
        words = events.words(asked.get("q"))
        wanted = Filter(text=words)
        choices = events.html_or_list(lambda: events.subset_choices(running))
        chosen = events.number_of(asked.get("row"))
        shown = _html(lambda: events.listed(running, wanted, 0, chosen))
        opened = _html(lambda: events.row_or_first(running, wanted, chosen))
        return [gr.update(value=words) if words else gr.skip(), gr.update(choices=choices, value="all"), shown, opened]

    demo.load(start, outputs=[text, subset, found, row], **events.quiet())
    # `input` of a text box misses what is typed first after a value was put into it.
    text.change(find, filters, found, trigger_mode="always_last", **events.quiet())
    for each in filters[1:]:
        each.input(find, filters, found, trigger_mode="always_last", **events.quiet())
    found.turn(turn, filters, found, **events.quiet())
    found.open(open_row, filters, row, **events.quiet())
    row.open(open_row, filters, row, **events.quiet())


def _techniques_page(running: Running, demo: gr.Blocks) -> None:
    with gr.Row(elem_id="hr-filters"):
        technique = gr.Radio([], label="Technique", elem_id="hr-technique", scale=4)
        subset = gr.Dropdown([], label="Subset", scale=2, filterable=True)
        text = gr.Textbox(label="Search queries and query ids", scale=2, max_lines=1)
    counts = events.own_html(views.empty_html("Opening the release …"))
    with gr.Row(elem_id="hr-browse"):
        found = events.own_html(js_on_load=_LISTENING, elem_id="hr-found")
        row = events.own_html(views.empty_html("Opening the release …"), js_on_load=_LISTENING, elem_id="hr-row")
    filters = [technique, subset, text]

    def wanted(values: tuple[Any, ...]) -> Filter:
        name, subset_value, words = values
        return Filter(
            text=events.words(words),
            subset=events.subset_named(running, subset_value),
            changed_by=name if name in tuple(Technique) and name != Technique.ORIGINAL else None,
        )

    def find(*values: Any) -> list[str]:
        return [
            _html(lambda: events.changes(running, values[0])),
            _html(lambda: events.listed(running, wanted(values), 0)),
            _html(lambda: events.first_effect(running, wanted(values), str(values[0]))),
        ]

    def turn(event: gr.EventData, *values: Any) -> str:
        return _html(lambda: events.listed(running, wanted(values), events.sent(event, "offset")))

    def open_row(event: gr.EventData, *values: Any) -> str:
        return _html(lambda: events.effect(running, wanted(values), str(values[0]), events.sent(event, "row")))

    def start() -> list[Any]:
        try:
            overview = running.overview()
        except RelabelError as error:
            return [gr.update(), gr.update(), views.notice_html(events.sentence(error)), "", ""]
        names = [config.name for config in overview.configs if config.name != Technique.ORIGINAL]
        chosen = overview.default_config if overview.default_config in names else names[0] if names else None
        return [
            gr.update(choices=[(one_line(visible(name), 40), name) for name in names], value=chosen),
            gr.update(choices=events.subset_choices(running), value="all"),
            *find(chosen, "all", ""),
        ]

    shown = [counts, found, row]
    demo.load(start, outputs=[technique, subset, *shown], **events.quiet())
    text.change(find, filters, shown, trigger_mode="always_last", **events.quiet())
    for each in (technique, subset):
        each.input(find, filters, shown, trigger_mode="always_last", **events.quiet())
    found.turn(turn, filters, found, **events.quiet())
    found.open(open_row, filters, row, **events.quiet())
    row.open(open_row, filters, row, **events.quiet())


def _difference_page(running: Running, demo: gr.Blocks) -> None:
    with gr.Row(elem_id="hr-filters"):
        before = gr.Dropdown([], label="Before", allow_custom_value=True, elem_id="hr-before", scale=2)
        after = gr.Dropdown([], label="After", allow_custom_value=True, elem_id="hr-after", scale=2)
        compare = gr.Button("Compare", variant="primary", elem_id="hr-compare", scale=1, min_width=120)
    page = events.own_html(
        views.empty_html("Choose two versions, or name other releases (user/repo@v1.0.0)."),
        js_on_load=_LISTENING,
        elem_id="hr-changes",
    )

    def show(old: Any, new: Any, request: gr.Request, offset: int = 0, kind: str | None = None) -> str:
        sides = events.words(old), events.words(new)
        return _html(lambda: events.difference(running, *sides, offset, kind, request))

    def first(old: Any, new: Any, request: gr.Request) -> str:
        return show(old, new, request)

    def turn(event: gr.EventData, old: Any, new: Any, request: gr.Request) -> str:
        kind = events.data(event).get("kind")
        return show(old, new, request, events.sent(event, "offset"), kind if kind in views.KINDS else None)

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

    demo.load(start, outputs=[before, after], **events.quiet())
    compare.click(first, [before, after], page, **events.quiet())
    page.turn(turn, [before, after], page, **events.quiet())


def _adjudicate_page(running: Running, demo: gr.Blocks) -> None:
    if running.settings.is_space:
        gr.LoginButton(elem_id="hr-login", size="sm", logout_value="Sign out ({})")

    def adjudicate(sent: Any, request: gr.Request) -> dict[str, Any]:
        return events.adjudicated(running, sent if isinstance(sent, Mapping) else {}, request)

    events.own_html(
        views.empty_html("Opening the release …"),
        js_on_load="hfRelabel.adjudicate(element, server);",
        server_functions=[adjudicate],
        elem_id="hr-adjudicate",
    )


def _agreement_page(running: Running, demo: gr.Blocks) -> None:
    def agreement(sent: Any) -> str:
        return _html(lambda: events.agreement(running.adjudication()))

    events.own_html(
        views.empty_html("Reading the answers …"),
        js_on_load="hfRelabel.live(element, server.agreement, 4000);",
        server_functions=[agreement],
        elem_id="hr-agreement",
    )


__all__ = ["PAGES", "build", "theme"]
