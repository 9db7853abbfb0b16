"""datatrove's InferenceRunner with an endpoint that others started, and a JSON lines writer.

Its raw sockets are for servers it starts on the same machine, and do not ask again when refused. For every other server
it uses the openai client, which does; so the address is written in a way that it does not take for this machine.
"""

from __future__ import annotations

import argparse
import gzip
import json
from pathlib import Path
from typing import Any

from datatrove.data import Document
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.inference.run_inference import InferenceConfig, InferenceRunner
from datatrove.pipeline.writers import JsonlWriter


async def rollout(document: Document, generate: Any, **_: Any) -> Any:
    try:
        return await generate({"messages": [{"role": "user", "content": document.text}], "max_tokens": 256})
    except Exception:
        return None  # the document is lost, the others go on


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("prompts", type=Path, help="JSON lines with a text each")
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--scratch", type=Path, required=True)
    options = parser.parse_args()
    prompts = [json.loads(line) for line in options.prompts.read_text(encoding="utf-8").splitlines()]
    config = InferenceConfig(
        server_type="endpoint",
        model_name_or_path="bench-model",
        endpoint_url=options.url.replace("//127.0.0.1", "//127.1"),
        api_key="none",
        max_concurrent_generations=options.concurrency,
        server_ready_delay_sec=0.2,
    )
    out = options.scratch / "out"
    runner = InferenceRunner(rollout, config, JsonlWriter(str(out)))
    documents = [Document(text=prompt, id=str(number)) for number, prompt in enumerate(prompts)]
    LocalPipelineExecutor([documents, runner], tasks=1, logging_dir=str(options.scratch / "logs")).run()
    answered = 0
    for path in out.glob("*.jsonl.gz"):
        with gzip.open(path, "rt", encoding="utf-8") as file:
            answered += sum(1 for _ in file)
    print(json.dumps({"answered": answered}))


if __name__ == "__main__":
    main()
