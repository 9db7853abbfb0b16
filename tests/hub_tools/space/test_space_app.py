"""The parts of the Space's app without a browser: texts, HTML, the guard, settings, and who may write."""

from __future__ import annotations

import asyncio
import re
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_relabel.builders.errors import ConfigError, ReleaseError
from hf_relabel.hub_tools.space.data.browsed_row import BrowsedRow, Candidate, Positive, StageWord, SuspectOpinion
from hf_relabel.hub_tools.space.data.index import Page
from hf_relabel.hub_tools.space.data.index_tables import RowLine
from hf_relabel.hub_tools.space.people.allowed import Permission
from hf_relabel.hub_tools.space.people.questions import Progress, Question, Shown
from hf_relabel.hub_tools.space.people.sending import SyncState
from hf_relabel.hub_tools.space.people.sign_in import SignIn
from hf_relabel.hub_tools.space.running import Running
from hf_relabel.hub_tools.space.settings import SpaceSettings, settings_of_space
from hf_relabel.hub_tools.space.web import views
from hf_relabel.hub_tools.space.web.guard import Guard
from hf_relabel.hub_tools.space.web.texts import MOST_CHARACTERS, excerpt, one_line, text_limit, visible
from tests import forked
from tests.hub_tools.release_clients import COMMAND_LINE, offline_client
from tests.hub_tools.releases_data import built
from tests.hub_tools.space_pages import served

TEXTS = st.text(st.characters(codec=None), max_size=200) | st.sampled_from(
    [
        "<script>alert(1)</script>",
        "\"' onload=alert(1) x='",
        "</textarea>--><img src=x>",
        "{{ 7 * 7 }}${7 * 7}",
        "\u202e\u2066",
    ]
)


class _Elements(HTMLParser):
    """The elements of a page, the names of their attributes, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, tuple[str, ...]]] = []
        self.text: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, tuple(name for name, _ in attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def row_of(text: str) -> BrowsedRow:
    """A row with a text in every place."""
    stage = StageWord(text, text, text, 0.5, text, cut=True)
    candidate = Candidate(0, text, text, text, text, text, text, 0.5, text, 0.5, (stage,))
    positive = Positive(0, text, text, text, text, (SuspectOpinion(text, text, 0.1, 1, 2),))
    return BrowsedRow(7, text, text, text, (positive,), (candidate,), ())


@given(TEXTS)
def test_no_text_becomes_an_element_or_an_attribute(text: str) -> None:
    plain, filled = (
        _Elements(views.row_html(row_of("x"), (1, None))),
        _Elements(views.row_html(row_of(text), (1, None))),
    )
    known = {tag for tag, _ in plain.tags} | {"details", "summary", "p"}
    assert {tag for tag, _ in filled.tags} <= known
    assert {name for _, names in filled.tags for name in names} <= {
        *("class", "data-row", "data-name", "data-do", "disabled", "dir", "id", "title", "type", "aria-label")
    }


@given(TEXTS)
def test_a_text_shows_as_it_is(text: str) -> None:
    shown = "".join(_Elements(views.question_html(question_of(text))).text)
    assert " ".join(visible(text).split()) in " ".join(shown.split())


def question_of(text: str) -> Question:
    return Question("item", 1, 2, text, (Shown(text, text),), Shown(text, text))


@given(TEXTS)
def test_lists_and_notices_hold_no_markup_of_others(text: str) -> None:
    line = RowLine(0, text, text, text, 4, 1, 0, 1, 1, 1, None)
    html = views.list_html(Page(1, 0, (line,), 1, 1), query={"q": text})
    html += views.notice_html(text) + views.head_html(text, "", [(text, text)])
    html += views.progress_html(
        Permission(text, True, text), Progress(text, 1, 2, 1, True), SyncState(False, 1, None, text, 3.0)
    )
    tags = {tag for tag, _ in _Elements(html).tags}
    assert tags <= {*("a", "button", "div", "header", "kbd", "li", "nav", "ol", "p", "progress", "span", "strong")}


@given(st.text(st.characters(codec=None)))
def test_nothing_invisible_or_turning_is_left(text: str) -> None:
    shown = visible(text)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufeff]", shown)
    assert visible(shown) == shown
    shown.encode()


def test_what_spelling_needs_stays() -> None:
    persian, family = "می\u200cخواهم", "👨\u200d👩\u200d👧"
    assert (visible(persian), visible(family), visible("a\tb\r\nc")) == (persian, family, "a\tb\nc")
    assert visible("a\u202eb") == "a⟨U+202E⟩b"


def test_long_texts_are_cut_and_say_so() -> None:
    assert excerpt("short") == ("short", "", 5, 0)
    part = excerpt("word " * 1000)
    assert part.head.endswith("word…")
    assert (len(part.head) < 500, part.whole, part.left_out) == (True, "word " * 1000, 0)
    huge = excerpt("x" * 300_000)
    assert (len(huge.whole), huge.characters, huge.left_out) == (MOST_CHARACTERS, 300_000, 200_000)
    assert "200,000 more characters are left out here" in views.row_html(row_of("x" * 300_000), (None, None))


@given(st.integers(1, 100_000))
def test_a_row_of_many_long_texts_stays_within_bounds(texts: int) -> None:
    assert 2_000 <= text_limit(texts) <= MOST_CHARACTERS
    assert text_limit(texts) * texts <= max(700_000, 2_000 * texts)


def test_a_line_is_one_line() -> None:
    assert one_line(" a\n b\t c ") == "a b c"
    assert one_line("x" * 300, 10) == "x" * 9 + "…"


def answered(headers: dict[str, str], **options: Any) -> tuple[int, dict[str, str]]:
    """Status and headers of a guarded app's answer."""
    sent: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x-app", b"1")]})
        await send({"type": "http.response.body", "body": b"app"})

    async def send(message: Any) -> None:
        sent.append(message)

    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    asyncio.run(Guard(app, **options)({"type": "http", "headers": raw}, None, send))  # type: ignore[arg-type]
    return sent[0]["status"], {name.decode(): value.decode() for name, value in sent[0]["headers"]}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "127.0.0.1:7860"}, 200),
        ({"host": "localhost:7860", "origin": "http://localhost:7860"}, 200),
        ({"host": "127.0.0.1:7860", "origin": "http://127.0.0.1:7861"}, 403),
        ({"host": "127.0.0.1:7860", "origin": "http://evil.example"}, 403),
        ({"host": "127.0.0.1:7860", "origin": "null"}, 403),
        ({"host": "127.0.0.1:7860", "origin": "http://[broken"}, 403),
        ({"host": "evil.example"}, 403),
        ({"host": ""}, 403),
        ({}, 403),
    ],
)
def test_on_this_machine_only_its_own_pages_are_answered(headers: dict[str, str], status: int) -> None:
    assert answered(headers)[0] == status


@pytest.mark.parametrize(
    ("origin", "status"),
    [("https://user-space.hf.space", 200), ("https://own.domain", 200), ("https://evil.example", 403)],
)
def test_a_space_answers_its_own_pages_under_all_of_its_names(origin: str, status: int) -> None:
    headers = {"host": "user-space.hf.space", "x-forwarded-host": "own.domain, other", "origin": origin}
    assert answered(headers, names=None)[0] == status


@pytest.mark.parametrize(
    ("origin", "status"),
    [("https://user-space.hf.space", 200), ("https://own.domain", 200), ("https://evil.example", 403)],
)
def test_a_space_knows_its_names_from_the_hub_and_not_from_the_proxy_alone(origin: str, status: int) -> None:
    """The proxy need not pass on the name that the browser asked for."""
    own = settings_of_space({"HF_RELABEL_RELEASE": "user/set", "SPACE_HOST": "user-space.hf.space, own.domain"}).hosts
    assert answered({"host": "10.0.3.7:7860", "origin": origin}, names=None, own=own)[0] == status


def test_answers_forbid_what_is_elsewhere() -> None:
    _, headers = answered({"host": "localhost"}, frames=("https://huggingface.co",))
    policy = headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "frame-ancestors 'self' https://huggingface.co" in policy
    assert "http:" not in policy
    assert headers["x-app"] == "1"


def test_a_space_is_told_by_its_variables(tmp_path: Path) -> None:
    settings = settings_of_space(
        {
            "HF_RELABEL_RELEASE": "user/set",
            "HF_RELABEL_REVISION": "v1.0.0",
            "HF_RELABEL_PEOPLE": "ada, grace,",
            "HF_RELABEL_SAMPLE": "60",
            "HF_RELABEL_PRICES": "cheap=0.15,0.6;a=b=1,0",
            "HF_RELABEL_ANSWERS": str(tmp_path),
            "HF_TOKEN": "hf_x",
        }
    )
    prices = {"cheap": {"prompt": 0.15, "completion": 0.6}, "a=b": {"prompt": 1.0, "completion": 0.0}}
    people = ("ada", "grace")
    assert settings == SpaceSettings(
        "user/set", "v1.0.0", 60, 0, people, prices, answers=tmp_path, token="hf_x", is_space=True
    )
    assert settings.name == "user/set@v1.0.0"


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({}, "Set the variable HF_RELABEL_RELEASE"),
        ({"HF_RELABEL_RELEASE": "/etc"}, "must name a data set on the Hub"),
        ({"HF_RELABEL_RELEASE": "."}, "must name a data set on the Hub"),
        ({"HF_RELABEL_RELEASE": "user/set", "HF_RELABEL_SAMPLE": "many"}, "must be a whole number, not 'many'"),
        ({"HF_RELABEL_RELEASE": "user/set", "HF_RELABEL_PRICES": "cheap=1"}, "A price is STAGE=PROMPT,COMPLETION"),
        ({"HF_RELABEL_RELEASE": "user/set", "HF_RELABEL_PRICES": "cheap=1,nan"}, "A price is STAGE=PROMPT,COMPLETION"),
        ({"HF_RELABEL_RELEASE": "user/set", "HF_RELABEL_PRICES": "1,1"}, "A price is STAGE=PROMPT,COMPLETION"),
        ({"HF_RELABEL_RELEASE": "user/set", "HF_RELABEL_SAMPLE": "0"}, "A sample has 1 to 20,000 candidates"),
    ],
)
def test_variables_that_make_no_sense_are_said(variables: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)):
        settings_of_space(variables)


def request_of(name: str | None, **more: Any) -> Any:
    info = {"userinfo": {"preferred_username": name, "sub": name}, "access_token": "t", **more}
    return SimpleNamespace(scope={"session": {} if name is None else {"oauth_info": info}})


def test_on_a_space_the_session_says_who_somebody_is() -> None:
    sign_in = SignIn(SpaceSettings("user/set", token="hf_x", is_space=True, people=("ada",)), "user/set")
    assert sign_in.who(request_of("ada")) == Permission("ada", True, "You answer as ada.")
    assert sign_in.who(request_of("user")).may_write
    assert sign_in.who(request_of(None)) == Permission(None, False, "Read only: sign in to answer.")
    assert sign_in.who(SimpleNamespace(request=request_of("ada"))).person == "ada"
    assert sign_in.who(request_of("ada", expires_at=1)).person is None
    assert sign_in.who(SimpleNamespace(scope={"session": {"oauth_info": "ada"}})).person is None


def test_a_space_without_a_token_takes_no_answer() -> None:
    sign_in = SignIn(SpaceSettings("user/set", is_space=True, people=("ada",)), "user/set")
    permission = sign_in.who(request_of("ada"))
    assert (permission.may_write, "no secret HF_TOKEN" in permission.reason) == (False, True)


def test_for_a_folder_the_person_is_named() -> None:
    sign_in = SignIn(SpaceSettings("folder", person="ada"), None)
    assert sign_in.who(None) == Permission("ada", True, "You answer as ada.")


def test_without_a_token_a_folder_can_only_be_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "no-token"))
    permission = SignIn(SpaceSettings("folder"), None).who(None)
    assert (permission.may_write, "there is no token" in permission.reason) == (False, True)


@pytest.fixture
def running(tmp_path: Path) -> Any:
    built(tmp_path / "built")
    running = Running(SpaceSettings(str(tmp_path / "built"), answers=tmp_path / "answers", sample=8, person="ada"))
    yield running
    running.close()


def adjudicated(running: Running, **sent: Any) -> dict[str, Any]:
    from hf_relabel.hub_tools.space.web.events import adjudicated

    return adjudicated(running, sent, SimpleNamespace(scope={}))


def test_a_page_sends_answers_and_is_not_believed_otherwise(running: Running) -> None:
    running.adjudication().wait_for_sample(30)
    first = adjudicated(running, do="show")
    item = re.search(r'data-item="([^"]+)"', first["question"])[1]  # type: ignore[index]
    assert (first["state"], first["person"]) == ("asking", "ada")

    refused = adjudicated(running, do="answer", item=item, value="sure")
    assert (refused["state"], "An answer is one of" in refused["question"]) == ("error", True)
    assert adjudicated(running, do="answer", item="<b>", value="worse")["state"] == "error"
    once = adjudicated(running, do="answer", item=item, value="worse", person="grace")
    again = adjudicated(running, do="answer", item=item, value="worse")
    assert (once["person"], once["question"]) == ("ada", again["question"])
    assert '<strong data-answered="1" data-of="8">' in again["progress"]
    assert running.adjudication().progress("grace").answered == 0
    assert adjudicated(running, do="undo", item="another")["question"] == once["question"]
    assert f'data-item="{item}"' in adjudicated(running, do="undo", item=item)["question"]
    for _ in range(8):
        last = adjudicated(running, do="show")
        shown = re.search(r'data-item="([^"]+)"', last["question"])[1]  # type: ignore[index]
        last = adjudicated(running, do="answer", item=shown, value="cannot tell")
    assert (last["state"], "All 8 questions are answered" in last["question"]) == ("finished", True)


@given(st.text(st.characters(codec=None)) | st.integers() | st.none())
def test_what_is_typed_can_be_searched_for(text: Any) -> None:
    from hf_relabel.hub_tools.space.web.events import MOST_TEXT, words

    words = words(text)
    words.encode()
    assert len(words) <= MOST_TEXT


def test_a_release_that_is_not_there_is_said_on_the_page(tmp_path: Path) -> None:
    running = Running(SpaceSettings(str(tmp_path / "nothing"), answers=tmp_path))
    for _ in range(2):
        with pytest.raises(ReleaseError, match="neither a built folder nor a release"):
            running.browser()
    running.close()
    with pytest.raises(ConfigError, match="is ending"):
        running.browser()


def test_a_space_opens_no_folder_for_a_comparison(running: Running, tmp_path: Path) -> None:
    on_the_hub = Running(SpaceSettings("user/set", is_space=True))
    on_the_hub._browser._thing = running.browser()
    for name in (str(tmp_path / "built"), "../built", "/etc/passwd", "a/b/c", ""):
        with pytest.raises(ConfigError):
            on_the_hub.comparison(name, name)
    comparison = running.comparison(str(tmp_path / "built"), str(tmp_path / "built"))
    assert running.comparison(str(tmp_path / "built"), str(tmp_path / "built")) is comparison
    assert comparison.wait(300).is_finished


@pytest.mark.soak
def test_the_app_starts_without_what_is_heavy() -> None:
    code = (
        "import sys; import hf_relabel.hub_tools.space.web.serving, hf_relabel.hub_tools.space.web.app;"
        "print(sorted({'torch', 'datasets', 'transformers', 'sklearn', 'matplotlib', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["nowhere"], 7, "neither a built folder nor a release"),
        (["built", "--sample", "30000"], 2, "A sample has 1 to 20,000 candidates"),
        (["built", "--price", "free"], 2, "A price is STAGE=PROMPT,COMPLETION"),
        pytest.param(["built", "--port", "{taken}"], 2, "cannot be used", marks=pytest.mark.soak),
    ],
)
def test_what_cannot_be_served_is_said_in_a_line(options: list[str], code: int, said: str, tmp_path: Path) -> None:
    built(tmp_path / "built")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        given = [each.format(taken=taken.getsockname()[1]) for each in options]
        done = forked.run(COMMAND_LINE, "space", "serve", *given, cwd=tmp_path)
    assert (done.returncode, said in done.stderr, done.stderr.count("\n")) == (code, True, 1), done.stderr


@pytest.mark.soak
def test_a_folder_is_served_until_it_is_told_to_end(tmp_path: Path) -> None:
    built(tmp_path / "built")
    options = ("--person", "ada", "--price", "cheap=100,0")
    with offline_client() as client, served(client, str(tmp_path / "built"), tmp_path, *options) as server:
        with urllib.request.urlopen(f"{server.url}/rows", timeout=120) as answer:
            assert "hr-search" in answer.read().decode()
        upload = urllib.request.Request(
            f"{server.url}/gradio_api/upload", b"x" * 5000, {"Content-Type": "multipart/form-data; boundary=b"}
        )
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(upload, timeout=120)
        assert server.stop() == 0
    assert f"Serving on {server.url}" in server.said()
    assert "Traceback" not in server.said()
