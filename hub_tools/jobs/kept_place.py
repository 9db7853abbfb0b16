"""The place where a Job will keep its journal, made before the Job is paid for."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from hf_relabel.builders.errors import JobError
from hf_relabel.hub_tools.hub.commit import Repository
from hf_relabel.hub_tools.hub.errors import status_of
from hf_relabel.hub_tools.jobs.keeping import WORK
from hf_relabel.hub_tools.jobs.submission import Submission

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_NO_SUCH_THING = (404, 405, 501)


def ready_to_keep(api: HfApi, submission: Submission) -> None:
    """Make the private bucket; for a journal in commits make sure that there is no newer one in a bucket.

    Raises:
        JobError: the Hub has no buckets or gives none, the bucket is public, or holds a newer journal.
    """
    if submission.keep_by == "bucket":
        _make_bucket(api, submission.repo_id)
    elif _is_in_bucket(api, submission.repo_id, submission.journal):
        raise JobError(
            f"{submission.repo_id}: the journal of this job is kept in a bucket of this name since, and would be passed"
            " over. Submit it without --keep-by commits, or keep this one elsewhere with --keep-in."
        )


def _make_bucket(api: HfApi, bucket_id: str) -> None:
    from huggingface_hub.errors import BucketNotFoundError, HfHubHTTPError

    bucket = Repository(api, bucket_id, "bucket", error=JobError)
    with bucket.errors():
        try:
            api.create_bucket(bucket_id, private=True, exist_ok=True)
        except HfHubHTTPError as error:
            status = status_of(error)
            if status == 403:
                raise JobError(
                    f"{bucket_id}: the Hub does not let you make a bucket there (403). Ask for the right to, or keep"
                    " the journal in commits of the data set with --keep-by commits."
                ) from error
            if status not in _NO_SUCH_THING or isinstance(error, BucketNotFoundError):
                raise
            raise JobError(
                f"{api.endpoint} has no buckets (it answered {status}), in which a Job keeps its journal. Keep it in"
                " commits of the data set with --keep-by commits."
            ) from error
        is_private = api.bucket_info(bucket_id).private
    if not is_private:
        raise JobError(
            f"hf://buckets/{bucket_id} is public, and the journal holds your texts. Make it private, or use --keep-in."
        )


def _is_in_bucket(api: HfApi, bucket_id: str, journal: str) -> bool:
    """False too where the Hub has no buckets."""
    from huggingface_hub.errors import HfHubHTTPError

    with Repository(api, bucket_id, "bucket", error=JobError).errors(), suppress(HfHubHTTPError):
        return any(api.get_bucket_paths_info(bucket_id, [f"{WORK}/{journal}"]))
    return False
