"""The Hub clients' errors as ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

from hf_relabel.builders.errors import RelabelError, ReleaseError


@contextmanager
def hub_errors(
    repo_id: str,
    revision: str | None = None,
    token: str | bool | None = None,
    error: type[RelabelError] = ReleaseError,
    what: str = "data set",
) -> Iterator[None]:
    """Say in a line what the Hub would not do. The libraries' own messages may quote requests, so they are left out.

    Args:
        error: what is raised in place of the client's errors.
        what: the kind of repository, for the message.
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
        status = getattr(cause.response, "status_code", "no status")
        raise error(f"{at}: the Hub answered {status} ({_said(token)}).") from cause
    except unreachable as cause:
        raise error(f"{at}: the Hub cannot be reached ({type(cause).__name__}). Try again later.") from cause


def _said(token: str | bool | None) -> str:
    from huggingface_hub import get_token

    sent = token is not False and bool(token if isinstance(token, str) else get_token())
    return "a token was sent" if sent else "no token was sent"
