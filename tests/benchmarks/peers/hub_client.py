"""huggingface_hub's AsyncInferenceClient with gather. It never asks again: what is refused is lost."""

from __future__ import annotations

import argparse
import asyncio
import json
from pathlib import Path

from huggingface_hub import AsyncInferenceClient


async def run(url: str, prompts: list[str], concurrency: int) -> list[str | None]:
    client = AsyncInferenceClient(base_url=url, api_key="none", timeout=120)
    free = asyncio.Semaphore(concurrency)

    async def one(prompt: str) -> str | None:
        async with free:
            answer = await client.chat_completion([{"role": "user", "content": prompt}], max_tokens=256)
            return answer.choices[0].message.content

    answers = await asyncio.gather(*map(one, prompts), return_exceptions=True)
    return [answer if isinstance(answer, str) else None for answer in answers]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("prompts", type=Path, help="JSON lines with a text each")
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--scratch", type=Path)
    options = parser.parse_args()
    prompts = [json.loads(line) for line in options.prompts.read_text(encoding="utf-8").splitlines()]
    answers = asyncio.run(run(options.url, prompts, options.concurrency))
    print(json.dumps({"answered": sum(answer is not None for answer in answers)}))


if __name__ == "__main__":
    main()
