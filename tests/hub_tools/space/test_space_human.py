"""Answers as events: whatever is cut off, repeated or mixed up, nothing acknowledged is lost or counts twice."""

from __future__ import annotations

import errno
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hf_relabel.builders.audit.exports import CHOICES
from hf_relabel.builders.errors import BuildError, CardError, ConfigError
from hf_relabel.builders.readme.front_matter import Readme
from hf_relabel.hub_tools.space.people import event_log as human
from hf_relabel.hub_tools.space.people.answer_events import ANSWER, UNDO, Event, event_of, events_in, line_of
from hf_relabel.hub_tools.space.people.answers import Answers
from hf_relabel.hub_tools.space.people.config_on_hub import human_config, with_human
from hf_relabel.hub_tools.space.people.event_files import events_in_parquet, parquet_of
from hf_relabel.hub_tools.space.people.event_log import EventLog
from tests.examples import drawn

names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
events = st.builds(
    Event,
    event=names,
    person=names,
    time=st.datetimes().map(lambda moment: f"{moment.isoformat()}Z"),
    action=st.just(ANSWER),
    item=names,
    answer=st.sampled_from(CHOICES),
    undoes=st.just(""),
    query_id=st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
    subset=names,
    docid=names,
    position=st.integers(0, 2**31),
    release=names,
    seed=st.integers(-(2**31), 2**31),
    size=st.integers(1, 2**31),
)


def kept(log: EventLog, person: str, item: str, answer: str, undoes: str = "") -> Event:
    action = UNDO if undoes else ANSWER
    return log.write(
        person=person, action=action, item=item, answer=answer, undoes=undoes,
        query_id="q", subset="", docid="d", position=0, release="", seed=0, size=1,
    )  # fmt: skip


@given(st.lists(events, max_size=5), st.data())
def test_what_is_cut_off_anywhere_keeps_all_lines_before(written: list[Event], data: Any) -> None:
    content = b"".join(map(line_of, written))
    cut = data.draw(st.integers(0, len(content)))
    whole = content[:cut].count(b"\n")
    assert list(events_in(content[:cut])) == written[:whole]


@given(st.lists(events, max_size=5), st.binary(max_size=200), st.integers(0, 5))
def test_lines_that_are_no_events_are_passed_over(written: list[Event], noise: bytes, place: int) -> None:
    lines = [line_of(event) for event in written]
    lines.insert(place, noise.replace(b"\n", b" ") + b"\n")
    assert list(events_in(b"".join(lines))) == written


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["event", "person", "action", "position"]), inner),
)


@given(values)
def test_anything_may_stand_in_a_line(value: Any) -> None:
    assert event_of(value) is None


@settings(deadline=None)  # the first one imports pyarrow
@given(st.lists(events, max_size=6))
def test_parquet_gives_back_what_it_was_given(written: list[Event]) -> None:
    content = parquet_of(written)
    assert events_in_parquet(content) == (written, 0)
    assert parquet_of(written) == content


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_a_parquet_file_of_somebody_else_holds_nothing_of_ours(content: bytes) -> None:
    assert events_in_parquet(content) == ([], 1)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(events, max_size=6), st.randoms())
def test_the_order_and_repetition_of_events_never_matter(written: list[Event], chance: random.Random) -> None:
    undone = [
        Event(f"undo {n}", each.person, each.time, UNDO, each.item, "", each.event, "", "", "", 0, "", 0, 1)
        for n, each in enumerate(written[::2])
    ]
    mixed = [*written, *undone] * 2
    straight, shuffled = Answers(), Answers()
    for event in mixed:
        straight.add(event)
    chance.shuffle(mixed)
    for event in mixed:
        shuffled.add(event)
    people = {event.person for event in written}
    items = {event.item for event in written}
    assert straight.to_audit(items) == shuffled.to_audit(items)
    assert len(straight) == len(shuffled) == len({*written, *undone})
    for person in people:
        assert straight.of(person) == shuffled.of(person)


def test_a_name_is_one_person_however_it_is_spelt(tmp_path: Path) -> None:
    log, found, other = EventLog(tmp_path), Answers(), Answers()
    first = kept(log, "Anna", "a", "better")
    events = [first, kept(log, "anna ", "a", "worse"), kept(log, "ANNA", "b", "worse")]
    for event, again in zip(events, reversed(events), strict=True):
        found.add(event)
        other.add(again)
    assert found.to_audit("ab") == other.to_audit("ab")
    assert {item: event.answer for item, event in found.of("aNNa").items()} == {"a": "worse", "b": "worse"}
    assert {(each.id, each.person) for each in found.to_audit("ab")} == {("a", "Anna"), ("b", "Anna")}


steps = st.lists(
    st.tuples(
        st.sampled_from(["anna", "ben", "cleo"]),
        st.sampled_from([*CHOICES, "undo"]),
        st.sampled_from("abcd"),
        st.integers(0, 1),
    ),
    max_size=40,
)


@drawn(15)
@given(steps)
def test_people_answer_and_undo_in_any_order_on_two_servers(
    tmp_path_factory: pytest.TempPathFactory, taken: list[tuple[str, str, str, int]]
) -> None:
    """Against a model: a list of each person's answers, whose last one an undo takes away."""
    folder = tmp_path_factory.mktemp("log")
    logs = [EventLog(folder), EventLog(folder)]
    found = Answers()
    model: dict[str, list[tuple[str, str]]] = {name: [] for name in ("anna", "ben", "cleo")}
    for person, value, item, server in taken:
        last = found.last(person, "abcd")
        assert (None if last is None else (last.item, last.answer)) == (model[person][-1] if model[person] else None)
        if value != "undo":
            model[person].append((item, value))
            event = kept(logs[server], person, item, value)
        elif last is not None:
            model[person].pop()
            event = kept(logs[server], person, last.item, "", last.event)
        else:
            continue
        found.add(event)
        logs[1 - server].catch_up(event.time)
    for log in logs:
        log.close()
    again = Answers()
    for content in EventLog(folder).contents().values():
        for event in events_in(content):
            again.add(event)
    for person, mine in model.items():
        assert {item: event.answer for item, event in again.of(person).items()} == dict(mine)
    assert {each.person for each in again.to_audit("abcd")} == {person for person, mine in model.items() if mine}


def test_an_undo_of_somebody_elses_answer_is_nothing() -> None:
    found = Answers()
    answer = Event("1", "anna", "t1", ANSWER, "a", "better", "", "", "", "", 0, "", 0, 1)
    found.add(answer)
    found.add(Event("2", "eve", "t2", UNDO, "a", "", "1", "", "", "", 0, "", 0, 1))
    assert found.of("anna") == {"a": answer}


def test_a_file_that_is_large_is_followed_by_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(human, "MOST_BYTES", 1_000)
    log = EventLog(tmp_path)
    written = [kept(log, "anna", str(number), "better") for number in range(20)]
    contents = log.contents()
    assert len(contents) > 3
    assert {event for content in contents.values() for event in events_in(content)} == set(written)
    assert all(len(content) < 1_500 for content in contents.values())


@pytest.mark.parametrize("fails", ["write", "fsync"])
def test_a_full_disk_keeps_nothing_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str) -> None:
    log = EventLog(tmp_path)
    first = kept(log, "anna", "a", "better")
    real = os.write

    def half(descriptor: int, content: Any) -> int:
        if len(content) < 100:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(descriptor, content[: len(content) // 2])

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, fails, half if fails == "write" else full)
        with pytest.raises(BuildError, match=r"not kept: .*\(No space left on device\)"):
            kept(log, "anna", "b", "worse")
    last = kept(log, "anna", "c", "irrelevant")
    found = [event for content in EventLog(tmp_path).contents().values() for event in events_in(content)]
    assert sorted(found, key=lambda event: event.time) == [first, last]


def test_a_folder_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be kept"):
        EventLog(tmp_path / "file")


def test_a_clock_that_goes_back_does_not_bring_an_old_answer_back(tmp_path: Path) -> None:
    log, found = EventLog(tmp_path), Answers()
    log.catch_up("9999-12-31T23:59:59.999999Z")  # of a server whose clock is off by more than a day
    early = kept(log, "anna", "a", "better")
    assert early.time < "9999"
    ahead = f"{early.time[:11]}{'23:59:59.999999Z'}"
    log.catch_up(ahead)
    late = kept(log, "anna", "a", "worse")
    assert late.time > ahead
    for event in (late, early):
        found.add(event)
    assert found.of("anna")["a"] == late


_WRITER = """
import sys
from pathlib import Path
from hf_relabel.hub_tools.space.people.event_log import EventLog
log = EventLog(Path(sys.argv[1]))
print("ready", flush=True)
for number in range(100_000):
    event = log.write(person="anna", action="answer", item=str(number), answer="better", undoes="", query_id="q" * 50,
                      subset="", docid="", position=0, release="", seed=0, size=1)
    print(event.event, flush=True)
"""


def test_what_was_acknowledged_survives_kill_9(tmp_path: Path) -> None:
    acknowledged: set[str] = set()
    chance = random.Random(0)
    for _ in range(6):
        writer = subprocess.Popen([sys.executable, "-c", _WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
        acknowledged |= {writer.stdout.readline().strip() for _ in range(chance.randrange(50))}
        writer.kill()
        # A line that was cut off by the kill was not read by anybody either.
        acknowledged |= {line.strip() for line in writer.stdout.read().splitlines(keepends=True) if line.endswith("\n")}
        writer.wait()
        writer.stdout.close()
    found = [event.event for content in EventLog(tmp_path).contents().values() for event in events_in(content)]
    assert len(acknowledged) > 20
    assert acknowledged <= set(found)
    assert len(found) == len(set(found))
    assert len(found) <= len(acknowledged) + 6  # one each was written when the kill came, but not acknowledged


README = (
    "---\r\n# mine\r\nlicense: mit\r\nconfigs:\r\n- config_name: a\r\n  data_files: x.csv\r\n---\r\n"
    "\r\n# Title\r\n\r\n---\r\ntext  "
)


def test_the_front_matter_names_the_config_and_all_else_stays() -> None:
    merged = with_human(README, "alice/set")
    before, after = Readme.parse(README), Readme.parse(merged)
    assert after.body == before.body
    assert after.yaml.startswith("# mine\r\nlicense: mit\r\n")
    assert [config["config_name"] for config in after.metadata()["configs"]] == ["a", "human"]
    assert with_human(merged, "alice/set") == merged


def test_a_data_set_without_a_readme_gets_one() -> None:
    text = with_human(None, "alice/set")
    assert Readme.parse(text).metadata() == {"configs": human_config([])}


@pytest.mark.parametrize("text", ["---\nconfigs: yes\n---\n", "---\n{broken\n---\n"])
def test_a_front_matter_that_cannot_be_merged_with_is_said(text: str) -> None:
    with pytest.raises(CardError, match=r"alice/set: README\.md"):
        with_human(text, "alice/set")
