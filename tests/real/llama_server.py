"""llama.cpp's server (xllamacpp) with SmolLM2, until it is ended: `python -m tests.real.llama_server PORT [KEY]`."""

from __future__ import annotations

import signal
import sys

from tests.facade.llama import model_path

CONTEXT = 2048
SLOTS = 2


def main() -> None:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(model_path())
    params.model_alias = {"SmolLM2-135M-Instruct"}
    params.n_parallel, params.n_ctx = SLOTS, SLOTS * CONTEXT
    params.hostnames, params.port = ["127.0.0.1"], int(sys.argv[1])
    params.api_keys = sys.argv[2:]
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.endpoint_metrics, params.warmup = True, False
    server = xllamacpp.Server(params)
    print(f"listening at {server.listening_address}", flush=True)
    signal.pause()


if __name__ == "__main__":
    main()
