"""The command line: `hf relabel …` and `hf-relabel …`. One file per command, imported only when it runs."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence

import click

from hf_relabel.builders.messages.program import SCRIPT, program
from hf_relabel.hub_tools.commands.group import LazyGroup
from hf_relabel.hub_tools.commands.spelling import printable, respell_warnings, respelt, with_nearest
from hf_relabel.trainers.devices import is_first, one_process_only

# Name, module and one line of help. Kept here so that `--help` imports no command.
COMMANDS: dict[str, tuple[str, str]] = {
    "quickstart": ("quickstart", "Run the whole job on a small set that ships with the package."),
    "inspect": ("inspect", "Show what a training set holds, and the false negatives that need no judge."),
    "mine": ("mine", "Find hard negatives for pairs of query and positive, and write rows."),
    "plan": ("plan", "Work out requests, tokens, cost and time before judging."),
    "judge": ("judge", "Judge the hard negatives of a training set into a journal."),
    "batch": ("batch", "Judge by batch files: half the price at services, or vLLM without a server."),
    "report": ("report", "Report on the judges: bias of position, agreement, cost of each escalation rule."),
    "audit": ("audit", "Draw a blind sample for people, and report what their answers say of the judges."),
    "student": ("student", "Train a cheap offline judge on labels of people or of another judge."),
    "suspects": ("suspects", "Find ground truths that no judge stands by."),
    "judge-bench": ("judge_bench", "Measure judges on a set whose false negatives are known."),
    "qrels": ("qrels", "Find the relevant documents that the judgements of a test set miss."),
    "build": ("build", "Build the cleaned configs from a training set and a journal."),
    "run": ("run", "Do all of it from one job file."),
    "jobs": ("jobs", "Run a job file on HF Jobs, with a judge server if wanted."),
    "push": ("push", "Release the cleaned configs on the Hub as one tagged version."),
    "pull": ("pull", "Download a release and check it against its manifest."),
    "diff": ("diff", "Show what changed between two releases, row by row and verdict by verdict."),
    "log": ("log", "List the versions of a release with what changed."),
    "train": ("train", "Train a model on a release or a training set, from a recipe."),
    "evaluate": ("evaluate", "Measure a model or a ranking on BEIR folders and benchmarks of the Hub."),
    "compare": ("compare", "Train a small student on every config and say which technique is best."),
    "prune": ("prune", "Leave out one subset at a time and say which ones harm."),
    "push-model": ("push_model", "Release a trained model on the Hub, with its card."),
    "space": ("space", "Look through a release in the browser, and let people answer for it."),
    "hub": ("hub", "Serve a local Hub for development and tests."),
}

COMPLETE = "_HF_RELABEL_COMPLETE"
"""The variable in which a shell asks for completion."""

LINGER = 2.0
"""Seconds that one of several processes ends after the one that says why: torchrun stops all when the first ends."""

EPILOG = """\b
Examples:
  hf relabel quickstart
  hf relabel inspect rlhn/default-680K --subset fever
  hf relabel judge train.jsonl --endpoint http://127.0.0.1:8080
  hf relabel build train.jsonl --out cleaned
  hf relabel run job.yaml
  hf relabel push cleaned user/train-relabeled"""


def _show_version(context: click.Context, _option: click.Parameter, wanted: bool) -> None:
    if wanted:
        from hf_relabel import __version__

        click.echo(f"{SCRIPT} {__version__}")
        context.exit()


@click.group(cls=LazyGroup, lazy=COMMANDS, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_show_version, help="Show the version."
)
def cli() -> None:
    """Find the false negatives among the hard negatives of a retrieval training set, relabel them with LLM judges, and
    build cleaned, versioned configs.

    Exit codes: 0 done, 1 other errors, 2 bad input, 3 a judge server, 4 judging stopped early (kept, run again),
    5 the journal, 6 building, 7 a release, 8 training, 9 a Job on the Hub, 130 Ctrl-C.
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the console script."""
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code. Errors become one line on standard error."""
    from hf_relabel.builders.errors import JudgingStopped, Mistakes, RelabelError

    if os.environ.get(COMPLETE):
        return _complete()
    arguments = sys.argv[1:] if arguments is None else arguments
    respell_warnings()
    try:
        _check_processes(arguments)
        result = cli.main(args=arguments, prog_name=program(), standalone_mode=False)
    except click.exceptions.Abort:
        return _interrupted()
    except click.ClickException as error:
        if is_first():
            with_nearest(error).show()
        return error.exit_code
    except KeyboardInterrupt:
        return _interrupted()
    except RelabelError as error:
        if error.said_elsewhere:
            time.sleep(LINGER)
            return error.exit_code
        text = str(error) if isinstance(error, Mistakes) else " ".join(str(error).split())
        click.echo(f"Error: {printable(respelt(text, _command(arguments), arguments))}", err=True)
        return 130 if isinstance(error, JudgingStopped) and error.interrupted else error.exit_code
    except BrokenPipeError:
        return 141
    return result if isinstance(result, int) else 0


def _check_processes(arguments: Sequence[str]) -> None:
    """One of several processes (torchrun) would do the work of any other command over again."""
    if (name := next(iter(arguments), "")) in COMMANDS and name != "train":
        one_process_only(f"`{program()} {name}`")


def _command(arguments: Sequence[str]) -> click.Command | None:
    """The command that was called."""
    name = next((argument for argument in arguments if not argument.startswith("-")), "")
    return cli.get_command(click.Context(cli), name)


def _complete() -> int:
    """Answer a shell that asks for its script, or for what may come next. It knows the console script's name alone."""
    from click.shell_completion import shell_complete

    from hf_relabel.hub_tools.commands.completion import register

    register()
    return shell_complete(cli, {}, SCRIPT, COMPLETE, os.environ[COMPLETE])


def _interrupted() -> int:
    if is_first():
        click.echo("Interrupted.", err=True)
    return 130
