"""The blocks of code of a page, in order."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).resolve().parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "hub_tools" / "pages").glob("*.md")))
RUN = frozenset({"sh", "python", "yaml"})
"""Languages whose blocks are run; a yaml block is saved under the name in its first line, `# name.yaml`."""
_MARK = "not run here"


@dataclass(frozen=True)
class Block:
    """A block of code.

    Attributes:
        line: its first line in the page, from 1.
        language: the word after the fence.
        marked: whether the paragraph above it says that it is not run here.
        output: the text block that follows it at once: what it prints.
    """

    page: Path
    line: int
    language: str
    text: str
    marked: bool
    output: str | None = None

    @property
    def name(self) -> str:
        return f"{self.page.name}:{self.line}"

    @property
    def is_run(self) -> bool:
        return self.language in RUN and not self.marked

    def commands(self) -> Iterator[list[str]]:
        """The commands of a block of shell, as words."""
        for line in self.text.replace("\\\n", " ").splitlines():
            if words := shlex.split(line, comments=True):
                yield words


def blocks(page: Path) -> list[Block]:
    """All fenced blocks of a page that are code."""
    found: list[Block] = []
    tokens = MarkdownIt("commonmark").enable("table").parse(page.read_text(encoding="utf-8"))
    for place, token in enumerate(tokens):
        if token.type != "fence":
            continue
        language = token.info.split()[0] if token.info.strip() else ""
        if language == "text" and found and tokens[place - 1].type == "fence":
            last = found.pop()
            found.append(Block(last.page, last.line, last.language, last.text, last.marked, token.content))
            continue
        assert token.map is not None
        found.append(Block(page, token.map[0] + 1, language, token.content, _is_marked(tokens[:place])))
    return found


def _is_marked(before: list[Token]) -> bool:
    texts = [token for token in before if token.type in ("inline", "fence")]
    return bool(texts) and texts[-1].type == "inline" and _MARK in texts[-1].content.lower()


def same_output(said: str, printed: str) -> bool:
    """Whether a page says what was printed, times and addresses aside. A line `…` stands for any lines."""
    parts = [re.escape(_settled(part.strip("\n"))) for part in re.split(r"(?m)^ *…\n?", said)]
    return re.fullmatch(r"\s*" + r"[\s\S]*?".join(parts) + r"\s*", _settled(printed)) is not None


def _settled(text: str) -> str:
    text = re.sub(r"http://127\.0\.0\.1:\d+", "http://127.0.0.1:8080", text)
    text = re.sub(r"\b\d+(\.\d+)? ?(s|seconds|rows/s)\b", "TIME", text)
    return "\n".join(line.rstrip() for line in text.splitlines())
