"""Every command in the README and the pages of tasks works as it stands there, and prints what stands below it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt

from hf_relabel.builders.messages.extras import EXTRAS
from hf_relabel.builders.quickstart import rows_path, truth_path
from tests.facade import Facade, ScriptedBackend
from tests.hub_tools.release_clients import hub_and_client, in_this_process
from tests.pages.reading import PAGES, ROOT, RUN, blocks, same_output
from tests.pages.run import run_pages

_BLOCKS = [block for page in PAGES for block in blocks(page)]
_SLOW = frozenset({"train.md", "trust.md"})
"""Pages that train models: with `make soak`."""
_OTHER = frozenset({"text", "json", "jsonl", "csv", "", "bibtex"})


def _run(names: Sequence[str], folder: Path) -> Mapping[str, Mapping[str, Any]]:
    backend = ScriptedBackend(rows_path(), truth_path(), recall=0.8, precision=0.9)
    with hub_and_client(folder) as (_, client), Facade(backend) as judge:
        _upload(client)
        client.extra |= {"COLUMNS": "100", "NO_COLOR": "1"}
        with in_this_process(client):
            return run_pages(folder / "work", [page for page in PAGES if page.name in names], judge.url)


def _upload(client: Any) -> None:
    script = (
        "import sys; from huggingface_hub import HfApi; api = HfApi(); "
        "api.create_repo('user/training-set', repo_type='dataset'); "
        "api.upload_file(path_or_fileobj=sys.argv[1], path_in_repo='train.jsonl', repo_id='user/training-set', "
        "repo_type='dataset'); print('{}')"
    )
    client.python(script, str(rows_path()))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("slow", [False, pytest.param(True, marks=pytest.mark.soak)], ids=["quick", "slow"])
def test_what_stands_there_runs_and_prints_that(slow: bool, tmp_path: Path) -> None:
    """One test, not one for each block: all of them run in one process."""
    pages = [page.name for page in PAGES if (page.name in _SLOW) is slow]
    done = _run(pages, tmp_path)
    wrong = []
    for block in (block for block in _BLOCKS if block.is_run and block.page.name in pages):
        result = done[block.name]
        if result["code"] != 0:
            wrong.append(f"{block.name} failed:\n{result['error']}{result['out']}")
        elif block.output is not None and not same_output(block.output, result["out"]):
            wrong.append(f"{block.name} printed:\n{result['out']}")
    assert not wrong, "\n".join(wrong)


def test_every_block_is_run_or_says_that_it_is_not() -> None:
    unknown = [block.name for block in _BLOCKS if block.language not in RUN | _OTHER]
    assert not unknown, f"neither run nor known as text: {unknown}"
    loose = [
        block.name for block in _BLOCKS if block.language in _OTHER and re.search(r"^\$? ?hf.relabel ", block.text)
    ]
    assert not loose, f"commands in a block that nobody runs: {loose}"


def test_links_lead_somewhere() -> None:
    for page in PAGES:
        html = MarkdownIt("commonmark").enable("table").render(page.read_text(encoding="utf-8"))
        for link in re.findall(r'(?:href|src)="([^"]+)"', html):
            target = page.parent / link.partition("#")[0]
            assert link.startswith(("https://", "#")) or target.exists(), f"{page.name}: {link}"


def test_a_page_with_a_folder_that_does_not_ship_says_what_it_is_at_its_first_use() -> None:
    """`beir/dev` stood there as if it came with the quickstart."""
    data = (PAGES[0].parent / "hub_tools" / "pages" / "data.md").read_text(encoding="utf-8")
    assert "\n### BEIR folders\n\n`beir/dev`" in data
    assert all(name in data for name in ("corpus.jsonl", "queries.jsonl", "qrels/test.tsv", "beir:scifact"))
    for page in PAGES:
        paragraphs = page.read_text(encoding="utf-8").split("\n\n")
        first = next((each for each in paragraphs if "beir/dev" in each), "data.md#beir-folders")
        assert "data.md#beir-folders" in first or page.name == "data.md", page.name


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) < 120


def test_the_extras_are_those_there_are() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "\n".join(f"| `{name}` | {extra.purpose} |" for name, extra in EXTRAS.items()) in text


def test_a_wrong_output_is_seen() -> None:
    assert same_output("a 3 s\n…\nc\n", "a 5 s\nb\nb\nc\n")
    assert not same_output("a\nc\n", "a\nb\n")


def test_a_page_that_is_not_marked_is_run(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "Not run here:\n\n```sh\na\n```\n\nRun:\n\n```sh\nb \\\n  c\n```\n```text\nout\n```\n", encoding="utf-8"
    )
    marked, run = blocks(page)
    assert (marked.marked, run.marked, run.output) == (True, False, "out\n")
    assert list(run.commands()) == [["b", "c"]]
