"""From files of results to the journal: each answer is read as the server's would be, and kept under the same keys.

What is read twice, in part, out of order or from another run loses nothing and invents nothing: an answer is known by
its request's name, a request by the folder's ledger, and what the journal knows already stays as it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import orjson

from hf_relabel.builders.endpoint import Message, Reply, Request
from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.journal.keys import JudgeIdentity
from hf_relabel.builders.journal.store import Journal
from hf_relabel.builders.judgements import Judgement, Label
from hf_relabel.builders.judges.protocols import Ask, PromptJudge
from hf_relabel.builders.messages.counted import counted
from hf_relabel.builders.messages.shown import Shown
from hf_relabel.builders.planning.estimating import BATCH_PRICE
from hf_relabel.builders.rows import Passage, Row
from hf_relabel.hub_tools.batches.ledger import BatchFile, Ledger, Line
from hf_relabel.hub_tools.batches.results import Result, read_results
from hf_relabel.hub_tools.endpoints.reading_chat import NoReply, read_chat_reply
from hf_relabel.hub_tools.endpoints.scheduling.budget import Budget, Spending
from hf_relabel.hub_tools.hub.redaction import short
from hf_relabel.hub_tools.judging.stages import Stage, asks_server

_AT_ONCE = 256
MOST_REASONS = 20
_NUMBERS = ("answered", "failed", "again", "known", "foreign", "broken", "prompt_tokens", "completion_tokens")


@dataclass(slots=True, repr=False)
class Collected(Shown):
    """What files of results held.

    Attributes:
        answered: requests whose answer is in the journal now and was not before.
        failed: requests that were refused for what they are; in the journal as failed.
        again: requests without an answer that may get one: they are asked again by the next export.
        known: results that were collected before, or that a server answered meanwhile.
        foreign: results of requests that are not this folder's.
        broken: lines that are no result.
        reasons: of `failed` and `again`, how often which.
        labels: of the candidates of `answered`.
    """

    answered: int = 0
    failed: int = 0
    again: int = 0
    known: int = 0
    foreign: int = 0
    broken: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float | None = None
    reasons: Counter[str] = field(default_factory=Counter)
    labels: dict[Label, int] = field(default_factory=lambda: dict.fromkeys(Label, 0))

    @property
    def results(self) -> int:
        """Results of this folder's requests, whatever they say."""
        return self.answered + self.failed + self.again + self.known

    def add(self, other: Collected) -> None:
        """Add what others held."""
        for name in (*_NUMBERS, "reasons"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        if other.cost is not None:
            self.cost = (self.cost or 0.0) + other.cost
        for label, number in other.labels.items():
            self.labels[label] += number

    def to_text(self) -> str:
        parts = [
            f"{counted(self.answered, 'answer')}",
            *([f"{self.failed:,} refused for good"] if self.failed else []),
            *([f"{self.again:,} to be asked again"] if self.again else []),
            *([f"{self.known:,} known already"] if self.known else []),
            *([f"{self.foreign:,} of another run"] if self.foreign else []),
            *([f"{counted(self.broken, 'broken line')}"] if self.broken else []),
        ]
        return ", ".join(parts)

    def to_dict(self) -> dict[str, Any]:
        labels = {str(label): number for label, number in self.labels.items()}
        reasons = dict(self.reasons.most_common(MOST_REASONS))
        return {name: getattr(self, name) for name in (*_NUMBERS, "cost")} | {"labels": labels, "reasons": reasons}


class Collector:
    """Takes results into a journal.

    Args:
        stages: those that the requests were exported for.

    Raises:
        ConfigError: a file of the ledger is of a judge that these stages do not have.
    """

    def __init__(self, ledger: Ledger, journal: Journal, stages: Sequence[Stage]) -> None:
        self._ledger, self._journal = ledger, journal
        self._files = {file.number: file for file in ledger.files()}
        self._judges = {number: judge_of(file, stages) for number, file in self._files.items()}
        self._spending = {
            stage.name: Spending(Budget(), None, stage.limits.price_prompt, stage.limits.price_completion)
            for stage in stages
            if stage.limits.is_priced
        }
        self.found = Collected()

    def take(self, path: Path) -> int:
        """Take a file of results in, some hundred at a time, each time for good. Gives how many of its lines are
        results of this folder's.

        Raises:
            InputError: it cannot be read.
            ConfigError: the file of a request is gone or was changed.
            JournalError: the journal or the ledger cannot be written.
        """
        ours = 0
        all_of_it = read_results(path)
        while some := list(islice(all_of_it, _AT_ONCE)):
            results = _each_once(some)
            lines = self._ledger.lines(list(results))
            self.found.broken += some.count(None)
            self.found.foreign += len(results) - len(lines)
            ours += len(lines)
            self._take([(line, results[custom_id]) for custom_id, line in lines.items()])
        return ours

    def _take(self, pairs: Sequence[tuple[Line, Result]]) -> None:
        by_judge: dict[str, list[tuple[Line, Result]]] = {}
        new = [pair for pair in pairs if pair[1].error is None or not self._ledger.has_error(pair[1].digest)]
        self.found.known += len(pairs) - len(new)
        for line, result in new:
            by_judge.setdefault(self._files[line.file].identity.to_json(), []).append((line, result))
        for of_judge in by_judge.values():
            self._take_of_judge(of_judge)
        errors = [result.digest for _, result in new if result.error is not None]
        self._ledger.close_asks((line.asked for line, _ in new if line.is_open), errors)

    def _take_of_judge(self, pairs: Sequence[tuple[Line, Result]]) -> None:
        identity = self._files[pairs[0][0].file].identity
        known = self._journal.look_up([key for line, _ in pairs for key in line.asked.key_bytes()])
        answered: list[tuple[Row, dict[int, bytes], dict[int, Judgement], Reply]] = []
        failed: list[tuple[Row, dict[int, bytes], dict[int, Judgement]]] = []
        for line, result in pairs:
            keys = dict(enumerate(line.asked.key_bytes()))
            before = {place: known[key] for place, key in keys.items() if key in known}
            row = _row_of(line)
            if result.error is None:
                said, reply = self._read(line, result)
                new = _new(said, before, is_open=line.is_open)
                if new and reply is not None:
                    answered.append((row, keys, new, reply))
                elif new:
                    failed.append((row, keys, new))
                self._count(said, reply, is_new=bool(new), line=line)
            else:
                self._note_error(line, result, before, row, keys, failed)
        if answered:
            self._journal.record_replies(identity, answered)
        if failed:
            self._journal.record_many(identity, failed)
        if answered or failed:
            self._journal.put_on_disk()  # before the ledger forgets that they are waited for

    def _read(self, line: Line, result: Result) -> tuple[Mapping[int, Judgement], Reply | None]:
        """What a reply says of each candidate; without a reply where the answer is none that can be read."""
        file, asked = self._files[line.file], line.asked
        endpoint = f"batch {file.name}"
        try:
            reply = read_chat_reply(result.payload, asked.top_logprobs, file.identity.model, endpoint)
        except NoReply as problem:
            failed = Judgement(Label.FAILED, rationale=f"{endpoint}: {short(str(problem))}")
            return dict.fromkeys(range(len(asked.keys)), failed), None
        ask = Ask(
            request=self._request(line, file),
            positions=tuple(range(len(asked.keys))),
            cut=frozenset(asked.cut),
            ids=asked.ids,
            positives_left_out=asked.positives_left_out,
        )
        return self._judges[line.file].read(ask, reply), reply

    def _request(self, line: Line, file: BatchFile) -> Request:
        """The request as it was sent, read from its file."""
        path = self._ledger.folder / file.name
        try:
            with path.open("rb") as opened:
                opened.seek(line.start)
                sent = orjson.loads(opened.read(line.length))
            if sent["custom_id"] != line.asked.custom_id:
                raise ValueError(line.asked.custom_id)
            body = sent["body"]
            most = body.get("max_tokens") or body.get("max_completion_tokens") or 1
            messages = tuple(Message(each["role"], _text(each["content"])) for each in body["messages"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(
                f"{path} is not the file that was written here ({error!r}): its requests are needed to read their"
                " answers. Put it back as it was."
            ) from None
        schema: dict[str, Any] | None = {} if line.asked.constrained else None
        return Request(messages, max_tokens=most, json_schema=schema, top_logprobs=line.asked.top_logprobs)

    def _note_error(
        self,
        line: Line,
        result: Result,
        before: Mapping[int, Judgement],
        row: Row,
        keys: dict[int, bytes],
        failed: list[tuple[Row, dict[int, bytes], dict[int, Judgement]]],
    ) -> None:
        """A request that was refused for what it is has failed, as at the server; any other may be asked again."""
        error = result.error
        assert error is not None
        if not line.is_open:
            self.found.known += 1
            return
        self.found.reasons[str(error).partition(": ")[2] or str(error)] += 1
        if error.retryable or error.blame_server:
            self.found.again += 1
            return
        self.found.failed += 1
        failure = Judgement(Label.FAILED, rationale=str(error)[:500])
        if new := _new(dict.fromkeys(keys, failure), before, is_open=True):
            failed.append((row, keys, new))

    def _count(self, said: Mapping[int, Judgement], reply: Reply | None, *, is_new: bool, line: Line) -> None:
        found = self.found
        if not is_new:
            found.known += 1
            return
        if reply is None:
            found.failed += 1
            found.reasons[next(iter(said.values())).rationale.partition(": ")[2]] += 1
            return
        found.answered += 1
        for judgement in said.values():
            found.labels[judgement.label] += 1
        prompt, completion = reply.prompt_tokens or 0, reply.completion_tokens or 0
        found.prompt_tokens += prompt
        found.completion_tokens += completion
        file = self._files[line.file]
        if (spending := self._spending.get(file.stage)) is not None:
            spent = spending.answered(self._request(line, file), reply)  # an estimate where tokens are not told
            found.cost = (found.cost or 0.0) + BATCH_PRICE * spent


def _each_once(results: Iterable[Result | None]) -> dict[str, Result]:
    """The results by request; of several an answer rather than an error."""
    each: dict[str, Result] = {}
    for result in results:
        if result is not None and (result.error is None or result.custom_id not in each):
            each[result.custom_id] = result
    return each


def _new(said: Mapping[int, Judgement], before: Mapping[int, Judgement], *, is_open: bool) -> dict[int, Judgement]:
    """What of a reply the journal is to keep: what it does not know, and answers where it knows of a failure."""
    return {
        place: judgement
        for place, judgement in said.items()
        if (known := before.get(place)) is None
        or (not known.label.is_answer and (judgement.label.is_answer or is_open))
    }


def _row_of(line: Line) -> Row:
    """As much of the row as the journal is to know of it: a name for what failed."""
    return Row(line.asked.query_id, "", (), tuple(Passage(docid, "", "") for docid in line.asked.docids))


def _text(content: Any) -> str:
    """The text of a message, in parts or not."""
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "") for part in content)


def judge_of(file: BatchFile, stages: Iterable[Stage]) -> PromptJudge:
    """The judge of some stages that a file was written for. Raises ConfigError where they have none like it."""
    for stage in stages:
        members = stage.members
        if stage.name == file.stage and file.member < len(members) and asks_server(members[file.member]):
            judge: Any = members[file.member].judge
            if judge.kind == file.identity.kind and _is_of(judge, file.identity):
                made: PromptJudge = judge
                return made
    raise ConfigError(
        f"{file.name} was written for the judge {file.identity.describe()} of stage {file.stage!r}, with other settings"
        " than those given now. Collect it with the same stages."
    )


def _is_of(judge: PromptJudge, identity: JudgeIdentity) -> bool:
    settings = orjson.loads(orjson.dumps(judge.settings()))
    return all(identity.settings.get(name) == value for name, value in settings.items())


def results_in(folder: Path, file: BatchFile) -> Iterator[Path]:
    """Where the results of a file are, once they came: those there are."""
    yield from (path for path in (output_of(folder, file), errors_of(folder, file)) if path.is_file())


def output_of(folder: Path, file: BatchFile) -> Path:
    return folder / f"{file.stem}.output.jsonl"


def errors_of(folder: Path, file: BatchFile) -> Path:
    return folder / f"{file.stem}.errors.jsonl"
