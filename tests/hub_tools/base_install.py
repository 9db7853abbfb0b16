"""Commands as they run where extras are missing, in one process of its own.

Arguments: a folder to work in; commands that run without any extra, as a JSON object; and for each module, commands
that run where nothing but that is missing. Prints a JSON object: name -> [exit code, standard error], the same for each
module in `lacking`, and in `names` the extra of each public name that is not there without.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import hf_relabel
from hf_relabel.builders.errors import MissingExtra
from hf_relabel.builders.messages.extras import EXTRAS
from hf_relabel.hub_tools.commands import run

OF_THE_CORE = {"pandas"}
"""Modules of an extra that datasets brings anyway."""


def main() -> None:
    folder, commands, lacking = sys.argv[1], json.loads(sys.argv[2]), json.loads(sys.argv[3])
    os.chdir(folder)
    with _without({module for extra in EXTRAS.values() for module in extra.modules} - OF_THE_CORE):
        done: dict[str, Any] = _ran(commands)
        done["names"] = dict(_missing_names())
    done["lacking"] = {}
    for module, those in lacking.items():
        with _without([module]):
            done["lacking"][module] = _ran(those)
    print(json.dumps(done))


@contextlib.contextmanager
def _without(modules: Iterable[str]) -> Iterator[None]:
    """Where these are not installed."""
    modules = list(modules)
    for module in modules:
        sys.modules[module] = None  # type: ignore[assignment]
    yield
    for module in modules:
        del sys.modules[module]


def _ran(commands: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    done = {}
    for name, arguments in commands.items():
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                code: Any = run(arguments)
            except BaseException as error:
                code = f"{type(error).__name__}: {error}"
        done[name] = [code, err.getvalue()]
    return done


def _missing_names() -> Iterator[tuple[str, str]]:
    for name in hf_relabel.__all__:
        try:
            getattr(hf_relabel, name)
        except MissingExtra as error:
            yield name, error.extra


if __name__ == "__main__":
    main()
