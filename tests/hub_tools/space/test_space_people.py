"""Who may answer, and the sign-in of Gradio against the local Hub."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from hf_relabel.builders.errors import ConfigError
from hf_relabel.hub_tools.local_hub import LocalHub
from hf_relabel.hub_tools.space.people.allowed import local_person, may_write
from tests.hub_tools.local_hub.sign_in import SignIn
from tests.hub_tools.local_hub.test_local_hub import Web

CALLBACK = "https://space.example/login/callback"


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[LocalHub]:
    users = {name: f"hf_local_{name}" for name in ("alice", "bob", "carol")}
    members = {"acme": {"alice": "admin", "bob": "write", "carol": "contributor"}, "other": {"carol": "read"}}
    with LocalHub(tmp_path / "hub", users=users, organisations=members, beside=SignIn) as found:
        yield found


def profile(name: str, **roles: str) -> dict[str, Any]:
    """As the sign-in tells it. The name that is shown is not the one that counts."""
    orgs = [{"name": "alice", "preferred_username": each, "roleInOrg": role} for each, role in roles.items()]
    return {"sub": "1", "name": "alice", "preferred_username": name, "orgs": orgs}


@pytest.mark.parametrize(
    ("who", "repo", "allowed", "may", "reason"),
    [
        (None, "alice/set", (), False, "sign in"),
        (profile("alice"), "alice/set", (), True, "as alice"),
        (profile("eve"), "alice/set", (), False, "neither the owner of alice/set nor a member of alice"),
        (profile("eve"), "alice/set", ("eve",), True, "as eve"),
        (profile("eve"), "alice/set", ("*",), True, "as eve"),
        (None, "alice/set", ("*",), False, "sign in"),
        (profile("bob", acme="write"), "acme/set", (), True, "the role write in acme"),
        (profile("bob", acme="admin"), "acme/set", (), True, "the role admin in acme"),
        (profile("bob", acme="contributor"), "acme/set", (), False, "does not let you write"),
        (profile("bob", acme="read"), "acme/set", (), False, "does not let you write"),
        (profile("bob", other="admin"), "acme/set", (), False, "nor a member of acme"),
        (profile("bob"), None, (), False, "has not named you"),
        (profile("bob"), None, ("bob",), True, "as bob"),
        ({"name": "alice"}, "alice/set", (), False, "does not say who you are"),
        ({"preferred_username": "x", "orgs": "acme"}, "acme/set", (), False, "nor a member"),
    ],
)
def test_who_may_write(who: Any, repo: str | None, allowed: tuple[str, ...], may: bool, reason: str) -> None:
    found = may_write(who, repo, allowed=allowed)
    assert found.may_write is may
    assert reason in found.reason
    assert found.reason.endswith(".")


@pytest.mark.parametrize(("name", "may"), [("bob", True), ("carol", False)])
def test_roles_that_the_sign_in_does_not_tell_are_asked_for(hub: LocalHub, name: str, may: bool) -> None:
    who = {"preferred_username": name}
    assert may_write(who, "acme/set", token=f"hf_local_{name}", endpoint=hub.url).may_write is may
    assert not may_write(who, "acme/set").may_write


def test_a_token_that_is_none_lets_nobody_write(hub: LocalHub) -> None:
    found = may_write({"preferred_username": "bob"}, "acme/set", token="hf_wrong_token", endpoint=hub.url)
    assert not found.may_write
    assert "is not known" in found.reason
    assert "hf_wrong_token" not in found.reason


def test_the_person_of_this_machine() -> None:
    assert local_person("Ærø 東京").may_write
    for name in ("", " ", "x" * 97, "a\nb", "\u202eeve"):
        with pytest.raises(ConfigError, match="1 to 96 characters"):
            local_person(name)


class Client:
    """An OAuth client that does by hand what authlib does, and what it should not."""

    def __init__(self, hub: LocalHub) -> None:
        self.web = Web(hub.url, None)
        status, _, body = self.web.ask("POST", "/oauth/register", {"redirect_uris": [CALLBACK]})
        assert status == 201
        self.id, self.secret = json.loads(body)["client_id"], json.loads(body)["client_secret"]

    def request(self, **changes: str) -> dict[str, str]:
        asked = {"client_id": self.id, "redirect_uri": f"{CALLBACK}?_target_url=%2F", "response_type": "code"}
        return {**asked, "scope": "openid profile", "state": "s&<", "nonce": "n", **changes}

    def allow(self, token: str, **changes: str) -> tuple[int, dict[str, str], bytes]:
        return self.post("/oauth/authorize", {**self.request(**changes), "token": token})

    def code(self, token: str, **changes: str) -> str:
        status, headers, _ = self.allow(token, **changes)
        assert status == 303
        query = parse_qs(urlsplit(headers["location"]).query)
        assert query["state"] == ["s&<"]
        assert query["_target_url"] == ["/"]
        return query["code"][0]

    def exchange(self, code: str, **changes: str) -> tuple[int, Any]:
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": f"{CALLBACK}?_target_url=%2F"}
        credentials = base64.b64encode(f"{self.id}:{self.secret}".encode()).decode()
        status, _, body = self.post("/oauth/token", {**form, **changes}, Authorization=f"Basic {credentials}")
        return status, json.loads(body)

    def post(self, path: str, form: dict[str, str], **headers: str) -> tuple[int, dict[str, str], bytes]:
        kind = {"Content_Type": "application/x-www-form-urlencoded"}
        return self.web.ask("POST", path, urlencode(form).encode(), **kind, **headers)


def test_a_sign_in_tells_who_somebody_is_and_no_more(hub: LocalHub) -> None:
    client = Client(hub)
    status, tokens = client.exchange(client.code("hf_local_bob"))
    assert status == 200
    bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
    told = json.loads(client.web.ask("GET", "/oauth/userinfo", **bearer)[2])
    assert told["preferred_username"] == "bob"
    assert [(each["preferred_username"], each["roleInOrg"]) for each in told["orgs"]] == [("acme", "write")]
    assert json.loads(client.web.ask("GET", "/api/whoami-v2", **bearer)[2])["name"] == "bob"
    # A token of a sign-in writes nothing unless the scope says so.
    new = {"name": "set", "type": "dataset"}
    assert client.web.ask("POST", "/api/repos/create", new, **bearer)[0] == 403
    status, tokens = client.exchange(client.code("hf_local_bob", scope="openid profile write-repos"))
    writing = {"Authorization": f"Bearer {tokens['access_token']}"}
    assert client.web.ask("POST", "/api/repos/create", new, **writing)[0] == 200


def test_codes_are_good_once_and_for_their_client(hub: LocalHub) -> None:
    client, other = Client(hub), Client(hub)
    code = client.code("hf_local_bob")
    assert other.exchange(code)[0] == 400
    assert client.exchange(code)[0] == 400  # somebody had it
    code = client.code("hf_local_bob")
    assert client.exchange(code)[0] == 200
    assert client.exchange(code)[0] == 400
    assert client.exchange(client.code("hf_local_bob"), redirect_uri=CALLBACK)[0] == 400
    assert client.exchange(client.code("hf_local_bob"), grant_type="password")[0] == 400
    client.secret = "another"
    assert client.exchange("x")[0] == 401


def test_a_code_with_a_challenge_needs_its_verifier(hub: LocalHub) -> None:
    client = Client(hub)
    digest = hashlib.sha256(b"verifier").digest()
    challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    asked = {"code_challenge": challenge, "code_challenge_method": "S256"}
    assert client.exchange(client.code("hf_local_bob", **asked))[0] == 400
    assert client.exchange(client.code("hf_local_bob", **asked), code_verifier="wrong")[0] == 400
    assert client.exchange(client.code("hf_local_bob", **asked), code_verifier="verifier")[0] == 200


@pytest.mark.parametrize(
    "changes",
    [
        {"redirect_uri": "https://evil.example/login/callback"},
        {"redirect_uri": "https://space.example/other"},
        {"redirect_uri": "javascript:alert(1)"},
        {"client_id": "unknown"},
        {"response_type": "token"},
        {"scope": "openid everything"},
        {"code_challenge": "x", "code_challenge_method": "plain"},
    ],
)
def test_nobody_is_sent_where_no_client_is(hub: LocalHub, changes: dict[str, str]) -> None:
    client = Client(hub)
    assert client.allow("hf_local_bob", **changes)[0] == 400
    assert client.web.ask("GET", f"/oauth/authorize?{urlencode(client.request(**changes))}")[0] == 400


def test_a_wrong_token_signs_nobody_in(hub: LocalHub) -> None:
    client = Client(hub)
    for token in ("", "hf_local_nobody", "alice"):
        status, _, body = client.allow(token)
        assert status == 401
        assert b"no token of a user" in body


def test_the_page_shows_what_it_is_given_as_text(hub: LocalHub) -> None:
    client = Client(hub)
    asked = client.request(state='"><script>alert(1)</script>', nonce="<img src=x>")
    status, headers, body = client.web.ask("GET", f"/oauth/authorize?{urlencode(asked)}")
    assert status == 200
    assert b"<script" not in body
    assert b"<img" not in body
    assert "default-src 'none'" in headers["content-security-policy"]


@pytest.mark.parametrize("redirects", [[], ["javascript:alert(1)"], "https://x.example", [1], ["/relative"]])
def test_clients_need_addresses(hub: LocalHub, redirects: Any) -> None:
    assert Web(hub.url, None).ask("POST", "/oauth/register", {"redirect_uris": redirects})[0] == 400


def test_organisations_have_members_with_roles(tmp_path: Path) -> None:
    users = {"alice": "hf_local_alice"}
    for wrong in ({"acme": {"bob": "write"}}, {"acme": {"alice": "owner"}}, {"alice": {}}, {"../x": {}}):
        with (
            pytest.raises(ConfigError, match="cannot be started"),
            LocalHub(tmp_path / "a", users=users, organisations=wrong),
        ):
            pass


def test_members_read_and_write_as_their_role_says(hub: LocalHub) -> None:
    new = {"name": "set", "organization": "acme", "type": "dataset", "private": True}
    assert Web(hub.url, "hf_local_carol").ask("POST", "/api/repos/create", new)[0] == 403
    assert Web(hub.url, "hf_local_bob").ask("POST", "/api/repos/create", new)[0] == 200
    operation = {"key": "file", "value": {"path": "a.txt", "content": "eA==", "encoding": "base64"}}
    statuses = {
        name: Web(hub.url, f"hf_local_{name}").commit(operation, repo="acme/set")[0]
        for name in ("alice", "bob", "carol")
    }
    assert statuses == {"alice": 200, "bob": 200, "carol": 403}
    assert Web(hub.url, "hf_local_carol").ask("GET", "/api/datasets/acme/set")[0] == 200
    assert Web(hub.url, None).ask("GET", "/api/datasets/acme/set")[0] == 401


GRADIO = """
import json, sys, warnings
warnings.simplefilter("ignore")
import fastapi, httpx
from fastapi.testclient import TestClient
from gradio.oauth import attach_oauth
app = fastapi.FastAPI()
attach_oauth(app)
@app.get("/me")
def me(request: fastapi.Request):
    return request.session.get("oauth_info")
found = {}
for token in sys.argv[1:]:
    browser = TestClient(app, base_url="https://space.example", follow_redirects=False)
    asked = browser.get("/login/huggingface").headers["location"]
    page = httpx.get(asked).text
    import html, re
    form = {html.unescape(a): html.unescape(b) for a, b in re.findall(r'name="([^"]+)" value="([^"]*)"', page)}
    allowed = httpx.post(asked.split("?")[0], data={**form, "token": token})
    back = allowed.headers["location"]
    assert back.startswith("https://space.example/login/callback"), back
    signed = browser.get(back)
    assert signed.status_code in (302, 307), signed.text
    found[token] = browser.get("/me").json()
    browser.get("/logout")
    assert browser.get("/me").json() is None
print(json.dumps(found))
"""


@pytest.mark.soak
def test_gradio_signs_two_people_in(hub: LocalHub, tmp_path: Path) -> None:
    """The real `gradio.oauth` and authlib, over HTTP, with its check of the signature of the id token."""
    pytest.importorskip("gradio")
    client = Client(hub)
    environment = {
        "SPACE_ID": "alice/space",
        "SYSTEM": "spaces",
        "OAUTH_CLIENT_ID": client.id,
        "OAUTH_CLIENT_SECRET": client.secret,
        "OAUTH_SCOPES": "openid profile",
        "OPENID_PROVIDER_URL": hub.url,
        "HOME": str(tmp_path),
        "PATH": "/usr/bin",
        "GRADIO_ANALYTICS_ENABLED": "False",
    }
    command = [sys.executable, "-c", GRADIO, "hf_local_bob", "hf_local_carol"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    permissions = {
        token: may_write(info["userinfo"], "acme/set", token=info["access_token"], endpoint=hub.url)
        for token, info in found.items()
    }
    assert (permissions["hf_local_bob"].person, permissions["hf_local_bob"].may_write) == ("bob", True)
    assert (permissions["hf_local_carol"].person, permissions["hf_local_carol"].may_write) == ("carol", False)
