"""bespokelabs-curator: an LLM over a data set, with its OpenAI backend and no limit but that of requests in flight."""

from __future__ import annotations

import argparse
import json
import os
from importlib.util import find_spec
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("prompts", type=Path, help="JSON lines with a text each")
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--scratch", type=Path, required=True)
    options = parser.parse_args()
    # Read when it is imported.
    os.environ |= {
        "CURATOR_CACHE_DIR": str(options.scratch),
        "CURATOR_DISABLE_RICH_DISPLAY": "1",
        "TELEMETRY_ENABLED": "0",
        "HF_HUB_OFFLINE": "1",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    }
    # The tokenizer it counts with, which would be downloaded; litellm has it in its wheel.
    wheel = find_spec("litellm")
    if wheel is not None and wheel.origin is not None:
        os.environ["TIKTOKEN_CACHE_DIR"] = str(Path(wheel.origin).parent / "litellm_core_utils" / "tokenizers")
    from bespokelabs import curator
    from datasets import Dataset

    class Judge(curator.LLM):
        def prompt(self, row: dict[str, str]) -> str:
            return row["prompt"]

        def parse(self, row: dict[str, str], response: str) -> dict[str, str]:
            return {"answer": response}

    prompts = [json.loads(line) for line in options.prompts.read_text(encoding="utf-8").splitlines()]
    judge = Judge(
        model_name="bench-model",
        backend="openai",
        backend_params={
            "base_url": f"{options.url}/v1",
            "api_key": "none",
            "max_requests_per_minute": 10_000_000,
            "max_tokens_per_minute": 1_000_000_000_000,
            "max_concurrent_requests": options.concurrency,
            "max_retries": 20,
            "require_all_responses": False,
        },
    )
    answers = judge(Dataset.from_dict({"prompt": prompts}))
    data = getattr(answers, "dataset", answers)
    print(json.dumps({"answered": sum(1 for answer in data["answer"] if answer)}))


if __name__ == "__main__":
    main()
