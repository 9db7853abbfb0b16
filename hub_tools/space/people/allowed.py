"""Who may answer: decided from a sign-in, never from what a page sends."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from hf_relabel.builders.errors import ConfigError, ReleaseError
from hf_relabel.hub_tools.hub.errors import hub_errors

MOST_NAME = 96
"""Characters of a name. Those of the Hub have 42 at most."""
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
    if profile is None:
        return Permission(None, False, "Read only: sign in to answer.")
    person = str(profile.get("preferred_username") or "")
    if not person:
        return Permission(None, False, "Read only: the sign-in does not say who you are. Sign out and in again.")
    if person in allowed or "*" in allowed:
        return Permission(person, True, f"You answer as {person}.")
    if repo_id is None:
        return Permission(person, False, "Read only: this release is a folder, and its owner has not named you.")
    owner = repo_id.split("/")[0]
    if person == owner:
        return Permission(person, True, f"You answer as {person}.")
    role = _role(profile.get("orgs"), owner)
    if role is None and token is not None:
        try:
            role = _asked_role(token, owner, endpoint)
        except ReleaseError as error:
            return Permission(person, False, f"Read only: your role in {owner} is not known ({error}).")
    if role in WRITING_ROLES:
        return Permission(person, True, f"You answer as {person}, with the role {role} in {owner}.")
    if role is None:
        return Permission(
            person, False, f"Read only: {person} is neither the owner of {repo_id} nor a member of {owner}."
        )
    return Permission(person, False, f"Read only: your role in {owner} ({role}) does not let you write to {repo_id}.")


def _role(organisations: Any, wanted: str) -> str | None:
    """The role in an organisation, as a sign-in (`preferred_username`) or `whoami` (`name`) tells it."""
    for each in organisations if isinstance(organisations, list) else []:
        if isinstance(each, Mapping) and str(each.get("preferred_username") or each.get("name") or "") == wanted:
            role = each.get("roleInOrg")
            return role if isinstance(role, str) else None
    return None


def _asked_role(token: str, wanted: str, endpoint: str | None) -> str | None:
    """The role in an organisation as the Hub tells it to the person's own token.

    Raises:
        ReleaseError: the Hub cannot be asked.
    """
    from huggingface_hub import HfApi

    with hub_errors(wanted, None, token, what="account"):
        return _role(HfApi(endpoint=endpoint, token=token).whoami().get("orgs"), wanted)


def local_person(name: str) -> Permission:
    """The one person of a Space that is served on this machine without sign-in.

    Raises:
        ConfigError: the name is empty, longer than 96 characters or holds what cannot be shown.
    """
    if not name.strip() or len(name) > MOST_NAME or not name.isprintable():
        raise ConfigError(f"A person needs a name of 1 to {MOST_NAME} characters that can be shown.")
    return Permission(name, True, f"You answer as {name}.")
