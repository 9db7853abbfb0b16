"""The Hub clients' errors as ours."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from hf_relabel.builders.errors import RelabelError, ReleaseError
from hf_relabel.hub_tools.hub.limits import TOO_MANY, Refusal, span
from hf_relabel.hub_tools.hub.redaction import short

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
    busy: type[RelabelError] | None = None,
) -> Iterator[None]:
    """Say in a line what the Hub would not do. The libraries' own messages may quote requests, so they are left out.

    Args:
        error: what is raised in place of the client's errors.
        what: the kind of repository, for the message.
        writer: who writes to it, where that is what is done: then a refusal names the account, what it lacks and what
            to do about it.
        busy: raised instead where the same may go well later; None for `error` there too.
    """
    at = f"{repo_id}@{revision}" if revision else repo_id
    with errors_told(lambda cause: _told(cause, at, token, what, writer), error, busy):
        yield


@contextmanager
def errors_told(
    told: Callable[[Exception], str], error: type[RelabelError], busy: type[RelabelError] | None = None
) -> Iterator[None]:
    """The client's errors as ours, in the words of `told`.

    Args:
        error, busy: as for `hub_errors`.
    """
    from huggingface_hub import errors

    refused: tuple[type[Exception], ...] = (errors.HfHubHTTPError, errors.EntryNotFoundError, errors.HFValidationError)
    try:
        yield
    except refused + _unreachable() as cause:
        kind = busy if busy is not None and may_pass(cause) else error
        raise kind(told(cause)) from cause


def status_of(error: BaseException | None) -> int | None:
    """The status of the Hub's answer that an error of its client tells of; None where it tells of no answer."""
    return getattr(getattr(error, "response", None), "status_code", None)


def may_pass(error: Exception) -> bool:
    """Whether the same may go well later: the Hub could not be reached, was too busy or failed."""
    from huggingface_hub import errors

    refusal = Refusal.of(error)
    if refusal is not None:
        return refusal.status in (408, TOO_MANY) or refusal.status >= 500
    return isinstance(error, _unreachable()) and not isinstance(error, errors.OfflineModeIsEnabled)


def _unreachable() -> tuple[type[Exception], ...]:
    """What is raised where no answer came."""
    return _http_error(), ConnectionError, TimeoutError


def _http_error() -> type[Exception]:
    """The base error of the HTTP client. Releases of the library differ in that, but not in this name."""
    from huggingface_hub import errors

    return cast(type[Exception], vars(errors)["HTTPError"])


def _told(cause: Exception, at: str, token: str | bool | None, what: str, writer: HfApi | None) -> str:
    from huggingface_hub import errors

    status = status_of(cause) or "no status"
    match cause:
        case errors.GatedRepoError():
            return f"{at}: access to this {what} has to be asked for on its page ({_said(token)})."
        case errors.RepositoryNotFoundError() if writer is not None:
            return why_not_written(writer, at, status, what)
        case errors.RepositoryNotFoundError() | errors.BucketNotFoundError():
            return (
                f"{at}: there is no such {what}, or it is private and may not be read ({_said(token)}). Check the name,"
                " and log in with `hf auth login` or set HF_TOKEN."
            )
        case errors.RevisionNotFoundError():
            return f"{at}: this {what} has no such branch, tag or commit."
        case errors.EntryNotFoundError() if not isinstance(cause, errors.LocalEntryNotFoundError):
            return f"{at}: a file of this {what} is missing."
        case errors.HFValidationError():
            return f"{at}: not a name a {what} on the Hub can have (user/repo)."
        case errors.OfflineModeIsEnabled():
            return f"{at}: HF_HUB_OFFLINE is set, so the Hub is not asked. Unset it, or give a folder."
        case errors.HfHubHTTPError() if failed := getattr(cause, "failures", None):
            return f"{at}: the Hub did not take {failed[0].get('path')} ({short(str(failed[0].get('error')))})."
        case errors.HfHubHTTPError() if writer is not None and status in (401, 403, 404):
            return why_not_written(writer, at, status, what)
        case errors.HfHubHTTPError() if status != TOO_MANY:
            return f"{at}: the Hub answered {status} ({_said(token)})."
    refusal = Refusal.of(cause)
    return unreachable_told(at, cause) if refusal is None else _too_many_told(at, refusal)


def _too_many_told(at: str, refusal: Refusal) -> str:
    allowed = f" ({refusal.told()})" if refusal.told() else ""
    when = "later" if refusal.seconds is None else f"in {span(refusal.seconds)}"
    what = "takes no more requests for now" if refusal.status == TOO_MANY else f"answered {refusal.status}"
    return f"{at}: the Hub {what}{allowed}. Try again {when}."


def unreachable_told(at: str, cause: Exception) -> str:
    """What is said where no answer came."""
    return f"{at}: the Hub cannot be reached ({type(cause).__name__}). Try again later."


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
        except (errors.HfHubHTTPError, OSError, _http_error()):
            return None
        role = told.get("auth", {}).get("accessToken", {}).get("role", "")
        organisations = [each["name"] for each in told.get("orgs", ()) if each.get("roleInOrg", "write") != "read"]
        return cls(str(told["name"]), str(role), (str(told["name"]), *organisations))


def _is_sent(token: str | bool | None) -> bool:
    from huggingface_hub import get_token

    return token is not False and bool(token if isinstance(token, str) else get_token())


def _said(token: str | bool | None) -> str:
    return "a token was sent" if _is_sent(token) else "no token was sent"
