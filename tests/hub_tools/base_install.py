"""Commands as they run where no extra is installed, in one process of its own. Prints a JSON object: name -> [exit
code, standard error]. Arguments: a folder to work in, and the commands as a JSON object."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys

from hf_relabel.builders.extras import EXTRAS
from hf_relabel.hub_tools.commands import run

OF_THE_CORE = {"pandas"}
"""Modules of an extra that datasets brings anyway."""


def main() -> None:
    folder, commands = sys.argv[1], json.loads(sys.argv[2])
    os.chdir(folder)
    for extra in EXTRAS.values():
        for module in set(extra.modules) - OF_THE_CORE:
            sys.modules[module] = None  # type: ignore[assignment]
    done = {}
    for name, arguments in commands.items():
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                code = run(arguments)
            except BaseException as error:
                code = f"{type(error).__name__}: {error}"
        done[name] = [code, err.getvalue()]
    print(json.dumps(done))


if __name__ == "__main__":
    main()
