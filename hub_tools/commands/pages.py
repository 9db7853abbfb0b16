"""A page of Markdown for each command, made from the command line itself.

    python -m hf_relabel.hub_tools.commands.pages            # writes the pages
    python -m hf_relabel.hub_tools.commands.pages --check    # says which are out of date

A page has what `--help` says, whatever the width of the terminal, and what is written by hand in `notes/NAME.md`. Pages
are read by people of both kinds, so they say `hf-relabel`, wherever they are made.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import click

from hf_relabel.builders.messages.extras import EXTRAS
from hf_relabel.builders.messages.program import EXTENSION, SCRIPT, spoken
from hf_relabel.hub_tools.commands import COMMANDS, cli, job_page, recipe_page

FOLDER = Path(__file__).parent / "pages"
NOTES = Path(__file__).parent / "notes"
INDEX = "README.md"
_EXIT_CODES = "Exit codes:"
_BOTH = "{extension}"
_TWO_WAYS = f"These pages say `{SCRIPT}`. Installed by `hf extensions install`, the command is `{_BOTH}`."
_JOB_FILES = f"What `run`, `jobs` and `--stages` read: [the format of job files]({job_page.NAME})."
_RECIPES = (
    f"What `train`, `compare` and `prune` train by: [recipes, and where each value comes from]({recipe_page.NAME})."
)
_SAME_CODES = f"Exit codes are [the same for all commands]({INDEX}#exit-codes)."
_GENERATED = "<!-- Made by `make pages` from the command line; text of its own goes into ../notes. -->"


def pages() -> dict[str, str]:
    """All pages, by the name of their file."""
    context = click.Context(cli, info_name=SCRIPT, **cli.context_settings)
    made = {INDEX: _index()}
    made |= {each.NAME: f"{_GENERATED}\n\n{each.page()}\n" for each in (job_page, recipe_page)}
    for name in COMMANDS:
        command = cli.get_command(context, name)
        assert command is not None
        made[f"{name}.md"] = _page(name, command, context)
    return {name: spoken(text, SCRIPT).replace(_BOTH, EXTENSION) for name, text in made.items()}


def stale(folder: Path = FOLDER) -> list[str]:
    """Names of pages that are missing, out of date, or of no command any more; and notes of no command."""
    wanted = {name: text.encode("utf-8") for name, text in pages().items()}
    there = {path.name: path.read_bytes() for path in sorted(folder.glob("*.md"))}
    notes = {path.name for path in NOTES.glob("*.md")}
    changed = {name for name in {*wanted, *there} if wanted.get(name) != there.get(name)}
    return sorted(changed | (notes - set(wanted)))


def write(folder: Path = FOLDER) -> None:
    """Write all pages, and remove those of no command."""
    folder.mkdir(exist_ok=True)
    made = pages()
    for name, text in made.items():
        (folder / name).write_bytes(text.encode("utf-8"))
    for path in folder.glob("*.md"):
        if path.name not in made:
            path.unlink()


def _index() -> str:
    lines = [f"| [{name}]({name}.md) | {_cell(line)} |" for name, (_, line) in COMMANDS.items()]
    table = "\n".join(["| command | what it does |", "| --- | --- |", *lines])
    about = "\n\n".join(text for text in _paragraphs(cli.help) if not text.startswith(_EXIT_CODES))
    parts = [
        _GENERATED,
        f"# {SCRIPT}",
        about,
        _TWO_WAYS,
        table,
        _JOB_FILES,
        _RECIPES,
        "## Extras",
        _extras(),
        "## Exit codes",
    ]
    return "\n\n".join([*parts, _exit_codes()]) + "\n"


def _page(name: str, command: click.Command, parent: click.Context) -> str:
    parts = [_GENERATED, *_command(command, click.Context(command, info_name=name, parent=parent), depth=1)]
    notes = NOTES / f"{name}.md"
    if notes.is_file():
        parts.append(notes.read_text(encoding="utf-8").strip())
    parts.append(_SAME_CODES)
    return "\n\n".join(parts) + "\n"


def _command(command: click.Command, context: click.Context, depth: int) -> Iterator[str]:
    """The parts of a command's page, those of its subcommands after its own."""
    marks = "#" * depth
    yield f"{marks} {context.command_path}"
    yield from _paragraphs(command.help)
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    yield f"```\n{usage}\n```"
    yield from _options(command, context, f"{marks}# Options")
    yield from _examples(command.epilog, f"{marks}#")
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from _command(below, click.Context(below, info_name=name, parent=context), depth + 1)


def _options(command: click.Command, context: click.Context, heading: str) -> Iterator[str]:
    options = [option for option in command.get_params(context) if isinstance(option, click.Option)]
    records = [option.get_help_record(context) for option in options]
    rows = [f"| {_code(names)} | {_cell(text)} |" for names, text in filter(None, records)]
    if rows:
        yield heading
        yield "\n".join(["| option | meaning |", "| --- | --- |", *rows])


_NOT_RUN = "Not run here: a test reads their options only. Commands on the pages of tasks are run."


def _examples(epilog: str | None, marks: str) -> Iterator[str]:
    """The epilog: blocks whose first line names what the lines below it are."""
    for block in _blocks(epilog or ""):
        title, *lines = block.splitlines()
        code = inspect.cleandoc("\n".join(lines))
        language = "python" if re.match(r"\w+\(|from |import ", code) else "bash"
        if title == "Examples:":
            yield f"{marks} Examples"
            yield _NOT_RUN
        else:
            yield title
        yield f"```{language}\n{code}\n```"


def _blocks(epilog: str) -> list[str]:
    return [block.strip("\n") for block in epilog.split("\b") if block.strip()]


def _paragraphs(text: str | None) -> list[str]:
    """The paragraphs of a help text, each on one line; those that keep their lines as blocks of code."""
    made = []
    for paragraph in inspect.cleandoc(text or "").split("\n\n"):
        if paragraph.startswith("\b"):
            made.append(f"```\n{paragraph[1:].strip(chr(10))}\n```")
        elif paragraph.strip():
            made.append(_escaped(" ".join(paragraph.split())))
    return made


def _extras() -> str:
    """What there is to install besides, each for one purpose."""
    about = 'Each is for one purpose: `pip install ".[NAME]"` in a clone. A command that lacks one says so.'
    lines = [
        f"| `{name}` | {_cell(extra.purpose)} | {', '.join(f'[{each}]({each}.md)' for each in extra.commands)} |"
        for name, extra in EXTRAS.items()
    ]
    return "\n".join([about, "", "| extra | what it is for | commands |", "| --- | --- | --- |", *lines])


def _exit_codes() -> str:
    """The table of exit codes, out of the sentence that `--help` has."""
    sentence = next(text for text in _paragraphs(cli.help) if text.startswith(_EXIT_CODES))
    codes = re.findall(r"(\d+) ([^,(]+(?:\([^)]*\))?)", sentence.removeprefix(_EXIT_CODES).rstrip("."))
    return "\n".join(
        ["| code | meaning |", "| ---: | --- |", *(f"| {code} | {meaning.strip()} |" for code, meaning in codes)]
    )


def _code(text: str) -> str:
    return f"`{text}`".replace("|", r"\|")


def _cell(text: str) -> str:
    return _escaped(" ".join(text.split())).replace("|", r"\|")


def _escaped(text: str) -> str:
    """Help texts are ours, but <, * and _ mean something else in Markdown; what stands in backticks stays."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(part if number % 2 else re.sub(r"([<*\[\]])", r"\\\1", part) for number, part in enumerate(parts))


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--check", is_flag=True, help="Write nothing; fail if a page is out of date.")
def main(check: bool) -> None:
    """Write a page of Markdown for each command, or check those that are there."""
    if not check:
        write()
        click.echo(f"{len(pages())} pages are in {FOLDER}.")
        return
    changed = stale()
    if changed:
        raise click.ClickException(f"out of date: {', '.join(changed)}. Run `make pages` and commit what it writes.")
    click.echo("All pages are up to date.")


if __name__ == "__main__":
    main()
