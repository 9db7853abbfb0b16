"""A small release with something of everything, and the tools to look at its card as a reader's browser does."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from html.parser import HTMLParser
from typing import Any

from markdown_it import MarkdownIt

from hf_relabel.builders.judgements import Judgement, Label
from hf_relabel.builders.readme.front_matter import Readme
from hf_relabel.builders.rows import Passage, Row
from hf_relabel.cards.card_facts import CardFacts
from hf_relabel.cards.data_card import Example

STAGES = ("cheap", "accurate")
SUBSETS = ("nq", "fever", "fiqa")
TECHNIQUES = ("original", "remove", "remove-hn", "relabel", "relabel-filter")

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "<!-- hf-relabel:end card -->",
    "<!-- hf-relabel:begin card -->",
    "\n<!-- hf-relabel:end card -->\n",
    "-->",
    "<!--",
    "\n---\nlicense: mit\n---\n",
    "\n```\n\n# Heading\n",
    "~~~~",
    "![x](http://evil.example/x.png)",
    "[x](javascript:alert(1))",
    "[x]: http://evil.example",
    "<http://evil.example>",
    "http://evil.example/a?b=c&d",
    "www.evil.example",
    "mail me@evil.example",
    "@somebody and #12 and user/repo#3",
    "$x^2$ and $$\\int$$ and \\(x\\) and \\[y\\]",
    "a | b || c \\| d",
    "`code` ``more`` *em* __strong__ ~~gone~~ [^1] :smile:",
    "1. one",
    "- item",
    "+ item",
    "===",
    "> quote",
    "    indented",
    "line one\n\nline three\r\nline four\rfive\u2028six\x0bseven",
    "\u202eright to left\u202c \u2066isolated\u2069 \u200b\ufeff",
    "nul \x00 bell \x07 escape \x1b[31m \x7f",
    "\ud800 lone surrogate",
    "&lt;b&gt; &#60; &amp;amp;",
    "{{ facts.manifest }} {% raw %} {# x #}",
    "</details></code></pre></blockquote>",
    "日本語 العربية 😀👩‍🔬",
]

HARD_TO_DRAW = [text for text in HOSTILE if "$" in text or not (text.isascii() and text.isprintable())]
"""Those in which a figure meets more than plain letters: formulas, other scripts, characters that nobody sees."""


def manifest(name: Callable[[str], str] = str) -> dict[str, Any]:
    """A manifest as `write_configs` and `push` make it.

    Args:
        name: what to call the subsets, stages, judges and sources, given what they are called without it.
    """
    verdicts = {subset: _verdicts(400 - 100 * index) for index, subset in enumerate(map(name, SUBSETS))}
    configs = {
        config: {
            "total": _counts(900, config),
            "subsets": {subset: _counts(400 - 100 * index, config) for index, subset in enumerate(verdicts)},
        }
        for config in TECHNIQUES
    }
    total = _verdicts(900)
    total["stages"] = {
        name(stage): {"better": 9, "worse": 4, "irrelevant": 80, "failed": 3, "unparsable": 2, "not-asked": 2}
        for stage in STAGES
    }
    total["tokens"] = {name(stage): {"prompt": 12345.5, "completion": 678.25} for stage in STAGES}
    total["agreement"] = [
        {
            "first": name("cheap"),
            "second": name("accurate"),
            "both": 40,
            "only_first": 20,
            "only_second": 10,
            "neither": 30,
        }
    ]
    return {
        "format_version": 1,
        "tool": {"name": "hf-relabel", "version": "0.1.0"},
        "packages": {"datasets": "5.2.0", "pyarrow": "26.0"},
        "settings": {
            "techniques": list(TECHNIQUES),
            "limit": 7,
            "default_config": "remove-hn",
            "split": "train",
            "stages": [name(stage) for stage in STAGES],
        },
        "rows": {"first": 0, "count": 900},
        "configs": configs,
        "verdicts": {"total": total, "subsets": verdicts},
        "files": {},
        "source": {"name": name("rlhn/default-680K"), "revision": "0" * 40, "config": None, "subset": [name("nq")]},
        "run": {"stages": [_stage(name(stage), name) for stage in STAGES]},
        "release": {"version": "v1.1.0", "previous": "v1.0.0"},
    }


def _verdicts(rows: int) -> dict[str, Any]:
    spread = {str(number): rows // (10 * number) for number in range(1, 10)}
    return {
        "candidates": rows * 10,
        "outcomes": {
            "false_negative": {"judged": rows},
            "duplicate": {"same-text": 3},
            "doubtful": {"judged": rows * 2},
            "negative": {"judged": rows * 6},
            "empty": {},
            "unjudged": {"failed": 2, "not-reached": 1},
        },
        "failures": {"failed": 2, "unparsable": 0},
        "rows_with_false_negatives": sum(spread.values()),
        "false_negatives_per_row": {"0": rows - sum(spread.values()), **spread},
        "stages": {},
    }


def _counts(rows: int, config: str) -> dict[str, Any]:
    moved = rows // 2 if config.startswith("relabel") else 0
    dropped = {"false_negative": rows // 3, "doubtful": 0, "row": 5} if config != "original" else {"row": 0}
    return {
        "rows_in": rows,
        "rows_out": rows - (1 if config != "original" else 0),
        "rows_changed": moved,
        "rows_without_negatives": 2,
        "rows_dropped": {"over_limit": 1},
        "positives": rows * 2 + moved,
        "negatives": rows * 10 - moved - sum(dropped.values()),
        "moved": moved,
        "positives_dropped": 0,
        "dropped": dropped,
    }


def _stage(stage: str, name: Callable[[str], str]) -> dict[str, Any]:
    settings = {"prompt": name("listwise-v1"), "prompt_sha256": "ab" * 32, "chat_template": name("template"), "seed": 0}
    judge = {"kind": "listwise", "model": name("some/model"), "revision": "1" * 40, "settings": settings}
    return {"name": stage, "escalate": "candidate", "passes": ["better", "worse"], "judge": judge}


def example(name: Callable[[str], str] = str) -> Example:
    """An example of which every text goes through `name`."""
    positives = tuple(Passage(name(f"p{number}"), name("Title"), name(f"Positive {number}.")) for number in range(2))
    candidate = Passage(name("n0"), name("A title"), name("A hard negative that answers."))
    row = Row(name("q1"), name("What answers?"), positives, (candidate,), name("nq"))
    judgements = (
        Judgement(Label.BETTER, score=0.75, rationale=name("It answers.")),
        Judgement(Label.BETTER, rationale=name("It does.")),
    )
    return Example(row, candidate, judgements)


def facts(name: Callable[[str], str] = str, **changes: Any) -> CardFacts:
    """The facts of the small release."""
    values: dict[str, Any] = {
        "repo_id": name("user/cleaned"),
        "version": name("v1.1.0"),
        "manifest": manifest(name),
        "license": "apache-2.0",
        "language": ["en"],
        "example": example(name),
        "prices": {name("cheap"): {"prompt": 0.15, "completion": 0.6}},
    }
    return CardFacts(**(values | changes))


@cache
def without_false_negatives() -> Mapping[str, Any]:
    """The manifest of a release in which nothing was found."""
    changed = copy.deepcopy(manifest())
    for counts in (changed["verdicts"]["total"], *changed["verdicts"]["subsets"].values()):
        rows = sum(counts["false_negatives_per_row"].values())
        counts |= {"false_negatives_per_row": {"0": rows}, "rows_with_false_negatives": 0}
    return changed


@dataclass
class Page(HTMLParser):
    """What a browser makes of a README.md: tags with attributes, and the texts between them.

    Attributes:
        tags: (name, attributes) of every start and end tag, but for <wbr> and the text of images.
        texts: texts outside of blocks of code.
    """

    tags: list[tuple[str, tuple[tuple[str, str | None], ...]]] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    comments: list[str] = field(default_factory=list)
    alts: list[str] = field(default_factory=list)
    _in_code: int = 0

    @classmethod
    def of(cls, markdown: str) -> Page:
        """The page of a README.md; as on the Hub, its front matter is not on it."""
        page = cls()
        HTMLParser.__init__(page, convert_charrefs=True)
        page.feed(_MARKDOWN.render(Readme.parse(markdown).body))
        page.close()
        return page

    @property
    def text(self) -> str:
        return " ".join("".join(self.texts).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._in_code += tag == "pre"
        self.alts += [value or "" for name, value in attrs if name == "alt"]
        if tag == "wbr":
            assert not attrs
            self.texts.append("")
        else:
            self.tags.append((tag, tuple(attr for attr in attrs if attr[0] != "alt")))

    def handle_endtag(self, tag: str) -> None:
        self._in_code -= tag == "pre"
        self.tags.append((f"/{tag}", ()))

    def handle_data(self, data: str) -> None:
        if not self._in_code:
            self.texts.append(data)

    def handle_comment(self, data: str) -> None:
        self.comments.append(data)

    def handle_decl(self, decl: str) -> None:
        raise AssertionError(f"a declaration: {decl}")

    def handle_pi(self, data: str) -> None:
        raise AssertionError(f"a processing instruction: {data}")

    def unknown_decl(self, data: str) -> None:
        raise AssertionError(f"a declaration: {data}")

    __hash__ = None  # type: ignore[assignment]


_MARKDOWN = MarkdownIt("commonmark").enable("table")

LINKED_AFTERWARDS = re.compile(
    r"(?i)https?://|www\.\w|mailto:\w|[\w.+-]+@[\w-]+|(?<!\w)@\w|(?<!\w)#\d|\$\$|\$[^ $][^$]*\$|\\[(\[]|:[a-z_]+:"
)
"""What renderers turn into links, mentions, formulas and pictures in the text of a page, when Markdown is done."""
