"""Who may answer: decided from a sign-in, never from what a page sends."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

WRITING_ROLES = frozenset({"admin", "write"})
"""Roles in an organisation by which one may write to its data sets."""


@dataclass(frozen=True, slots=True)
class Permission:
    """Whether somebody may write answers.

    Attributes:
        person: their name on the Hub (or given on this machine), None for nobody.
        reason: one plain sentence, to be shown either way.
    """

    person: str | None
    may_write: bool
    reason: str


def may_write(
    profile: Mapping[str, Any] | None,
    repo_id: str | None,
    *,
    token: str | None = None,
    allowed: Collection[str] = (),
    endpoint: str | None = None,
) -> Permission:
    """Decide whether a person may write answers for a data set.

    They may where the data set is theirs, where their role in the organisation it belongs to lets them write, or where
    their name is in `allowed`. Their token is only used to ask the Hub for their roles where the sign-in does not tell
    them; commits are made with the server's.

    Args:
        profile: of the sign-in, as `gradio.OAuthProfile` has it (`preferred_username`, `orgs` with `roleInOrg`); None
            for somebody who is not signed in.
        repo_id: `user/repo`; None for a folder on this machine, which only names in `allowed` may answer for ("*" for
            everybody who is signed in).
        token: of the sign-in (`gradio.OAuthToken.token`), None where there is none.
        allowed: names that may write in any case.
        endpoint: of the Hub; None for `HF_ENDPOINT`.
    """
    raise NotImplementedError


def local_person(name: str) -> Permission:
    """The one person of a Space that is served on this machine without sign-in.

    Raises:
        ConfigError: the name is empty, longer than 96 characters or holds control characters.
    """
    raise NotImplementedError
