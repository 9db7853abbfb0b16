"""A judge server as a Job of its own, in one network group with the Job that asks it.

Members of a group reach each other by alias, as `${HF_NETWORK_GROUP_PREFIX}judge`. The server lives only while the Job
that it serves has use for it: that Job starts it, and cancels it as soon as no judge is asked any more or on its way
out; and it watches a port of that Job, so that it stops by itself when that Job was killed. This was not run on the
service itself; what is sent is checked through the client.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from hf_relabel.builders.errors import ConfigError
from hf_relabel.hub_tools.jobs.judge_images import DEFAULT, ServerKind, kind_of

JUDGE, MAIN = "judge", "main"
"""Aliases in the group."""
WATCHED_PORT = 8765
"""Of the main Job, open for as long as it runs."""
PREFIX_VARIABLE = "HF_NETWORK_GROUP_PREFIX"

# Runs the server and looks every STEP seconds whether the main Job's port is open. Once it was shut for PATIENCE
# seconds the server is told to stop, and killed where it has not GRACE seconds later: a container lives as long as its
# first process. Sleeps are waited for, so that a signal is heard at once. Needs no more than bash of an image.
WATCH = """\
stop() {
  trap '' TERM INT
  kill -TERM "$server" 2>/dev/null
  (sleep "$WATCH_GRACE"; kill -KILL "$server") >/dev/null 2>&1 & killer=$!
  wait "$server"; code=$?
  kill "$killer" 2>/dev/null
  exit "${1:-$code}"
}
trap stop TERM INT
"$@" & server=$!
left=$WATCH_PATIENCE
while kill -0 "$server" 2>/dev/null; do
  sleep "$WATCH_STEP" & wait $!
  kill -0 "$server" 2>/dev/null || break
  if timeout 10 bash -c 'exec 3<>"/dev/tcp/$0/$1"' "${HF_NETWORK_GROUP_PREFIX}$WATCH_ALIAS" "$WATCH_PORT" 2>/dev/null
  then left=$WATCH_PATIENCE
  else left=$((left - WATCH_STEP))
  fi
  if [ "$left" -le 0 ]; then
    echo "The job that this server is for is gone: stopping."
    stop 0
  fi
done
wait "$server"
"""
WATCH_SECONDS = {"WATCH_PATIENCE": "180", "WATCH_STEP": "15", "WATCH_GRACE": "30"}

JUDGED_VARIABLE = "RELABEL_JUDGED"
"""Names the file that a run in a Job makes when it asks no judge any more."""


def tell_judged() -> None:
    """Where this runs in a Job: say that no judge is asked any more, so that none is paid for during what follows."""
    file = os.environ.get(JUDGED_VARIABLE)
    if file:
        Path(file).touch()


@dataclass(frozen=True)
class JudgeServer:
    """One judge server to start.

    Attributes:
        model: `user/model`, `user/model@revision`.
        flavor: the machine it runs on.
        image: a kind of the table (`judge_images`), or an image of one of them.
        token_env: the environment variable that holds its token, for a model that not everybody may read.
        flags: further arguments of the server.
    """

    model: str
    flavor: str = "a10g-large"
    image: str = DEFAULT
    token_env: str | None = None
    flags: tuple[str, ...] = ()

    @property
    def kind(self) -> ServerKind:
        """How it is started, told by its image.

        Raises:
            ConfigError: it is of no kind that is known.
        """
        return kind_of(self.image)

    @property
    def full_image(self) -> str:
        return self.kind.full_image if self.image == self.kind.name else self.image

    @property
    def location(self) -> tuple[str, str | None]:
        """The repository of the model, and its revision.

        Raises:
            ConfigError: it names no model on the Hub.
        """
        from hf_relabel.hub_tools.hub.source import HubLocation

        location = HubLocation.parse(self.model)
        if location is None or location.config is not None:
            raise ConfigError(
                f"--judge-server: {self.model!r} is no model on the Hub (user/model, user/model@revision)."
            )
        return location.repo_id, location.revision

    def command(self, gpus: int = 1) -> list[str]:
        """The command of the Job: the server below a shell that watches the main Job.

        Args:
            gpus: of its machine.
        """
        model, revision = self.location
        kind = self.kind
        parts = kind.command + (kind.revision if revision else ()) + (kind.gpus if gpus > 1 else ())
        values = {"model": model, "port": kind.port, "revision": revision, "gpus": gpus}
        return ["bash", "-c", WATCH, "judge-server", *(part.format(**values) for part in parts), *self.flags]

    def environment(self) -> dict[str, str]:
        """What the watching shell reads."""
        return {"WATCH_ALIAS": MAIN, "WATCH_PORT": str(WATCHED_PORT), **WATCH_SECONDS}
