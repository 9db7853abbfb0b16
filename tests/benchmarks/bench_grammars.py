"""Time to compile the grammars that judges send, with what servers compile them with, over 100,000 tokens.

    python -m tests.benchmarks.bench_grammars [--rounds 3] [--beside] [--json]

`outlines-core` 0.1.26 is what TGI 3 compiles with, and all its requests wait meanwhile; beside it the time for the
schema instead of the regular expression. `xgrammar` (vLLM, SGLang) is measured where it is installed
(`pip install --no-deps xgrammar apache-tvm-ffi`). Seconds are of CPU time.
"""

from __future__ import annotations

import importlib.util
import json
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

from hf_relabel.hub_tools.endpoints.grammars import as_sent, tgi_grammar
from tests.benchmarks.measuring import Figure, emit, own_peak_mb, parser_of
from tests.hub_tools.endpoints import compilers


def seconds(work: Callable[[], Any], rounds: int) -> float:
    taken = []
    for _ in range(rounds):
        start = time.process_time()
        work()
        taken.append(time.process_time() - start)
    return statistics.median(taken)


def on_tgi(judge: str, rounds: int, *, beside: bool) -> Figure:
    from outlines_core.fsm.json_schema import build_regex_from_schema

    schema = compilers.schemas(judge)[-1]
    regex = tgi_grammar(schema)["value"]
    compilers.outlines_index("a")  # the vocabulary is read once
    taken = seconds(lambda: compilers.outlines_index(regex), rounds)
    shown = ""
    if beside:
        by_schema = build_regex_from_schema(json.dumps(as_sent(schema, "tgi")))
        shown = f"by schema {seconds(lambda: compilers.outlines_index(by_schema), 1):.1f} s"
    what = f"{len(compilers.outlines_states(regex).states)} states, {compilers.SIZE:,} tokens"
    return Figure(f"TGI, {judge}", taken, "CPU s", what, beside=shown, target="<= 1", peak_mb=own_peak_mb())


def on_xgrammar(judge: str, rounds: int) -> Figure:
    import xgrammar

    compile_schema = compilers.xgrammar_compiler(xgrammar)
    schemas = [json.dumps(as_sent(schema, "vllm")) for schema in compilers.schemas(judge)]
    slowest = max(seconds(lambda schema=schema: compile_schema(schema), rounds) for schema in schemas)  # type: ignore[misc]
    what = f"slowest of {len(schemas)}, {compilers.SIZE:,} tokens"
    return Figure(f"xgrammar, {judge}", slowest, "CPU s", what, target="<= 1", peak_mb=own_peak_mb())


def figures(rounds: int, *, beside: bool) -> Iterator[Figure]:
    for judge in compilers.JUDGES:
        yield on_tgi(judge, rounds, beside=beside)
    if importlib.util.find_spec("xgrammar") is not None:
        for judge in compilers.JUDGES:
            yield on_xgrammar(judge, rounds)


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=compilers.SIZE, help="so many of the vocabulary")
    parser.add_argument("--beside", action="store_true", help="measure the schemas as well, which takes a minute")
    options = parser.parse_args()
    compilers.SIZE = options.tokens
    emit("grammars", list(figures(options.rounds, beside=options.beside)), as_json=options.json)


if __name__ == "__main__":
    main()
