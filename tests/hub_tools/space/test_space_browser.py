"""A real browser drives the Space against releases on the local Hub."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from hf_relabel.builders.cascade.suspects import Opinion, Suspect
from hf_relabel.builders.configs.writing import write_configs
from hf_relabel.builders.judgements import Judgement, Label, Outcome, Verdict
from hf_relabel.builders.rows import NumberedRow, Passage, Row
from tests.hub_tools.local_hub.sign_in import SignIn
from tests.hub_tools.release_clients import Client, hub_and_client
from tests.hub_tools.releases_data import judged_rows
from tests.hub_tools.space_pages import ON_THE_HUB, Server, Visitor, real_browser, served, space

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.soak

WIDTHS = [(1440, 900), (390, 844)]
PAGES = ["", "rows", "rows?row=0", "techniques", "difference", "adjudicate", "agreement"]
REASONS = ("because", "on second thought")
HOSTILE = (
    "<script>window.pwned = 1; alert(1)</script>",
    "<img src=x onerror='window.pwned = 1'> <iframe src='http://evil.example/'></iframe>",
    "![image](http://evil.example/pixel.png) [link](javascript:alert(1)) <http://evil.example>",
    "${window.pwned = 1} {{#each value}}{{this}}{{/each}} {{constructor.constructor('window.pwned = 1')()}}",
    "abc \u202edetrever\u202c \u2066isolated\u2069 \u200b\x00\x07 end",
    "x" * 100_000,
    "&lt;b&gt; &amp; </div></details><style>body{display:none}</style>\"'><svg onload=alert(1)>",
)


def hostile_rows() -> list[tuple[NumberedRow, list[Verdict]]]:
    """A row for each hostile text, which stands in every place that a data set or a judge can fill."""
    rows = []
    for number, text in enumerate(HOSTILE):
        named = text[:300]
        passages = tuple(Passage(f"{named}-{index}", named, text) for index in range(4))
        row = Row(f"{number} {named}", text, passages[:1], passages[1:], named)
        first, second = Judgement(Label.BETTER, 0.9, text), Judgement(Label.WORSE, 0.2, text)
        outcomes = (Outcome.DOUBTFUL, Outcome.DOUBTFUL, Outcome.FALSE_NEGATIVE)
        verdicts = [
            Verdict(position, passage.docid, outcomes[position], "judged", (first, second if position < 2 else first))
            for position, passage in enumerate(passages[1:])
        ]
        rows.append((NumberedRow(number, row), verdicts))
    return rows


def suspected(numbered: NumberedRow) -> Sequence[Suspect]:
    if numbered.number % 10:
        return []
    row = numbered.row
    opinion = Opinion("listwise small", "worse", 0.2, 3, 4)
    return [Suspect(numbered.number, row.query_id, row.subset, 0, row.positive_passages[0].docid, "x", (opinion,))]


def write(folder: Path, rows: Any, stage: str = "cheap") -> Path:
    write_configs(
        rows,
        folder,
        stage_names=[stage, "accurate"],
        stage_judges=["listwise small", "listwise large"],
        suspects=suspected,
    )
    return folder


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """The owner of three releases: plain ones in two versions, one of an organisation, and a hostile one."""
    folder = tmp_path_factory.mktemp("hub")
    users = {name: f"hf_local_{name}_0123456789" for name in ("user", "ada", "grace", "eve")}
    members = {"acme": {"user": "admin", "ada": "write", "grace": "write"}}
    with hub_and_client(folder, users=users, organisations=members, beside=SignIn) as (_, client):
        plain = write(folder / "plain", judged_rows(60))
        changed = [(numbered, flipped(verdicts)) for numbered, verdicts in judged_rows(60)]
        hostile = write(folder / "hostile", hostile_rows(), stage=HOSTILE[0])
        for source, target in [
            (plain, "user/set"),
            (write(folder / "changed", changed), "user/set"),
            (plain, "user/killed"),
            (plain, "acme/set"),
            (hostile, "user/hostile"),
        ]:
            client.command_json("push", str(source), target, "--license", "unknown")
        yield client


def flipped(verdicts: list[Verdict]) -> list[Verdict]:
    """The first verdict of a row made a negative."""
    return [replace(verdicts[0], outcome=Outcome.NEGATIVE), *verdicts[1:]]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with real_browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def plain(client: Client, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with served(client, "user/set", tmp_path_factory.mktemp("plain"), "--sample", "60") as server:
        yield server


@pytest.fixture(scope="module")
def hostile(client: Client, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with served(client, "user/hostile", tmp_path_factory.mktemp("hostile")) as server:
        yield server


@pytest.fixture
def visit(browser: Browser) -> Iterator[Any]:
    """A new visitor: `visit(server)`."""
    contexts = []

    def visit(server: Server, width: int = 1440, height: int = 900, **options: Any) -> Visitor:
        contexts.append(browser.new_context(viewport={"width": width, "height": height}))
        contexts[-1].set_default_timeout(20_000)
        return Visitor.of(contexts[-1], server.url, **options)

    yield visit
    for context in contexts:
        context.close()


def lines(visitor: Visitor) -> list[str]:
    return visitor.page.locator("#hr-found .hr-line-query").all_inner_texts()


def test_the_overview_counts_what_is_in_the_release(plain: Server, visit: Any) -> None:
    visitor = visit(plain)
    page = visitor.go("")
    page.wait_for_selector("[data-name=hr-overview]")
    tiles = page.locator("section[aria-label=Counts] .hr-tile").all_inner_texts()
    assert [tile.split("\n")[:2] for tile in tiles][:3] == [
        ["60", "rows"],
        [str(affected_rows()), "with a false negative"],
        ["240", "candidates"],
    ]
    assert page.locator("text=set-0").count()
    assert (visitor.elsewhere(), visitor.complaints) == ([], [])


def affected_rows() -> int:
    return sum(any(verdict.is_false_negative for verdict in flipped(verdicts)) for _, verdicts in judged_rows(60))


def test_rows_are_searched_filtered_paged_and_opened(plain: Server, visit: Any) -> None:
    visitor = visit(plain)
    page = visitor.go("rows")
    page.wait_for_selector(".hr-line")
    assert len(lines(visitor)) == 20

    page.locator("#hr-found .hr-pager button", has_text="Next").click()
    page.wait_for_selector(".hr-list[data-offset='20']")
    assert lines(visitor)[0].startswith("query 20 ")

    page.fill("#hr-search textarea, #hr-search input", "query 17")
    page.wait_for_function("document.querySelectorAll('.hr-line').length === 1")
    page.click(".hr-line")
    page.wait_for_selector("article[data-row='17']")
    assert "query 17 of 0" in page.inner_text(".hr-known .hr-query")
    assert page.locator(".hr-candidates .hr-card").count() == 4
    assert REASONS[0] in page.inner_text(".hr-candidates")
    assert sorted(page.evaluate("window.location.search").removeprefix("?").split("&")) == ["q=query+17", "row=17"]

    page.reload()
    page.wait_for_selector("article[data-row='17']")
    assert len(lines(visitor)) == 1
    page.fill("#hr-search textarea, #hr-search input", "")
    page.wait_for_function("document.querySelectorAll('.hr-line').length === 20")
    page.locator("#hr-suspects input").check()
    page.wait_for_function("document.querySelectorAll('.hr-line').length === 6")
    page.locator("#hr-disagree input").check()
    expected = sum(disputed(verdicts) for numbered, verdicts in judged_rows(60) if numbered.number % 10 == 0)
    page.wait_for_function(f"document.querySelectorAll('.hr-line').length === {expected}")
    assert (visitor.elsewhere(), visitor.complaints) == ([], [])


def disputed(verdicts: list[Verdict]) -> bool:
    pairs = [verdict.stages for verdict in verdicts if None not in verdict.stages]
    return any((first.label is Label.BETTER) != (second.label is Label.BETTER) for first, second in pairs)


def test_a_subset_is_chosen_from_its_list(plain: Server, visit: Any) -> None:
    visitor = visit(plain)
    page = visitor.go("rows")
    page.wait_for_selector(".hr-line")
    page.click("#hr-subset input")
    page.get_by_role("option", name="set-1").click()
    page.wait_for_function("document.querySelector('.hr-count').innerText.startsWith('30 rows')")
    assert lines(visitor)[0].startswith("query 1 ")


@pytest.mark.parametrize("width", [1440, 390])
def test_the_first_row_is_open_before_one_is_chosen_and_moves_nothing(plain: Server, visit: Any, width: int) -> None:
    visitor = visit(plain)
    visitor.page.set_viewport_size({"width": width, "height": 844})
    for name, pane in (("rows", "hr-row"), ("techniques", "hr-effect")):
        page = visitor.go(name)
        page.wait_for_selector(f"article[data-name={pane}][data-row='0']")
        assert page.evaluate("window.scrollY") == 0
    visitor.page.locator(".hr-line").nth(1).click()
    visitor.page.wait_for_selector("article[data-row='1']")
    if width < 900:
        visitor.page.wait_for_function("window.scrollY > 0")
    assert visitor.complaints == []


def test_a_table_that_is_cut_says_so(plain: Server, visit: Any) -> None:
    """By a shadow on the side where there is more, in all tables, which are then scrolled by keys as well."""
    visitor = visit(plain)
    visitor.page.set_viewport_size({"width": 390, "height": 844})
    page = visitor.go("")
    page.wait_for_selector(".hr-table")
    tables = page.locator(".hr-table")
    cut = [tables.nth(place) for place in range(tables.count())]
    cut = [table for table in cut if table.evaluate("each => each.scrollWidth > each.clientWidth")]
    assert cut
    for table in cut:
        assert table.get_attribute("tabindex") == "0"
        assert table.evaluate("each => getComputedStyle(each).backgroundAttachment") == "local, local, scroll, scroll"


def test_pages_speak_no_command_line(plain: Server, visit: Any) -> None:
    visitor = visit(plain)
    for name in PAGES:
        text = visitor.go(name).inner_text("main")
        assert "--" not in text, name
        assert "relabel compare" not in text, name


def test_a_row_stands_before_and_after_a_technique(plain: Server, visit: Any) -> None:
    visitor = visit(plain)
    page = visitor.go("techniques")
    page.wait_for_selector(".hr-line")
    page.locator("#hr-technique label", has_text="relabel").first.click()
    page.wait_for_selector("[data-name=hr-effect] .hr-fate-moved")
    moved = page.locator("[data-name=hr-effect] section").nth(1).locator(".hr-fate-moved").count()
    assert moved == page.locator("[data-name=hr-effect] section").nth(0).locator(".hr-fate-moved").count() > 0
    assert visitor.complaints == []


def test_two_versions_are_compared(plain: Server, visit: Any) -> None:
    visitor = visit(plain)
    page = visitor.go("difference")
    page.wait_for_function("(document.querySelector('#hr-after input') || {}).value === 'v1.1.0'")
    assert page.locator("#hr-before input").input_value() == "v1.0.0"
    page.click("#hr-compare")
    page.wait_for_selector("[data-name=hr-difference] table")
    changed = sum(verdicts[0].outcome is not Outcome.NEGATIVE for _, verdicts in judged_rows(60))
    tile = page.locator(".hr-tile", has_text="verdicts changed").inner_text()
    assert tile.split("\n")[0] == str(changed)
    page.locator(".hr-tabs button", has_text="row added").click()
    page.wait_for_selector("text=No row added among the rows of the source and their verdicts.")
    assert "The counts above are of the configs" in page.inner_text("[data-name=hr-difference]")
    assert visitor.complaints == []


def test_twenty_answers_outlive_a_server_that_is_killed(client: Client, visit: Any, tmp_path: Path) -> None:
    with served(client, "user/killed", tmp_path, "--sample", "60") as server:
        visitor = visit(server)
        visitor.go("adjudicate").wait_for_selector("[data-item]")
        given = [(visitor.answer("123"[number % 3]), number % 3) for number in range(10)]
        assert visitor.answered() == 10

        server.kill()
        item = visitor.item()
        visitor.page.keyboard.press("2")
        visitor.page.wait_for_selector("[data-part=offline]:visible")
        server.start()
        visitor.page.wait_for_selector("[data-part=offline]", state="hidden")
        given.append((item, 1))
        # The page tells that the server is back before its answer, which it sends again, has come back.
        visitor.page.wait_for_selector('[data-answered="11"]', state="attached")

        given += [(visitor.answer("123"[number % 3]), number % 3) for number in range(11, 20)]
        assert visitor.answered() == 20
        visitor.page.reload()
        visitor.page.wait_for_selector("[data-item]")
        assert visitor.answered() == 20
        assert server.stop() == 0

    labels = ["better", "worse", "irrelevant"]
    expected = sorted(["user", item, labels[number]] for item, number in given)
    assert client.python(ON_THE_HUB, "user/killed") == expected
    assert len({item for item, _ in given}) == 20


def test_answers_are_taken_back_and_keys_belong_to_whoever_has_the_focus(plain: Server, visit: Any) -> None:
    visitor = visit(plain)
    page = visitor.go("adjudicate")
    page.wait_for_selector("[data-item]")
    before = visitor.answered()
    item = visitor.answer("3")
    page.keyboard.press("u")
    page.wait_for_selector(f"[data-item='{item}'] .hr-earlier")
    assert visitor.answered() == before
    assert "Not relevant" in page.inner_text(".hr-earlier")

    page.evaluate("document.body.insertAdjacentHTML('beforeend', '<input id=other>')")
    page.click("#other")
    page.keyboard.type("1234u")
    page.evaluate("document.querySelector('#other').remove()")
    page.keyboard.press("Control+1")
    page.wait_for_timeout(300)
    assert (visitor.item(), visitor.answered()) == (item, before)
    page.click("[data-answer='cannot tell']")
    page.wait_for_function("item => document.querySelector('[data-item]').dataset.item !== item", arg=item)
    assert visitor.answered() == before + 1


def test_nothing_is_told_before_the_answer(plain: Server, visit: Any) -> None:
    visitor = visit(plain, keep_texts=True)
    page = visitor.go("adjudicate")
    page.wait_for_selector("[data-item]")
    for key in "123":
        visitor.answer(key)
    said_by_judges = (*REASONS, "listwise", "on second")
    told = [*visitor.texts, page.content()]
    assert [word for word in said_by_judges if any(word in text for text in told)] == []
    # The page itself holds the names of verdicts, in its style and in the filters of other pages.
    answers = visitor.texts[1:]
    assert len(answers) >= 4
    named = ("false_negative", "false negative", "doubtful", "rationale", "score", "docid", "accurate", "cheap")
    assert [word for word in named if any(word in text for text in answers)] == []


def sign_in(visitor: Visitor, hub: str, token: str) -> None:
    visitor.allowed = (f"{hub}/oauth/authorize",)
    page = visitor.go("adjudicate")
    page.click("#hr-login")
    page.fill("input[name=token]", token)
    page.locator("form [type=submit]").first.click()
    page.wait_for_url(f"{visitor.base}/adjudicate**")
    page.wait_for_selector("[data-part=question] > *")
    visitor.complaints.clear()  # gradio's, of requests that end because their page is left


def test_two_people_sign_in_and_answer_at_once(client: Client, visit: Any, tmp_path: Path) -> None:
    with space(client, "acme/set", tmp_path) as server:
        stranger = visit(server)
        page = stranger.go("adjudicate")
        page.wait_for_selector("text=Read only: sign in to answer.")
        assert page.locator("[data-answer]").count() == 0
        sign_in(stranger, client.url, "hf_local_eve_0123456789")
        assert "Read only: eve is neither" in page.inner_text("#hr-adjudicate")

        people = {name: visit(server) for name in ("ada", "grace")}
        for name, visitor in people.items():
            sign_in(visitor, client.url, f"hf_local_{name}_0123456789")
            assert f"Answering as {name}" in visitor.page.inner_text(".hr-progress")
        given = []
        for number in range(10):
            items = {name: visitor.item() for name, visitor in people.items()}
            for visitor in people.values():  # both, before either has its next question
                visitor.page.keyboard.press("13"[number % 2])
            for name, visitor in people.items():
                visitor.page.wait_for_function(
                    "item => document.querySelector('[data-item]').dataset.item !== item", arg=items[name]
                )
                given.append([name, items[name], ("better", "irrelevant")[number % 2]])
        assert [visitor.answered() for visitor in people.values()] == [10, 10]
        for visitor in (stranger, *people.values()):
            assert (visitor.elsewhere(), visitor.complaints) == ([], [])
        assert refused_answer(people["ada"], server) == 403
        see_all_pages(people["ada"])
        assert server.stop() == 0
    assert client.python(ON_THE_HUB, "acme/set") == sorted(given)


def see_all_pages(visitor: Visitor) -> None:
    """Every page shows what it should, no error."""
    visitor.go("").wait_for_selector("[data-name=hr-overview]")
    visitor.go("rows?row=3").wait_for_selector("[data-name=hr-row]")
    visitor.go("techniques").locator(".hr-line").first.click()
    visitor.page.wait_for_selector("[data-name=hr-effect]")
    page = visitor.go("difference")
    page.wait_for_function("(document.querySelector('#hr-after input') || {}).value === 'v1.0.0'")
    page.fill("#hr-before input", "acme/set")
    page.keyboard.press("Enter")
    page.click("#hr-compare")
    page.wait_for_selector("[data-name=hr-difference] table")
    page = visitor.go("agreement")
    page.wait_for_selector("text=Each judge against people")
    assert page.locator(".hr-error").count() == 0


def refused_answer(visitor: Visitor, server: Server) -> int:
    """The status of a request with the visitor's cookie that a page of another site sends."""
    answer = visitor.page.context.request.post(
        f"{server.url}/gradio_api/component_server",
        data={"component_id": 1, "fn_name": "adjudicate", "session_hash": "x", "data": {"do": "show"}},
        headers={"Origin": "http://evil.example"},
    )
    return int(answer.status)


@pytest.mark.parametrize(("width", "height"), WIDTHS)
def test_hostile_texts_do_nothing(width: int, height: int, hostile: Server, visit: Any) -> None:
    visitor = visit(hostile, width, height)
    for path in ["", *(f"rows?row={number}" for number in range(len(HOSTILE))), "adjudicate", "agreement"]:
        page = visitor.go(path)
        page.wait_for_selector("[data-name=hr-overview], [data-name=hr-row], [data-item], [data-name=hr-agreement]")
        page.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true; })")
        page.wait_for_timeout(100)
        assert page.evaluate("window.pwned") is None
        assert page.locator("#hr-row iframe, #hr-row img, #hr-row script, #hr-row style, #hr-row svg").count() == 0
        assert page.locator(".hr-page script, .hr-page img, .hr-adjudicate img, .hr-adjudicate iframe").count() == 0
        assert visitor.fits(), path
    assert (visitor.elsewhere(), visitor.complaints) == ([], [])


def test_hostile_texts_show_as_they_are(hostile: Server, visit: Any) -> None:
    visitor = visit(hostile)
    for number, text in enumerate(HOSTILE[:4]):
        page = visitor.go(f"rows?row={number}")
        page.wait_for_selector("[data-name=hr-row]")
        assert text in page.locator(".hr-candidates .hr-text").first.inner_text()
    page = visitor.go("rows?row=4")
    page.wait_for_selector("[data-name=hr-row]")
    shown = page.locator(".hr-candidates .hr-text").first.inner_text()
    assert shown == "abc ⟨U+202E⟩detrever⟨U+202C⟩ ⟨U+2066⟩isolated⟨U+2069⟩ ⟨U+200B⟩⟨U+0000⟩⟨U+0007⟩ end"
    assert page.locator(".hr-text").first.evaluate("each => getComputedStyle(each).unicodeBidi") == "isolate"
    page.click("#hr-subset input")
    options = page.get_by_role("option").all_inner_texts()
    assert any(HOSTILE[0][:40] in option for option in options)


def test_a_line_of_100_kb_opens_at_once(hostile: Server, visit: Any) -> None:
    visitor = visit(hostile, 390, 844)
    page = visitor.go("rows?row=5")
    page.wait_for_selector("[data-name=hr-row]")
    started = time.monotonic()
    page.locator(".hr-candidates summary").first.click()
    page.wait_for_selector(".hr-candidates details[open]")
    assert time.monotonic() - started < 3
    assert len(page.locator(".hr-candidates details[open] > .hr-text").first.inner_text()) == 100_000
    assert visitor.fits()


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize(("width", "height"), WIDTHS)
def test_every_page_fits_the_window(path: str, width: int, height: int, plain: Server, visit: Any) -> None:
    visitor = visit(plain, width, height)
    page = visitor.go(path)
    page.wait_for_selector("[data-name=hr-overview], .hr-line, [data-item], [data-name=hr-agreement], #hr-before input")
    page.wait_for_timeout(200)
    assert visitor.fits()
    assert page.locator(".hr-head [aria-current=page]").is_visible()
    assert (visitor.elsewhere(), visitor.complaints) == ([], [])


@pytest.fixture(scope="module")
def large(client: Client, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A release of 100 K rows."""
    folder = tmp_path_factory.mktemp("large")
    write(folder / "built", judged_rows(100_000, passage_bytes=200))
    client.command_json("push", str(folder / "built"), "user/large", "--license", "unknown")
    return "user/large"


def seconds_to(visitor: Visitor, path: str, selector: str) -> float:
    started = time.monotonic()
    visitor.go(path).wait_for_selector(selector)
    return time.monotonic() - started


def overview_seconds(visitor: Visitor) -> float:
    return seconds_to(visitor, "", "[data-name=hr-overview]")


@pytest.mark.skipif("HF_RELABEL_MEASURE" not in os.environ, reason="it measures times: set HF_RELABEL_MEASURE=1")
def test_100_k_rows_open_in_3_s_and_page_in_300_ms(
    large: str, plain: Server, client: Client, visit: Any, tmp_path: Path
) -> None:
    seconds_to(visit(plain), "rows", ".hr-line")  # the browser's own start
    opened = []
    for attempt in range(2):  # other processes of a test run may slow down the first
        with served(replace(client, home=tmp_path / f"home-{attempt}"), large, tmp_path) as server:
            opened.append(max(seconds_to(visit(server), "rows", ".hr-line"), overview_seconds(visit(server))))
    cold = replace(client, home=tmp_path / "home")
    with served(cold, large, tmp_path) as server:
        visitor = visit(server)
        opened.append(max(seconds_to(visitor, "rows", ".hr-line"), overview_seconds(visit(server))))
        page = visitor.page
        paged, rows = [], []
        for number in range(1, 11):
            started = time.monotonic()
            page.locator("#hr-found .hr-pager button", has_text="Next").click()
            page.wait_for_selector(f".hr-list[data-offset='{20 * number}']")
            paged.append(time.monotonic() - started)
            started = time.monotonic()
            page.locator(".hr-line").nth(number).click()
            page.wait_for_selector(f"#hr-row article[data-row='{21 * number}']")
            rows.append(time.monotonic() - started)
        assert min(opened) < 3, opened
        assert statistics.median(paged) < 0.3, paged
        assert statistics.median(rows) < 0.3, rows
        downloaded = sum(path.stat().st_size for path in cold.home.rglob("*") if path.is_file())
        assert downloaded < 5_000_000, "it reads parts, not files"
