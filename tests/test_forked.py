"""A forked process is, to a test, what `python -c` is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests import forked

SHOW = """
import os, sys
from huggingface_hub import constants
print(sys.argv, __name__, os.getcwd(), os.environ["MINE"], constants.HF_HOME)
print("an error", file=sys.stderr)
"""


def test_it_has_its_arguments_folder_and_environment(tmp_path: Path) -> None:
    for home in ("one", "other"):
        env = {**os.environ, "HF_HOME": home, "MINE": f"of {home}"}
        done = forked.run(SHOW, "a", "b c", env=env, cwd=tmp_path)
        assert done.stdout == f"['-c', 'a', 'b c'] __main__ {tmp_path} of {home} {home}\n"
        assert (done.stderr, done.returncode) == ("an error\n", 0)


@pytest.mark.parametrize(
    ("code", "returncode", "said"),
    [
        ("import sys; sys.exit(7)", 7, ""),
        ("raise SystemExit('a reason')", 1, "a reason\n"),
        ("import atexit, sys; atexit.register(sys.stderr.write, 'at the end')", 0, "at the end"),
        ("raise ValueError('wrong')", 1, "ValueError: wrong\n"),
        ("import os; os.abort()", -signal.SIGABRT, ""),
    ],
)
def test_it_ends_as_python_ends(code: str, returncode: int, said: str) -> None:
    done = forked.run(code)
    assert done.returncode == returncode
    assert done.stderr.endswith(said)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_it_can_be_killed_while_others_go_on(number: int) -> None:
    code = "import time; print('ready', flush=True); time.sleep(1000)"
    killed, other = forked.start(code), forked.start("print('done')")
    assert killed.stdout.readline() == "ready\n"
    assert killed.poll() is None
    killed.send_signal(number)
    killed.communicate()
    assert killed.returncode == -number
    assert other.communicate() == ("done\n", "")


def test_what_the_interpreter_reads_when_it_starts_is_refused() -> None:
    with pytest.raises(ValueError, match="PYTHONHASHSEED is read when Python starts"):
        forked.start("pass", env={**os.environ, "PYTHONHASHSEED": "1"})


def test_it_hears_of_ends_where_whoever_started_the_tests_has_blocked_the_signal() -> None:
    code = (
        "import signal; signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])\n"
        "from tests import forked; print(forked.run('print(1)', timeout=60).stdout)"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[1], timeout=120)
    assert (done.stdout, done.returncode) == ("1\n\n", 0), done.stderr
