"""Sign-in on the local Hub, for tests of the Space: OAuth 2 with OpenID Connect (huggingface.co/docs/hub/oauth).

    LocalHub(folder, beside=SignIn)

Whoever signs in gives the token of a user of this Hub, so that nobody can sign in as somebody else. Clients register
themselves (RFC 7591), codes are good once and for a minute (RFC 6749, PKCE as in RFC 7636), and the access tokens they
are exchanged for are known until the server ends. Signing id tokens needs `cryptography`, which comes with
`gradio[oauth]`.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import html
import json
import secrets
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from hf_relabel.hub_tools.local_hub.call import Call, answer
from hf_relabel.hub_tools.local_hub.errors import HubError
from hf_relabel.hub_tools.local_hub.objects import read_json, write_json
from hf_relabel.hub_tools.local_hub.reading import subject, told_of
from hf_relabel.hub_tools.local_hub.store import Store

SCOPES = ("openid", "profile", "email", "read-repos", "contribute-repos", "write-repos", "manage-repos")
WRITING_SCOPES = frozenset({"write-repos", "manage-repos"})
TOKEN_PREFIX = "hf_oauth_"
TOKEN_SECONDS, CODE_SECONDS = 8 * 3600, 60
_CLIENTS_NAME = "oauth.json"
_MOST = 10_000
"""Codes and tokens that are remembered; the oldest go first."""


@dataclass(frozen=True, slots=True)
class Grant:
    """What a user allowed a client."""

    user: str
    client: str
    scopes: tuple[str, ...]
    expires: float
    redirect: str = ""
    nonce: str = ""
    challenge: str = ""

    @property
    def can_write(self) -> bool:
        return not WRITING_SCOPES.isdisjoint(self.scopes)


@dataclass
class SignIn:
    """The clients, codes and access tokens of one Hub."""

    store: Store
    _codes: dict[str, Grant] = field(default_factory=dict)
    _tokens: dict[str, Grant] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _key: Any = None
    _key_id: str = field(default_factory=lambda: secrets.token_hex(8))

    def register(self, redirects: list[str]) -> tuple[str, str]:
        """A new client. Returns its id and secret."""
        with self._lock:
            clients = self._clients()
            client, secret = secrets.token_hex(16), secrets.token_urlsafe(32)
            path = self.store.root / _CLIENTS_NAME
            write_json(path, {**clients, client: {"secret": secret, "redirects": redirects}})
            path.chmod(0o600)
        return client, secret

    def client(self, client: str) -> dict[str, Any]:
        """Raises: HubError 400, there is no such client."""
        found = self._clients().get(client)
        if found is None:
            raise HubError(400, "There is no such OAuth client.")
        return dict(found)

    def _clients(self) -> dict[str, Any]:
        path = self.store.root / _CLIENTS_NAME
        return dict(read_json(path)) if path.is_file() else {}

    def add_code(self, grant: Grant) -> str:
        code = secrets.token_urlsafe(24)
        self._keep(self._codes, code, grant)
        return code

    def take_code(self, code: str) -> Grant:
        """What a code stands for. It is good once.

        Raises:
            HubError: 400, it is none, used already or too old.
        """
        with self._lock:
            grant = self._codes.pop(code, None)
        if grant is None or grant.expires < time.time():
            raise HubError(400, "invalid_grant: this code is not valid, or no longer.")
        return grant

    def add_token(self, grant: Grant) -> str:
        token = f"{TOKEN_PREFIX}{secrets.token_urlsafe(24)}"
        self._keep(self._tokens, token, grant)
        return token

    def of_token(self, token: str) -> Grant | None:
        """What an access token allows; None for one that is none, or too old."""
        grant = self._tokens.get(token)
        return None if grant is None or grant.expires < time.time() else grant

    def of_call(self, call: Call) -> Grant | None:
        return self.of_token(call.headers.get("authorization", "").partition(" ")[2].strip())

    def user_of(self, token: str) -> tuple[str, bool] | None:
        grant = self.of_token(token)
        return None if grant is None else (grant.user, grant.can_write)

    def answer(self, call: Call) -> Response | None:
        handlers = {
            ("GET", "api", "whoami-v2"): whoami,
            ("GET", ".well-known", "openid-configuration"): configuration,
            ("GET", ".well-known", "jwks.json"): keys,
            ("POST", "oauth", "register"): register,
            ("GET", "oauth", "authorize"): ask,
            ("POST", "oauth", "authorize"): allow,
            ("POST", "oauth", "token"): exchange,
            ("GET", "oauth", "userinfo"): userinfo,
            ("POST", "oauth", "userinfo"): userinfo,
        }
        handler = handlers.get((call.method, *call.parts))
        return None if handler is None else handler(self, call)

    def _keep(self, where: dict[str, Grant], key: str, grant: Grant) -> None:
        with self._lock:
            while len(where) >= _MOST:
                del where[next(iter(where))]
            where[key] = grant

    def key(self) -> Any:
        """The key that id tokens are signed with, a new one for each run of the server.

        Raises:
            HubError: 501, cryptography is not installed.
        """
        with self._lock:
            if self._key is None:
                try:
                    from cryptography.hazmat.primitives.asymmetric import rsa
                except ImportError:
                    raise HubError(501, "Signing in needs cryptography: pip install 'gradio[oauth]'") from None
                self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
            return self._key

    def signed(self, claims: Mapping[str, Any]) -> str:
        """Claims as a JSON Web Token (RFC 7519), signed with RS256."""
        key = self.key()
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import padding

        header = {"alg": "RS256", "typ": "JWT", "kid": self._key_id}
        text = ".".join(_base64(json.dumps(part).encode()) for part in (header, dict(claims)))
        return f"{text}.{_base64(key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256()))}"

    def public_keys(self) -> dict[str, Any]:
        """The public half of the key, as a set of JSON Web Keys (RFC 7517)."""
        numbers = self.key().public_key().public_numbers()
        parts = {name: _base64(value.to_bytes(-(-value.bit_length() // 8), "big")) for name, value in _named(numbers)}
        return {"keys": [{"kty": "RSA", "use": "sig", "alg": "RS256", "kid": self._key_id, **parts}]}


def _named(numbers: Any) -> list[tuple[str, int]]:
    return [("n", numbers.n), ("e", numbers.e)]


def _base64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def configuration(sign_in: SignIn, call: Call) -> Response:
    """Where everything is (OpenID Connect Discovery 1.0)."""
    url = call.url
    return JSONResponse(
        {
            "issuer": url,
            "authorization_endpoint": f"{url}/oauth/authorize",
            "token_endpoint": f"{url}/oauth/token",
            "userinfo_endpoint": f"{url}/oauth/userinfo",
            "registration_endpoint": f"{url}/oauth/register",
            "jwks_uri": f"{url}/.well-known/jwks.json",
            "scopes_supported": list(SCOPES),
            "response_types_supported": ["code"],
            "grant_types_supported": ["authorization_code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
            "code_challenge_methods_supported": ["S256"],
        }
    )


def keys(sign_in: SignIn, call: Call) -> Response:
    return JSONResponse(sign_in.public_keys())


def register(sign_in: SignIn, call: Call) -> Response:
    """A new client: `{"redirect_uris": [...]}` gives its id and secret."""
    redirects = call.json().get("redirect_uris")
    if not isinstance(redirects, list) or not redirects or not all(map(_is_redirect, redirects)):
        raise HubError(400, "`redirect_uris` must be a list of http(s) addresses.")
    client, secret = sign_in.register(redirects)
    return JSONResponse({"client_id": client, "client_secret": secret, "redirect_uris": redirects}, 201)


def _is_redirect(address: Any) -> bool:
    return isinstance(address, str) and urlsplit(address).scheme in ("http", "https") and bool(urlsplit(address).netloc)


_PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Sign in to the local Hub</title></head>
<body><main><h1>Sign in to the local Hub</h1><p>For development and tests. The client asks for: {scopes}.</p>{note}
<form method="post" action="/oauth/authorize">{hidden}
<label>Token of a user of this Hub <input type="password" name="token" autocomplete="off" autofocus></label>
<button type="submit">Sign in</button></form></main></body></html>"""


def ask(sign_in: SignIn, call: Call, note: str = "") -> Response:
    """The page on which a user allows what a client asks for."""
    wanted = _wanted(sign_in, dict(call.form()) if call.method == "POST" else call.query)
    hidden = "".join(
        f'<input type="hidden" name="{html.escape(name)}" value="{html.escape(value)}">'
        for name, value in wanted.items()
    )
    shown = f'<p role="alert">{html.escape(note)}</p>' if note else ""
    page = _PAGE.format(scopes=html.escape(wanted["scope"]), hidden=hidden, note=shown)
    policy = "default-src 'none'; form-action *; frame-ancestors 'none'; base-uri 'none'"
    return HTMLResponse(page, 401 if note else 200, {"Content-Security-Policy": policy})


def allow(sign_in: SignIn, call: Call) -> Response:
    """Take the token of a user, and send them back to the client with a code."""
    form = dict(call.form())
    wanted = _wanted(sign_in, form)
    user = call.hub.store.user_of(form.get("token", "").strip())
    if user is None:
        return ask(sign_in, call, "That is no token of a user of this Hub.")
    code = sign_in.add_code(
        Grant(
            user,
            wanted["client_id"],
            tuple(wanted["scope"].split()),
            time.time() + CODE_SECONDS,
            wanted["redirect_uri"],
            wanted["nonce"],
            wanted["code_challenge"],
        )
    )
    back = urlsplit(wanted["redirect_uri"])
    query = [*parse_qsl(back.query, keep_blank_values=True), ("code", code), ("state", wanted["state"])]
    return RedirectResponse(urlunsplit(back._replace(query=urlencode(query))), 303)


def _wanted(sign_in: SignIn, values: Mapping[str, str]) -> dict[str, str]:
    """What a client asks for.

    Raises:
        HubError: 400, it may not: nobody is sent to an address that the client did not register.
    """
    names = ("client_id", "redirect_uri", "response_type", "scope", "state", "nonce", "code_challenge")
    wanted = {name: str(values.get(name, "")) for name in (*names, "code_challenge_method")}
    client = sign_in.client(wanted["client_id"])
    if _without_query(wanted["redirect_uri"]) not in map(_without_query, client["redirects"]):
        raise HubError(400, "The redirect_uri is not one that this client registered.")
    unknown = set(wanted["scope"].split()) - set(SCOPES)
    if wanted["response_type"] != "code" or unknown:
        raise HubError(400, f"Only the response_type `code` and the scopes {', '.join(SCOPES)} are known.")
    if wanted["code_challenge"] and wanted["code_challenge_method"] != "S256":
        raise HubError(400, "Only the code_challenge_method S256 is known.")
    return wanted


def _without_query(address: str) -> str:
    return urlunsplit(urlsplit(address)._replace(query="", fragment=""))


def exchange(sign_in: SignIn, call: Call) -> Response:
    """An access token and an id token for a code."""
    form = dict(call.form())
    client, secret = _credentials(call, form)
    known = sign_in.client(client)
    if not hmac.compare_digest(known["secret"].encode(), secret.encode()):
        raise HubError(401, "invalid_client: the secret of the client is another.")
    if form.get("grant_type") != "authorization_code":
        raise HubError(400, "unsupported_grant_type: only authorization_code is known.")
    grant = sign_in.take_code(form.get("code", ""))
    if grant.client != client or grant.redirect != form.get("redirect_uri"):
        raise HubError(400, "invalid_grant: this code is for another client or address.")
    if grant.challenge and grant.challenge != _challenge(form.get("code_verifier", "")):
        raise HubError(400, "invalid_grant: the code_verifier does not fit.")
    now = int(time.time())
    access = Grant(grant.user, client, grant.scopes, now + TOKEN_SECONDS)
    token = sign_in.add_token(access)
    told: dict[str, Any] = {
        "access_token": token,
        "token_type": "bearer",
        "expires_in": TOKEN_SECONDS,
        "scope": " ".join(grant.scopes),
    }
    if "openid" in grant.scopes:
        nonce = {"nonce": grant.nonce} if grant.nonce else {}
        claims = {"iss": call.url, "aud": client, "iat": now, "exp": now + TOKEN_SECONDS, **nonce}
        told["id_token"] = sign_in.signed({**claims, **claims_of(call, access)})
    return JSONResponse(told, headers={"Cache-Control": "no-store"})


def _credentials(call: Call, form: Mapping[str, str]) -> tuple[str, str]:
    """Id and secret of the client, from the header or from the form."""
    scheme, _, encoded = call.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return form.get("client_id", ""), form.get("client_secret", "")
    try:
        client, _, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
    except ValueError as error:
        raise HubError(401, "invalid_client: the header cannot be read.") from error
    return client, secret


def _challenge(verifier: str) -> str:
    return _base64(hashlib.sha256(verifier.encode()).digest())


def userinfo(sign_in: SignIn, call: Call) -> Response:
    """Who an access token is of."""
    grant = sign_in.of_call(call)
    if grant is None:
        raise HubError(401, "An access token is needed.")
    return JSONResponse(claims_of(call, grant))


def whoami(sign_in: SignIn, call: Call) -> Response | None:
    """Who an access token is of, as the Hub's own client asks."""
    grant = sign_in.of_call(call)
    if grant is None:
        return None
    return answer({**told_of(call), "auth": {"type": "oauth", "expiresAt": grant.expires}})


def claims_of(call: Call, grant: Grant) -> dict[str, Any]:
    """What the Hub tells of a user, as far as the scopes allow."""
    claims: dict[str, Any] = {"sub": subject(grant.user)}
    if "profile" in grant.scopes:
        picture = f"{call.url}/avatars/{grant.user}.svg"
        claims |= {
            "name": grant.user,
            "preferred_username": grant.user,
            "profile": f"{call.url}/{grant.user}",
            "picture": picture,
            "website": "",
            "isPro": False,
            "orgs": [
                {
                    "sub": subject(organisation),
                    "name": organisation,
                    "preferred_username": organisation,
                    "picture": f"{call.url}/avatars/{organisation}.svg",
                    "isEnterprise": False,
                    "roleInOrg": role,
                }
                for organisation, role in call.hub.store.roles(grant.user).items()
            ],
        }
    return claims
