"""Which stage is begun next, where several are made at the same time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Chore:
    """A stage that is to be made.

    Attributes:
        key: The stage's.
        needs: Keys of the chores that come first.
        seconds: What it takes; 0 where nothing is known.
        memory: Bytes that it holds at most; None where nothing is known.
    """

    key: str
    needs: frozenset[str] = frozenset()
    seconds: float = 0.0
    memory: float | None = None


@dataclass(frozen=True, kw_only=True)
class Timetable:
    """How chores would go.

    Attributes:
        seconds: Until the last one ends.
        memory: Most bytes held at once, of those that are known.
    """

    seconds: float
    memory: float


@dataclass
class Agenda:
    """Chores that wait and chores that are at work.

    The one that the longest chain of others waits for goes first; where memory is short a chore
    waits for those at work. One of which no memory is known, or that wants more than there is,
    goes when nothing else is at work.

    Attributes:
        chores: In an order in which they could be made one by one.
        room: Bytes that all at work may hold together.
    """

    chores: Sequence[Chore]
    room: float
    at_work: dict[str, Chore] = field(default_factory=dict)
    _waiting: dict[str, Chore] = field(init=False)
    _open: dict[str, int] = field(init=False)

    def __post_init__(self) -> None:
        ahead = chain_seconds(self.chores)
        order = sorted(self.chores, key=lambda chore: -ahead[chore.key])  # equal ones as they came
        self._waiting = {chore.key: chore for chore in order}
        self._open = {chore.key: len(chore.needs & self._waiting.keys()) for chore in self.chores}

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits."""
        return not self._waiting

    @property
    def ready(self) -> list[Chore]:
        """What could be begun, whatever it holds; the most urgent first."""
        return [chore for chore in self._waiting.values() if not self._open[chore.key]]

    def take(self, among: Iterable[str] | None = None) -> Chore | None:
        """Begin the most urgent chore that there is room for; None: there is none now.

        Args:
            among: Keys of those that may be taken; None: any.
        """
        allowed = None if among is None else set(among)
        for chore in self.ready:
            if (allowed is None or chore.key in allowed) and self._fits(chore):
                self.at_work[chore.key] = self._waiting.pop(chore.key)
                return chore
        return None

    def _fits(self, chore: Chore) -> bool:
        if not self.at_work:
            return True
        held = [each.memory for each in (*self.at_work.values(), chore)]
        return all(each is not None for each in held) and sum(filter(None, held)) <= self.room

    def finish(self, key: str) -> None:
        """Say that a chore is made."""
        del self.at_work[key]
        for chore in self._waiting.values():
            self._open[chore.key] -= key in chore.needs

    def put_back(self, key: str) -> None:
        """Say that a chore came to nothing: it goes first again."""
        self._waiting = {key: self.at_work.pop(key), **self._waiting}


def chain_seconds(chores: Sequence[Chore]) -> Mapping[str, float]:
    """Give, for each key, the seconds of the longest chain that begins with it.

    Args:
        chores: Each after those that it needs.
    """
    found: dict[str, float] = {}
    after: dict[str, float] = {}
    for chore in reversed(chores):
        found[chore.key] = chore.seconds + after.get(chore.key, 0.0)
        for needed in chore.needs:
            after[needed] = max(after.get(needed, 0.0), found[chore.key])
    return found


def timetable(chores: Sequence[Chore], *, hands: int, start_up: float, room: float) -> Timetable:
    """Return how long chores take, and what they hold, in so many processes.

    Args:
        chores: In an order in which they could be made one by one.
        hands: Processes; the first begins at once.
        start_up: Seconds until the others do.
        room: Bytes that all may hold together.
    """
    agenda = Agenda(chores, room)
    free = [0.0] + [start_up] * (hands - 1)
    ends: dict[str, float] = {}
    now = most = 0.0
    while agenda.at_work or not agenda.is_empty:
        for hand in sorted(range(hands), key=lambda hand: free[hand]):
            if free[hand] > now:
                continue
            chore = agenda.take()
            if chore is None:
                break
            ends[chore.key] = free[hand] = now + chore.seconds
            most = max(most, sum(each.memory or 0.0 for each in agenda.at_work.values()))
        # The next moment at which something changes: a chore ends, or a process has started.
        starting = [moment for moment in free if moment > now] if agenda.ready else []
        now = min([*ends.values(), *starting])
        for key in [key for key, end in ends.items() if end <= now]:
            agenda.finish(key)
            del ends[key]
    return Timetable(seconds=now, memory=most)
