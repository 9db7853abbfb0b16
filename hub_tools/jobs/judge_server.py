"""A judge server as a Job of its own, in one network group with the Job that asks it.

Members of a group reach each other by alias, as `${HF_NETWORK_GROUP_PREFIX}judge`. The server ends with the Job it
serves, however that ends: it is cancelled by that Job on its way out, and it watches a port of it, so that it stops by
itself when that Job was killed. This was not run on the service itself; what is sent is checked through the client.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hf_relabel.builders.errors import ConfigError

JUDGE, MAIN = "judge", "main"
"""Aliases in the group."""
WATCHED_PORT = 8765
"""Of the main Job, open for as long as it runs."""
PREFIX_VARIABLE = "HF_NETWORK_GROUP_PREFIX"


_EVERY_ADDRESS = "0.0.0.0"  # noqa: S104 - the server is in a container, reachable by its network group alone


@dataclass(frozen=True)
class ServerKind:
    """How a kind of server is started.

    Attributes:
        image: the container image, unless another is given.
        command: with `{model}` and `{port}` to fill in.
        revision: what is added for a pinned revision, with `{revision}`.
        health: path that answers 200 once the model is loaded.
    """

    image: str
    command: tuple[str, ...]
    revision: tuple[str, ...]
    port: int
    health: str


KINDS: Mapping[str, ServerKind] = {
    "tgi": ServerKind(
        image="ghcr.io/huggingface/text-generation-inference:3.3.6",
        command=("text-generation-launcher", "--model-id", "{model}", "--hostname", _EVERY_ADDRESS, "--port", "{port}"),
        revision=("--revision", "{revision}"),
        port=8080,
        health="/health",
    ),
    "vllm": ServerKind(
        image="vllm/vllm-openai:v0.12.0",
        command=("vllm", "serve", "{model}", "--host", _EVERY_ADDRESS, "--port", "{port}"),
        revision=("--revision", "{revision}"),
        port=8000,
        health="/health",
    ),
}

# Runs the server and looks every STEP seconds whether the main Job's port is open: FIRST seconds are given until it is
# so for the first time, LATER seconds after that. Needs no more than bash of an image.
WATCH = """\
"$@" & server=$!
trap 'kill -TERM "$server" 2>/dev/null' TERM INT
left=$WATCH_FIRST
while kill -0 "$server" 2>/dev/null; do
  sleep "$WATCH_STEP"
  if timeout 10 bash -c 'exec 3<>"/dev/tcp/$0/$1"' "${HF_NETWORK_GROUP_PREFIX}$WATCH_ALIAS" "$WATCH_PORT" 2>/dev/null
  then left=$WATCH_LATER
  else left=$((left - WATCH_STEP))
  fi
  if [ "$left" -le 0 ]; then
    echo "The job that this server is for is gone: stopping."
    kill -TERM "$server" 2>/dev/null
    wait "$server"
    exit 0
  fi
done
wait "$server"
"""
WATCH_SECONDS = {"WATCH_FIRST": "3600", "WATCH_LATER": "300", "WATCH_STEP": "15"}


@dataclass(frozen=True)
class JudgeServer:
    """One judge server to start.

    Attributes:
        model: `user/model`, `user/model@revision`.
        flavor: the machine it runs on.
        image: `tgi`, `vllm`, or an image of one of them.
    """

    model: str
    flavor: str = "a10g-large"
    image: str = "tgi"

    @property
    def kind(self) -> ServerKind:
        """How it is started, told by its image.

        Raises:
            ConfigError: it is neither of the two.
        """
        if self.image in KINDS:
            return KINDS[self.image]
        for word, name in (("vllm", "vllm"), ("text-generation-inference", "tgi"), ("tgi", "tgi")):
            if word in self.image:
                return KINDS[name]
        raise ConfigError(
            f"--judge-image: {self.image!r} is no image of {' or '.join(KINDS)}; only for these it is known how the "
            "server is started."
        )

    @property
    def full_image(self) -> str:
        return self.kind.image if self.image in KINDS else self.image

    def command(self) -> list[str]:
        """The command of the Job: the server below a shell that watches the main Job."""
        from hf_relabel.hub_tools.hub.source import HubLocation

        location = HubLocation.parse(self.model)
        if location is None or location.config is not None:
            raise ConfigError(
                f"--judge-server: {self.model!r} is no model on the Hub (user/model, user/model@revision)."
            )
        kind = self.kind
        parts = kind.command + (kind.revision if location.revision else ())
        values = {"model": location.repo_id, "port": kind.port, "revision": location.revision}
        return ["bash", "-c", WATCH, "judge-server", *(part.format(**values) for part in parts)]

    def environment(self) -> dict[str, str]:
        """What the watching shell reads."""
        return {"WATCH_ALIAS": MAIN, "WATCH_PORT": str(WATCHED_PORT), **WATCH_SECONDS}
