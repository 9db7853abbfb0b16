"""What a real server answered, kept in a JSON file, and a server that answers the same again.

`make real RECORD=1` writes the files of tests/real/recorded. A request is known again by what it is like (`Kind`), not
by its every byte: prompts and settings may change, and a server would still answer as it did.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from aiohttp import web

from tests.facade.serving import Served

FOLDER = Path(__file__).parents[1] / "real" / "recorded"
KEY = "the-right-key"
"""What a replaying server lets people in with, where the real one had a key."""
CHAT = "/v1/chat/completions"
NOT_RECORDED = 599
_LONG = 9000
"""Characters of a prompt that were more than the servers' contexts."""


@dataclass(frozen=True)
class Kind:
    """What a request is like, as far as the answer depends on it.

    Attributes:
        key: right, wrong or none.
        reply: of a chat completion, the form that is asked for: plain, schema, thinking (a schema with room for
            reasoning before the verdict) or logprobs.
        model: known (or none is named), limited (the one with a rate limit) or unknown.
        long: whether the prompt is longer than the context.
        nonsense: whether a setting has a value that no server takes.
        state: of the server, where it was asked in another than its usual one, such as "no cache".
    """

    method: str
    path: str
    key: str = "right"
    reply: str = ""
    model: str = "known"
    long: bool = False
    nonsense: bool = False
    state: str = ""


@dataclass(frozen=True)
class Exchange:
    """A request and its answer: `body` is JSON where it was, else text. `seconds` is what the answer took."""

    kind: Kind
    status: int
    headers: dict[str, str]
    body: Any
    seconds: float


@dataclass
class Recording:
    """What one server answered.

    Attributes:
        server, version, date: of what was recorded, and when (YYYY-MM-DD).
        keyed: whether it wants a key.
    """

    server: str
    version: str
    date: str
    keyed: bool
    exchanges: list[Exchange] = field(default_factory=list)

    @classmethod
    def load(cls, name: str) -> Recording:
        """The recording of a server, by its name."""
        read = json.loads((FOLDER / f"{name}.json").read_text("utf-8"))
        kinds = [Exchange(Kind(**entry.pop("kind")), **entry) for entry in read.pop("exchanges")]
        return cls(**read, exchanges=kinds)

    def save(self) -> Path:
        """Write it to its place."""
        file = FOLDER / f"{self.server}.json"
        FOLDER.mkdir(exist_ok=True)
        file.write_text(json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n", "utf-8")
        return file

    def find(self, kind: Kind) -> list[Exchange]:
        """The answers to requests of this kind, in the order of their coming."""
        return [exchange for exchange in self.exchanges if exchange.kind == kind]

    def constrained_seconds(self) -> list[float]:
        """What the same constrained request took each time: at first its grammar is compiled and its prompt read."""
        return [entry.seconds for entry in self.find(Kind("POST", CHAT, reply="schema")) if entry.status == 200]


def kind_of(method: str, path: str, key: str, body: Any, models: dict[str, str]) -> Kind:
    """What a request is like.

    Args:
        key: right, wrong or none.
        models: known, limited … by the names of models; others are unknown.
    """
    if not isinstance(body, dict) or not path.endswith("/chat/completions"):
        return Kind(method, path, key)
    text = json.dumps(body.get("messages"))
    nonsense = str((body.get("response_format") or {}).get("type")) == "nonsense"
    name = body.get("model")
    model = "known" if name is None else models.get(str(name), "unknown")
    return Kind(method, path, key, _reply(body), model, len(text) > _LONG, nonsense)


def _reply(body: dict[str, Any]) -> str:
    constraint = body.get("response_format") or body.get("structured_outputs")
    if constraint:
        return "thinking" if '"thinking"' in json.dumps(constraint) else "schema"
    return "logprobs" if body.get("logprobs") else "plain"


class Replay(Served):
    """A server that answers as the recorded one did, on a free port of 127.0.0.1, for as long as the `with` lasts.

    The first request of a kind gets the first answer, the next the next, and the last is repeated. What was never
    recorded is answered 599, which no client of ours takes for an answer.

    Args:
        recording: a recording, or the name of one.
        pace: seconds to take for each that the real server took: 0 answers at once, 1 takes as long.
        state: answers of this state go before those of the usual one.
    """

    def __init__(self, recording: Recording | str, *, pace: float = 0.0, state: str = "") -> None:
        super().__init__()
        self.recording = Recording.load(recording) if isinstance(recording, str) else recording
        self.pace, self.state = pace, state
        self.key = KEY if self.recording.keyed else ""
        self.asked: list[tuple[Kind, Any]] = []
        self._given: dict[Kind, int] = {}

    def runner(self) -> web.BaseRunner[Any]:
        return web.ServerRunner(web.Server(self._answer), shutdown_timeout=0.1)

    async def _answer(self, request: web.BaseRequest) -> web.Response:
        raw = await request.read()
        body = json.loads(raw) if raw else None
        kind = kind_of(request.method, request.path, self._key_of(request), body, self._models())
        self.asked.append((kind, body))
        found = self.recording.find(replace(kind, state=self.state)) or self.recording.find(kind)
        if not found:
            return web.Response(status=NOT_RECORDED, text=f"{self.recording.server} was never asked: {kind}")
        number = self._given[kind] = self._given.get(kind, -1) + 1
        answer = found[min(number, len(found) - 1)]
        await asyncio.sleep(answer.seconds * self.pace)
        text = answer.body if isinstance(answer.body, str) else json.dumps(answer.body)
        return web.Response(status=answer.status, headers=answer.headers, body=text.encode())

    def _key_of(self, request: web.BaseRequest) -> str:
        sent = request.headers.get("Authorization")
        if not self.recording.keyed or sent == f"Bearer {KEY}":
            return "right"
        return "wrong" if sent else "none"

    def _models(self) -> dict[str, str]:
        """The names that the server's own answers go by."""
        named = {str(entry.body["model"]): entry.kind.model for entry in self.exchanges_with_model()}
        return {**named, "limited": "limited", self.model: "known"}

    def exchanges_with_model(self) -> list[Exchange]:
        """Answers that say which model gave them."""
        return [entry for entry in self.recording.exchanges if isinstance(entry.body, dict) and "model" in entry.body]

    @property
    def model(self) -> str:
        """The name to ask for: what the answers are of."""
        known = [entry for entry in self.exchanges_with_model() if entry.kind.model == "known"]
        return str(known[0].body["model"]) if known else ""
