"""Runs all pages, each in a folder of its own, in one process: `python -m tests.pages.run FOLDER [PAGE …]`.

Prints a JSON line for each block. Commands run as they stand but for the address of the judge server, which is in
JUDGE_URL; the Hub is whatever HF_ENDPOINT says.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.pages.reading import PAGES, Block, blocks
from tests.pages.scene import lay_out

_SERVER = "http://127.0.0.1:8080"


def main() -> None:
    from hf_relabel.hub_tools.commands import run

    _encode_once()
    folder = Path(sys.argv[1])
    wanted = [page for page in PAGES if len(sys.argv) < 3 or page.name in sys.argv[2:]]
    for page in wanted:
        place = folder / page.stem
        place.mkdir(parents=True)
        lay_out(place)
        os.chdir(place)
        names: dict[str, Any] = {"__name__": "__main__"}
        for block in blocks(page):
            if block.is_run:
                print(json.dumps({"block": block.name, **_run(block, run, names)}), file=sys.__stdout__, flush=True)


def _encode_once() -> None:
    """Pages judge the same rows again and again: a text that was encoded on one page is not encoded on the next."""
    from hf_relabel.builders.judges.offline.similarity import SimilarityJudge

    known: dict[tuple[object, ...], Any] = {}
    encode = SimilarityJudge._encoded

    def encoded(judge: SimilarityJudge, texts: list[str], side: Any) -> Any:
        def key(text: str) -> tuple[object, ...]:
            return (judge.name, judge.revision, judge.query_prompt, judge.passage_prompt, side, text)

        new = encode(judge, [text for text in texts if key(text) not in known], side)
        known.update({key(text): vector for text, vector in new.items()})
        return {text: known[key(text)] for text in texts}

    SimilarityJudge._encoded = encoded  # type: ignore[method-assign]


def _run(block: Block, run: Any, names: dict[str, Any]) -> Mapping[str, Any]:
    text = block.text.replace(_SERVER, os.environ["JUDGE_URL"])
    out, error, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
        try:
            if block.language == "python":
                exec(compile(text, block.name, "exec"), names)
            elif block.language == "yaml":
                Path(text.splitlines()[0].removeprefix("# ")).write_text(text, encoding="utf-8")
            else:
                for program, *arguments in Block(block.page, 0, "sh", text, False).commands():
                    if program != "hf-relabel":
                        raise ValueError(f"{program} is no command of ours: mark the block as not run here")
                    code = code or run(arguments)
        except BaseException:
            code = 1
            error.write(traceback.format_exc())
    return {"code": code, "out": out.getvalue(), "error": error.getvalue()[-3000:]}


if __name__ == "__main__":
    main()
