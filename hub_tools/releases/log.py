"""The versions of a release on the Hub, and what changed from each to the next, by their manifests."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_relabel.builders.cascade.run_stages import RunStage
from hf_relabel.builders.configs.manifest import MANIFEST_NAME
from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.judgements import Outcome
from hf_relabel.builders.messages.counted import counted
from hf_relabel.builders.messages.expecting import expects
from hf_relabel.builders.messages.shown import Shown
from hf_relabel.hub_tools.hub.errors import hub_errors
from hf_relabel.hub_tools.hub.source import HubLocation
from hf_relabel.hub_tools.releases.shown import shown

if TYPE_CHECKING:
    from huggingface_hub import GitCommitInfo, HfApi

Facts = dict[str, str | int | float | None]

_JUDGE = "judge of "
_LONG = 100
_DIGEST = re.compile(r"\b(?:[0-9a-f]{64}|[0-9a-f]{40})\b")
_VERSION = re.compile(r"v(\d{1,9})\.(\d{1,9})\.(\d{1,9})")


@dataclass(frozen=True)
class FactChange:
    """One fact of the manifests that changed. None stands for a fact that one of them does not have."""

    what: str
    before: str | int | float | None
    after: str | int | float | None


@dataclass(frozen=True, repr=False)
class ReleaseVersion(Shown):
    """One version of a release.

    Attributes:
        version: its tag, None for the head of the main branch where no version's tag is on it.
        date: of the commit, ISO 8601.
        message: the first line of the commit's message.
        facts: what its manifest says, see `manifest_facts`; None where there is no manifest that can be read.
        previous: the version before, None for the first.
        changes: what changed from `previous`; None where one of the two has no facts.
    """

    version: str | None
    revision: str
    date: str | None
    message: str
    facts: Facts | None
    previous: str | None = None
    changes: Sequence[FactChange] | None = None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def to_text(self) -> str:
        """A few lines for people."""
        title = (
            f"{self.version or '(no version)'}  {self.revision[:12]}  {(self.date or '')[:19]}  {shown(self.message)}"
        )
        if self.facts is None:
            return f"{title.rstrip()}\n  no {MANIFEST_NAME} that can be read: not released by hf-relabel"
        judges = [
            f"{name.removeprefix(_JUDGE)}: {_shortened(str(fact))}"
            for name, fact in self.facts.items()
            if name.startswith(_JUDGE)
        ]
        lines = [
            title.rstrip(),
            f"  {_counted(self.facts, 'row')}, {_counted(self.facts, 'false negative')} among"
            f" {_counted(self.facts, 'candidate')}, default config {_value(self.facts['default config'])}",
            f"  judges: {shown('; '.join(judges), 200) or 'not named'}",
        ]
        if self.previous is not None:
            changes = "none" if not self.changes else "; ".join(map(_change_text, self.changes))
            lines.append(f"  since {self.previous}: {'unknown' if self.changes is None else changes}")
        return "\n".join(lines)


@expects(location=str)
def log(location: str, *, number: int | None = None, token: str | bool | None = None) -> list[ReleaseVersion]:
    """The versions of a release (its tags vX.Y.Z, and the head if it has none), the newest first.

    Example:
            for version in log("user/train-relabeled"):
                print(version)

    Args:
        location: `user/repo`.
        number: only so many; all if None.

    Raises:
        ReleaseError: there is no such repository, or it may not be read.
        ConfigError: the location is none.
    """
    hub = HubLocation.parse(location)
    if hub is None or hub.config is not None or hub.revision is not None:
        raise ConfigError(f"{location!r} is no release on the Hub. Give user/repo.")
    from hf_relabel.hub_tools.hub.api import HubApi

    api = HubApi(token=token)
    with hub_errors(hub.repo_id, None, token):
        versions = _versions(api, hub.repo_id)
        # One more than is shown, to say what changed since.
        wanted = versions if number is None else versions[: number + 1]
        commits = _commits(api, hub.repo_id, [revision for _, revision in wanted])
        read = [
            _read_version(name, commits[revision], _manifest(api, hub.repo_id, revision)) for name, revision in wanted
        ]
    compared = [_compared(version, before) for version, before in zip_longest(read, read[1:])]
    return compared[:number]


def _counted(facts: Facts, one: str) -> str:
    """A number of the facts with what it counts."""
    return counted(int(str(facts[f"{one}s"])), one)


def manifest_facts(manifest: Mapping[str, Any]) -> Facts:
    """What tells versions apart, as names and plain values: counts, configs, judges, rules, settings, source.

    Raises:
        KeyError, TypeError, AttributeError, ValueError: it is no manifest of ours.
    """
    settings, verdicts = manifest["settings"], manifest["verdicts"]["total"]
    outcomes = {str(outcome): sum(verdicts["outcomes"].get(str(outcome), {}).values()) for outcome in Outcome}
    facts: Facts = {
        "rows": int(manifest["rows"]["count"]),
        "candidates": int(verdicts["candidates"]),
        "false negatives": outcomes[Outcome.FALSE_NEGATIVE] + outcomes[Outcome.DUPLICATE],
        "doubtful": outcomes[Outcome.DOUBTFUL],
        "unjudged": outcomes[Outcome.UNJUDGED],
        "default config": _plain(settings["default_config"]),
        "limit": _plain(settings["limit"]),
    }
    for name, counts in manifest["configs"].items():
        facts[f"rows of {name}"] = int(counts["total"]["rows_out"])
    for stage in (manifest.get("run") or {}).get("stages") or []:
        facts |= _stage_facts(stage)
    source = manifest.get("source") or {}
    facts |= {
        f"source {name}": _plain(source.get(name)) for name in ("name", "revision", "config", "split", "fingerprint")
    }
    facts["evidence"] = "unaudited" if manifest.get("evidence") is None else "given"
    facts["hf-relabel"] = _plain(manifest["tool"]["version"])
    return facts


def _stage_facts(stage: Mapping[str, Any]) -> Facts:
    known = RunStage.from_dict(stage)
    facts: Facts = {
        f"{_JUDGE}{known.name}": known.describe(),
        f"rule of {known.name}": f"{stage['escalate']}, passes {' and '.join(stage['passes'])}",
    }
    if known.rule.accepts:
        facts[f"accepted of {known.name}"] = " and ".join(stage["accepts"])
    for name, judge in zip(known.judge_names(), known.judges, strict=True):
        of = known.name if len(known.judges) == 1 else f"{known.name}, {name}"
        facts |= {f"{setting} of {of}": _plain(value) for setting, value in judge.settings.items()}
    return facts


def fact_changes(before: Facts, after: Facts) -> list[FactChange]:
    """The facts that differ, in the order of the facts."""
    names = [*after, *(name for name in before if name not in after)]
    return [
        FactChange(name, before.get(name), after.get(name)) for name in names if before.get(name) != after.get(name)
    ]


def _versions(api: HfApi, repo_id: str) -> list[tuple[str | None, str]]:
    """Versions with their commits, the newest first; before them the head, where it has no version."""
    refs = api.list_repo_refs(repo_id, repo_type="dataset")
    tags = {tag.name: tag.target_commit for tag in refs.tags if _VERSION.fullmatch(tag.name)}
    versions: list[tuple[str | None, str]] = [(name, tags[name]) for name in sorted(tags, key=_order, reverse=True)]
    head = next((branch.target_commit for branch in refs.branches if branch.name == "main"), None)
    return versions if head is None or head in tags.values() else [(None, head), *versions]


def _order(version: str) -> tuple[int, ...]:
    match = _VERSION.fullmatch(version)
    return tuple(map(int, match.groups())) if match else ()


def _commits(api: HfApi, repo_id: str, revisions: Sequence[str]) -> dict[str, GitCommitInfo]:
    """Date and message of each commit. Most are in the history of the main branch, which takes one listing."""
    commits = {commit.commit_id: commit for commit in api.list_repo_commits(repo_id, repo_type="dataset")}
    for revision in revisions:
        if revision not in commits:
            commits[revision] = api.list_repo_commits(repo_id, repo_type="dataset", revision=revision)[0]
    return commits


def _manifest(api: HfApi, repo_id: str, revision: str) -> Any:
    """What manifest.json holds, None where there is none or it is not JSON."""
    from huggingface_hub.errors import RemoteEntryNotFoundError

    try:
        path = api.hf_hub_download(repo_id, MANIFEST_NAME, repo_type="dataset", revision=revision)
        return json.loads(Path(path).read_bytes())
    except (RemoteEntryNotFoundError, ValueError):
        return None


def _read_version(name: str | None, commit: GitCommitInfo, manifest: Any) -> ReleaseVersion:
    facts: Facts | None
    try:
        facts = manifest_facts(manifest)
    except (KeyError, TypeError, AttributeError, ValueError):
        # Somebody else's file: a version that cannot be read is shown as such, and the others as they are.
        facts = None
    date = commit.created_at.isoformat() if commit.created_at else None
    return ReleaseVersion(name, commit.commit_id, date, commit.title, facts)


def _compared(version: ReleaseVersion, before: ReleaseVersion | None) -> ReleaseVersion:
    if before is None:
        return version
    changes = None
    if version.facts is not None and before.facts is not None:
        changes = fact_changes(before.facts, version.facts)
    return replace(version, previous=before.version or before.revision[:12], changes=changes)


def _plain(value: Any) -> str | int | float | None:
    """A setting as a plain value. Of a long text (a chat template) the beginning and a digest are enough."""
    if value is None or isinstance(value, int | float):
        return value
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False)
    if len(text) <= _LONG:
        return text
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{text[:_LONG]}… sha256 {digest[:12]}"


def _change_text(change: FactChange) -> str:
    what = shown(change.what)
    if change.before is None:
        return f"{what} {_value(change.after)} (new)"
    if change.after is None:
        return f"{what} (gone)"
    return f"{what} {_value(change.before)} → {_value(change.after)}"


def _value(value: str | float | None) -> str:
    return shown(_shortened(str(value)))


def _shortened(text: str) -> str:
    """Without all but the beginning of digests and commits; `to_dict` has all of it."""
    return _DIGEST.sub(lambda found: found[0][:12], text)
