"""What people's events come to: the answers that stand."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import fields
from operator import attrgetter

from hf_relabel.builders.audit.answers import Answer
from hf_relabel.builders.audit.exports import CHOICES
from hf_relabel.builders.audit.names import name_key
from hf_relabel.builders.judgements import Label
from hf_relabel.hub_tools.space.people.answer_events import UNDO, Event


class Answers:
    """Events, and what follows from them. The same events give the same answers, in whatever order they come.

    `Anna` and `anna` are one person, see `builders.audit.names`.
    """

    def __init__(self) -> None:
        self._events: set[Event] = set()
        self._undone: set[tuple[str, str]] = set()
        self._people: dict[str, dict[str, list[Event]]] = {}

    def __len__(self) -> int:
        return len(self._events)

    def add(self, event: Event) -> bool:
        """Take an event. Returns whether it is new."""
        if event in self._events:
            return False
        self._events.add(event)
        if event.action == UNDO:
            self._undone.add((name_key(event.person), event.undoes))
        else:
            self._people.setdefault(name_key(event.person), {}).setdefault(event.item, []).append(event)
        return True

    def of(self, person: str) -> dict[str, Event]:
        """A person's answers that stand, by item."""
        items = self._people.get(name_key(person), {})
        standing = {item: self._standing(events) for item, events in items.items()}
        return {item: event for item, event in standing.items() if event is not None}

    def last(self, person: str, items: Collection[str]) -> Event | None:
        """The person's last answer that stands, to one of these items."""
        mine = [event for item, event in self.of(person).items() if item in items]
        return max(mine, key=_order, default=None)

    def last_undone(self, person: str, item: str) -> Event | None:
        """The last answer to an item that the person took back, where none of theirs stands."""
        events = self._people.get(name_key(person), {}).get(item, [])
        return None if self._standing(events) else max(events, key=_order, default=None)

    def answered(self, items: Collection[str]) -> int:
        """How many of these items have an answer of anybody."""
        return len({item for person in self._people for item in self.of(person) if item in items})

    def elsewhere(self, items: Collection[str]) -> int:
        """How many answers stand to other items than these: those of a sample that was drawn before."""
        return sum(item not in items for person in self._people for item in self.of(person))

    def to_audit(self, items: Collection[str]) -> list[Answer]:
        """All answers that stand to these items, as audits take them."""
        return [
            Answer(item, self._name(key), None if event.answer == CHOICES[-1] else Label(event.answer))
            for key in sorted(self._people)
            for item, event in sorted(self.of(key).items())
            if item in items
        ]

    def _name(self, key: str) -> str:
        """The spelling that came first, whatever order the events came in."""
        return min((event for events in self._people[key].values() for event in events), key=_order).person

    def _standing(self, events: Iterable[Event]) -> Event | None:
        kept = [event for event in events if (name_key(event.person), event.event) not in self._undone]
        return max(kept, key=_order, default=None)


_order = attrgetter("time", "event", *(field.name for field in fields(Event)))
"""By time; of two events of one name, which only a changed file can hold, always the same one first."""
