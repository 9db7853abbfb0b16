"""Whether a server that anybody may run on Hugging Face's machines is the user's own, as the Hub says.

The server itself is not asked: it would say what it likes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import urlsplit

_JOB = re.compile(r"(?P<id>[A-Za-z0-9]+)--\d+\.hf\.jobs")
_ENDPOINT = ".endpoints.huggingface.cloud"
_known: dict[tuple[str, str], bool] = {}
"""By host and token, so that a run asks once."""


def is_own(host: str, token: str) -> bool:
    """Whether a host is a port of a Job, or an Inference Endpoint, of the account that a token is of.

    Those of organisations are not: other people run them too. False where the Hub cannot be asked.
    """
    job = _JOB.fullmatch(host)
    if job is None and not host.endswith(_ENDPOINT):
        return False
    key = host, token
    if key not in _known:
        found = _asked(host, job["id"] if job else None, token)
        if found is None:
            return False
        _known[key] = found
    return _known[key]


def _asked(host: str, job_id: str | None, token: str) -> bool | None:
    """What the Hub says; None where it cannot be asked."""
    from huggingface_hub import HfApi, errors

    api = HfApi(token=token)
    try:
        name = str(api.whoami()["name"])
        if job_id is not None:
            job = api.inspect_job(job_id=job_id, namespace=name)
            return job.owner.name == name and host in _hosts(job.status.expose_urls or ())
        return host in _hosts(endpoint.url for endpoint in api.list_inference_endpoints(name) if endpoint.url)
    except errors.RepositoryNotFoundError:
        return False
    except errors.HfHubHTTPError as error:
        return False if error.response.status_code in (401, 403, 404) else None
    except (vars(errors)["HTTPError"], OSError):
        return None


def _hosts(urls: Iterable[str]) -> set[str | None]:
    return {urlsplit(url).hostname for url in urls}
