"""The Hub clients' errors as ours."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from hf_relabel.builders.errors import RelabelError, ReleaseError

if TYPE_CHECKING:
    from huggingface_hub import HfApi


@contextmanager
def hub_errors(
    repo_id: str,
    revision: str | None = None,
    token: str | bool | None = None,
    error: type[RelabelError] = ReleaseError,
    what: str = "data set",
    writer: HfApi | None = None,
) -> Iterator[None]:
    """Say in a line what the Hub would not do. The libraries' own messages may quote requests, so they are left out.

    Args:
        error: what is raised in place of the client's errors.
        what: the kind of repository, for the message.
        writer: who writes to it, where that is what is done: then a refusal names the account, what it lacks and what
            to do about it.
    """
    from huggingface_hub import errors

    # Releases of the library differ in the HTTP client they use; its base error goes by this name in all of them.
    unreachable = cast(type[Exception], vars(errors)["HTTPError"])

    at = f"{repo_id}@{revision}" if revision else repo_id
    try:
        yield
    except errors.GatedRepoError as cause:
        raise error(f"{at}: access to this {what} has to be asked for on its page ({_said(token)}).") from cause
    except errors.RepositoryNotFoundError as cause:
        if writer is not None:
            raise error(why_not_written(writer, at, _status(cause), what)) from cause
        raise error(
            f"{at}: there is no such {what}, or it is private and may not be read ({_said(token)}). Check the name, "
            "and log in with `hf auth login` or set HF_TOKEN."
        ) from cause
    except errors.RevisionNotFoundError as cause:
        raise error(f"{at}: this {what} has no such branch, tag or commit.") from cause
    except errors.LocalEntryNotFoundError as cause:  # an EntryNotFoundError too, but it means something else
        raise error(f"{at}: the Hub cannot be reached ({type(cause).__name__}). Try again later.") from cause
    except errors.EntryNotFoundError as cause:
        raise error(f"{at}: a file of this {what} is missing.") from cause
    except errors.HFValidationError as cause:
        raise error(f"{at}: not a name a {what} on the Hub can have (user/repo).") from cause
    except errors.OfflineModeIsEnabled as cause:
        raise error(f"{at}: HF_HUB_OFFLINE is set, so the Hub is not asked. Unset it, or give a folder.") from cause
    except errors.HfHubHTTPError as cause:
        status = _status(cause)
        if writer is not None and status in (401, 403, 404):
            raise error(why_not_written(writer, at, status, what)) from cause
        raise error(f"{at}: the Hub answered {status} ({_said(token)}).") from cause
    except unreachable as cause:
        raise error(f"{at}: the Hub cannot be reached ({type(cause).__name__}). Try again later.") from cause


def _status(error: Any) -> int | str:
    return getattr(error.response, "status_code", None) or "no status"


def missing_to_write(api: HfApi, repo_id: str, what: str = "data set", *, sends: bool = True) -> list[str]:
    """What can be told without asking for the repository: a sentence or two for each thing that is missing to write.

    Args:
        sends: False for a dry run, for which nobody need be logged in.
    """
    is_sent = _is_sent(api.token)
    missing = [] if is_sent or not sends else [_no_token(api)]
    if "/" in repo_id:
        return missing
    account = Account.of(api)
    if account is not None:
        named = f"{account.name}/{repo_id}. You are logged in as {account.name}."
    else:
        named = f"ACCOUNT/{repo_id}.{f' {_log_in(api)}' if is_sent else ''}"
    return [*missing, f"{repo_id}: name the {what} with its account: {named}"]


def refuse_missing(missing: Sequence[RelabelError]) -> None:
    """Raises: the first of some errors, if there is any, saying what the others say too."""
    if missing:
        raise type(missing[0])(" Also: ".join(map(str, missing))) from missing[0]


def why_not_written(api: HfApi, at: str, status: int | str, what: str) -> str:
    """Why the Hub would not be written to, and what to do: who asked, what is missing, the remedy.

    Args:
        at: the repository.
        status: of the Hub's answer: 401, 403 or 404.
    """
    account = Account.of(api)
    owner = at.partition("/")[0]
    if account is None:
        return f"{at}: the Hub answered {status}. {_log_in(api)}"
    said = f"{at}: the Hub answered {status} to the account {account.name}"
    if account.role == "read":
        return f"{said}, whose token may only read. Make one that may write at {_tokens_page(api)}, then {_USE_IT}."
    if owner not in account.owners:
        places = ", ".join(f"{name}/…" for name in account.owners)
        return (
            f"{said}, which may not write to what {owner} owns. Push to {places}, or ask {owner} for a role that may"
            " write."
        )
    if account.role != "write":
        return (
            f"{said}, whose token does not allow it. Give it write access to {owner}'s repositories, or make another,"
            f" at {_tokens_page(api)}, then {_USE_IT}."
        )
    return f"{said}: there is no such {what}, or its role in {owner} may not write to it. Check the name."


_USE_IT = "log in with it (`hf auth login`) or set HF_TOKEN"


def _log_in(api: HfApi) -> str:
    if not _is_sent(api.token):
        return _no_token(api)
    came = "the call" if isinstance(api.token, str) else "HF_TOKEN" if os.environ.get("HF_TOKEN") else "the login"
    return (
        f"It does not know the token that was sent, which came from {came}: it is mistyped, expired or deleted. Make"
        f" another that may write at {_tokens_page(api)}, then {_USE_IT} (which goes before the login)."
    )


def _no_token(api: HfApi) -> str:
    return (
        "No token was found, neither in HF_TOKEN nor of `hf auth login`: make one that may write at"
        f" {_tokens_page(api)}, then {_USE_IT}."
    )


def _tokens_page(api: HfApi) -> str:
    return f"{api.endpoint}/settings/tokens"


@dataclass(frozen=True, slots=True)
class Account:
    """Who is logged in.

    Attributes:
        role: of the token: `read`, `write`, `fineGrained`, or what else the Hub says.
        owners: whose repositories it may write to: its own, and those of organisations.
    """

    name: str
    role: str
    owners: tuple[str, ...]

    @classmethod
    def of(cls, api: HfApi) -> Account | None:
        """The account whose token is sent; None if there is none, or the Hub does not know it or does not say."""
        from huggingface_hub import errors

        if not _is_sent(api.token):
            return None
        try:
            told = api.whoami()
        except (errors.HfHubHTTPError, cast(type[Exception], vars(errors)["HTTPError"]), OSError):
            return None
        role = told.get("auth", {}).get("accessToken", {}).get("role", "")
        organisations = [each["name"] for each in told.get("orgs", ()) if each.get("roleInOrg", "write") != "read"]
        return cls(str(told["name"]), str(role), (str(told["name"]), *organisations))


def _is_sent(token: str | bool | None) -> bool:
    from huggingface_hub import get_token

    return token is not False and bool(token if isinstance(token, str) else get_token())


def _said(token: str | bool | None) -> str:
    return "a token was sent" if _is_sent(token) else "no token was sent"
