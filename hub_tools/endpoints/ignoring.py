"""Servers that take a parameter and pass over it without a word, as `transformers serve` does."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping

from hf_relabel.builders.endpoint import Reply, Request

logger = logging.getLogger(__name__)


class Watch:
    """Looks at the first replies of a server, and says once what they lack."""

    def __init__(self, server: str) -> None:
        self._server = server
        self._looked: set[str] = set()

    def look(self, request: Request, reply: Reply, instead: Mapping[str, str]) -> None:
        """Look at a reply, if it is the first of its kind that was not cut off.

        Args:
            instead: what the server was sent instead of what it refuses; that it lacks is known.
        """
        asked = request.top_logprobs and "logprobs" not in instead
        if asked and self._is_first("logprobs") and not reply.logprobs:
            logger.warning(
                "%s gives no logprobs, though it was asked for them: a judge that reads probabilities (pointwise) goes"
                " by the words alone there and gives no score.",
                self._server,
            )
        if request.json_schema is None or "response_format" in instead or reply.finish_reason == "length":
            return
        if self._is_first("json_schema") and not follows(reply.text, request.json_schema.get("required", ())):
            logger.warning(
                "%s was asked for JSON of a schema and answered something else: it passes over `response_format`."
                " Replies that cannot be read count as unparsable. `takes: {response_format: none}` in a job file asks"
                " in plain words.",
                self._server,
            )

    def _is_first(self, kind: str) -> bool:
        first = kind not in self._looked
        self._looked.add(kind)
        return first


def follows(text: str, required: object) -> bool:
    """Whether a reply is a JSON object with these keys, after any thinking."""
    try:
        found = json.loads(text.rpartition("</think>")[2])
    except ValueError:
        return False
    names = required if isinstance(required, (list, tuple)) else ()
    return isinstance(found, dict) and all(name in found for name in names)
