"""Runs pages, each in a folder of its own. Commands run as they stand but for the address of the judge server."""

from __future__ import annotations

import contextlib
import io
import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.pages.reading import Block, blocks
from tests.pages.scene import lay_out

_SERVER = "http://127.0.0.1:8080"


def run_pages(folder: Path, pages: Sequence[Path], judge_url: str) -> dict[str, Mapping[str, Any]]:
    """The exit code, output and errors of each block, by its name."""
    found: dict[str, Mapping[str, Any]] = {}
    for page in pages:
        place = folder / page.stem
        place.mkdir(parents=True)
        lay_out(place)
        names: dict[str, Any] = {"__name__": "__main__"}
        with contextlib.chdir(place), _encoded_once():
            found |= {block.name: _run(block, judge_url, names) for block in blocks(page) if block.is_run}
    return found


_known: dict[tuple[object, ...], Any] = {}


@contextlib.contextmanager
def _encoded_once() -> Iterator[None]:
    """Pages judge the same rows again and again: a text that was encoded on one page is not encoded on the next."""
    from hf_relabel.builders.judges.offline.similarity import SimilarityJudge

    encode = SimilarityJudge._encoded

    def encoded(judge: SimilarityJudge, texts: list[str], side: Any) -> Any:
        def key(text: str) -> tuple[object, ...]:
            return (judge.name, judge.revision, judge.query_prompt, judge.passage_prompt, side, text)

        new = encode(judge, [text for text in texts if key(text) not in _known], side)
        _known.update({key(text): vector for text, vector in new.items()})
        return {text: _known[key(text)] for text in texts}

    SimilarityJudge._encoded = encoded  # type: ignore[method-assign]
    try:
        yield
    finally:
        SimilarityJudge._encoded = encode  # type: ignore[method-assign]


def _run(block: Block, judge_url: str, names: dict[str, Any]) -> Mapping[str, Any]:
    from hf_relabel.hub_tools.commands import run

    text = block.text.replace(_SERVER, judge_url)
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
