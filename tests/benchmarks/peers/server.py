"""A judge server for measuring clients: OpenAI's chat and TGI's generate, one fixed reply, and a count of its slots.

    python -m tests.benchmarks.peers.server [--mean 1.0] [--slots 128] [--refused 0.05]

Prints its address. Without `--mean` it answers at once. With it, latencies are log-normal; a share of the requests is
refused with 429 at once and at random, and so is what comes while all slots are taken. `GET /stats` tells how busy the
slots were since `POST /reset`, by the server's own clock.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import random
import sys
import time
from typing import Any

CANDIDATES = 16
MODEL = "bench-model"
_LINE = "HTTP/1.1 {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n{}\r\n"


def reply_text() -> str:
    thinking = "\n".join(f"[{number}] says nothing of the question" for number in range(1, CANDIDATES + 1))
    return json.dumps({"thinking": thinking, "better": [3], "worse": []})


def chat_answer() -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", "content": reply_text()}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 3000, "completion_tokens": 180, "total_tokens": 3180}
    return {
        "id": "1",
        "object": "chat.completion",
        "created": 1,
        "model": MODEL,
        "choices": [choice],
        "usage": usage,
    }


def generate_answer() -> dict[str, Any]:
    details = {"finish_reason": "eos_token", "generated_tokens": 180, "prefill": [], "tokens": []}
    return {"generated_text": reply_text(), "details": details}


def response(status: str, value: Any, headers: str = "") -> bytes:
    body = json.dumps(value).encode()
    return _LINE.format(status, len(body), headers).encode() + body


CHAT = response("200 OK", chat_answer())
GENERATE = response("200 OK", generate_answer(), "x-prompt-tokens: 3000\r\n")
REFUSED = response(
    "429 Too Many Requests", {"error": {"message": "Model is overloaded", "type": "overloaded", "code": "429"}}
)
EMPTY = response("400 Bad Request", {"error": {"message": "no messages", "type": "invalid_request_error"}})
NOT_FOUND = response("404 Not Found", {"error": "not found"})
INFO = {"model_id": MODEL, "model_sha": "0" * 40, "max_concurrent_requests": 128, "version": "3.3.5"}
MODELS = {"object": "list", "data": [{"id": MODEL, "object": "model", "owned_by": "bench"}]}


class Slots:
    """The server's slots and what was done in them."""

    def __init__(self, slots: int, mean: float, sigma: float, refused: float, seed: int) -> None:
        self.slots, self.mean, self.sigma, self.refused, self.seed = slots, mean, sigma, refused, seed
        self.reset()

    def reset(self) -> None:
        self.chance = random.Random(self.seed)
        self.taken = self.answered = self.turned_away = 0
        self.changes: list[tuple[float, int]] = []
        self.done: list[float] = []

    def latency(self) -> float | None:
        """Seconds that a new request will take; None if it is refused."""
        if self.taken >= self.slots or self.chance.random() < self.refused:
            self.turned_away += 1
            return None
        return self.chance.lognormvariate(math.log(self.mean) - self.sigma**2 / 2, self.sigma)

    def take(self) -> None:
        self.taken += 1
        self.changes.append((time.perf_counter(), 1))

    def free(self) -> None:
        now = time.perf_counter()
        self.taken -= 1
        self.changes.append((now, -1))
        self.done.append(now)

    def busy(self, begin: float, end: float) -> float:
        """Share of the slots' time between two times that was spent working."""
        total, level, last = 0.0, 0, begin
        for when, change in self.changes:
            at = min(max(when, begin), end)
            total += level * (at - last)
            level, last = level + change, at
        total += level * (end - last)
        return total / (self.slots * (end - begin)) if end > begin else 0.0

    def stats(self) -> dict[str, Any]:
        """`busy` is from the first request taken to the last one done; `busy_middle` is between 10 % and 90 % of those,
        and so are the answers `per_second`."""
        told: dict[str, Any] = {"answered": self.answered, "refused": self.turned_away}
        if len(self.done) < 10:
            return told
        done = sorted(self.done)
        first, last = done[len(done) // 10], done[len(done) * 9 // 10]
        told |= {"per_second": (len(done) * 9 // 10 - len(done) // 10) / (last - first)}
        if not self.changes:
            return told
        begin = self.changes[0][0]
        return {**told, "busy": self.busy(begin, done[-1]), "busy_middle": self.busy(first, last)}


class Connection(asyncio.Protocol):
    """Answers the requests of a connection, one after the other."""

    slots: Slots

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport
        self.buffer = bytearray()

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = bytes(self.buffer[:end])
            lower = head.lower()
            if b"expect: 100-continue" in lower:
                self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            found = lower.find(b"\r\ncontent-length:")
            length = int(head[found + 17 :].split(b"\r\n", 1)[0]) if found >= 0 else 0
            if len(self.buffer) < end + 4 + length:
                return
            start = bytes(self.buffer[end + 4 : end + 4 + min(length, 200)])
            del self.buffer[: end + 4 + length]
            method, path, _ = head.split(b"\r\n", 1)[0].split(b" ", 2)
            self.answer(method, path, start, close=b"connection: close" in lower)

    def answer(self, method: bytes, path: bytes, start: bytes, *, close: bool) -> None:
        fixed = {b"/v1/models": MODELS, b"/info": INFO, b"/health": {}}
        slots = self.slots
        if b'"messages": []' in start or b'"messages":[]' in start:
            self.send(EMPTY, close)  # some clients look for headers that way
        elif method == b"POST" and path.endswith(b"/chat/completions"):
            self.work(CHAT, close)
        elif method == b"POST" and path in (b"/generate", b"/"):
            self.work(GENERATE, close)
        elif path == b"/stats":
            self.send(response("200 OK", slots.stats()), close)
        elif path == b"/reset":
            slots.reset()
            self.send(response("200 OK", {}), close)
        else:
            self.send(response("200 OK", fixed[path]) if path in fixed else NOT_FOUND, close)

    def work(self, answer: bytes, close: bool) -> None:
        slots = self.slots
        if not slots.mean:
            slots.answered += 1
            slots.done.append(time.perf_counter())
            self.send(answer, close)
            return
        latency = slots.latency()
        if latency is None:
            self.send(REFUSED, close)
            return
        slots.take()
        asyncio.get_running_loop().call_later(latency, self.finish, answer, close)

    def finish(self, answer: bytes, close: bool) -> None:
        self.slots.free()
        self.slots.answered += 1
        self.send(answer, close)

    def send(self, answer: bytes, close: bool) -> None:
        if self.transport.is_closing():
            return
        self.transport.write(answer)
        if close:
            self.transport.close()


async def serve(slots: Slots) -> None:
    Connection.slots = slots
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", 0, backlog=1024)
    print(json.dumps({"url": f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"}), flush=True)
    await asyncio.to_thread(sys.stdin.read)  # until whoever started it is done with it


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mean", type=float, default=0.0, help="seconds; 0 answers at once")
    parser.add_argument("--sigma", type=float, default=0.5)
    parser.add_argument("--slots", type=int, default=128)
    parser.add_argument("--refused", type=float, default=0.05)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    asyncio.run(serve(Slots(options.slots, options.mean, options.sigma, options.refused, options.seed)))


if __name__ == "__main__":
    main()
