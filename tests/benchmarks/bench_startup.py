"""How long the command line takes to say something, next to a Python that does nothing.

    python -m tests.benchmarks.bench_startup [--rounds 15] [--json]

Each command is a process of its own; shown is the median of the clock's seconds, and the ratio to `python -c pass`
of the same interpreter, which has the editable install to find as well. `hf relabel` is the extension as `hf` runs it:
the time of `hf` itself is in it, and `hf version` runs beside it. The modules a command imports are counted, and the
heavy ones named.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from hf_relabel.hub_tools.commands import COMMANDS
from tests.benchmarks.measuring import Figure, called, emit, median_ratio, parser_of, taking_turns

HEAVY = ("aiohttp", "datasets", "huggingface_hub", "numpy", "pandas", "pyarrow", "pydantic", "torch", "transformers")
FORBIDDEN = ("torch", "datasets")
_IMPORTED = """
import json, sys
from hf_relabel.hub_tools.commands import run
sys.stdout = open('/dev/null', 'w')
run(sys.argv[1:])
sys.stdout = sys.__stdout__
print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))
"""


def seconds(command: Sequence[str], environment: Mapping[str, str] | None = None) -> Callable[[], float]:
    def run() -> float:
        begin = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
        return time.perf_counter() - begin

    return run


def imported(*arguments: str) -> list[str]:
    """The top-level modules that a command has imported when it ends."""
    done = subprocess.run([sys.executable, "-c", _IMPORTED, *arguments], check=True, capture_output=True, text=True)
    found: list[str] = json.loads(done.stdout.splitlines()[-1])
    return found


def heavy(*arguments: str) -> list[str]:
    return [name for name in imported(*arguments) if name in HEAVY]


def as_extension(home: Path) -> dict[str, str]:
    """An environment in which `hf` knows the extension, laid down as `hf extensions install` does it."""
    folder = home / ".local" / "share" / "hf" / "extensions" / "hf-relabel"
    folder.mkdir(parents=True)
    manifest = {
        "owner": "user",
        "repo": "hf-relabel",
        "repo_id": "user/hf-relabel",
        "short_name": "relabel",
        "executable_path": str(Path(sys.executable).with_name("hf-relabel")),
        "type": "python",
        "installed_at": "2026-01-01T00:00:00",
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return {**os.environ, "HOME": str(home), "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_UPDATE_CHECK": "1"}


def measure(rounds: int, *, every_command: bool = True) -> list[Figure]:
    script, hf = (str(Path(sys.executable).with_name(name)) for name in ("hf-relabel", "hf"))
    with tempfile.TemporaryDirectory() as home:
        environment = as_extension(Path(home))
        sides = {
            "python": seconds([sys.executable, "-c", "pass"]),
            "click": seconds([sys.executable, "-c", "import click"]),
            "help": seconds([script, "--help"]),
            "hf": seconds([hf, "version"], environment),
            "hf relabel": seconds([hf, "relabel", "--help"], environment),
        }
        for side in sides.values():
            side()  # from the disk into memory
        taken = taking_turns(sides, rounds)
    middle = {name: statistics.median(times) for name, times in taken.items()}
    there = imported("--help")
    figures = [
        Figure(
            "hf-relabel --help",
            middle["help"],
            "s",
            beside=f"python -c pass {middle['python']:.3f} s, import click {middle['click']:.3f} s",
            ratio=median_ratio(taken["help"], taken["python"]),
            target="<= 0.3",
            peak_mb=called(_help).peak_mb,
        ),
        Figure(
            "hf relabel --help, as an extension",
            middle["hf relabel"],
            "s",
            beside=f"hf version {middle['hf']:.3f} s",
            ratio=median_ratio(taken["hf relabel"], taken["hf"]),
        ),
        Figure(
            "torch or datasets imported by --help",
            sum(name in there for name in FORBIDDEN),
            "of 2",
            target="= 0",
            note=f"{len(there)} top-level modules",
        ),
    ]
    return figures + (_commands(middle["python"]) if every_command else [])


def _help() -> None:
    """In this process, whose memory is read afterwards."""
    from contextlib import redirect_stdout

    from hf_relabel.hub_tools.commands import run

    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
        run(["--help"])


def _commands(python: float) -> list[Figure]:
    """The slowest `hf-relabel COMMAND --help`, and what the commands import before they do anything."""
    script = str(Path(sys.executable).with_name("hf-relabel"))
    times = {name: statistics.median(seconds([script, name, "--help"])() for _ in range(3)) for name in COMMANDS}
    slowest = max(times, key=lambda name: times[name])
    loaded = {name: heavy(name, "--help") for name in COMMANDS}
    bad = sorted(name for name, found in loaded.items() if set(found) & set(FORBIDDEN))
    return [
        Figure(
            f"slowest COMMAND --help ({slowest})",
            times[slowest],
            "s",
            size=f"{len(COMMANDS)} commands",
            beside=f"python -c pass {python:.3f} s",
            ratio=times[slowest] / python,
            note="; ".join(f"{name} imports {', '.join(found)}" for name, found in loaded.items() if found),
        ),
        Figure(
            "commands that import torch or datasets for --help",
            len(bad),
            f"of {len(COMMANDS)}",
            target="= 0",
            note=", ".join(bad),
        ),
    ]


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--no-commands", action="store_true", help="leave out the help of each command")
    options = parser.parse_args()
    emit("start-up", measure(options.rounds, every_command=not options.no_commands), as_json=options.json)


if __name__ == "__main__":
    main()
