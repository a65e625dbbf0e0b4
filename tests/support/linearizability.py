"""A judge of recorded histories: says whether one register, which does one thing at a time, can have given the answers.

A history is linearizable if each operation can be given one moment between its call and its return such that the
operations, done at these moments, give the answers that were seen. An operation whose outcome is unknown has no return:
its moment may be any after its call, or never come. Keys are independent, so each has a history of its own.

The search is that of Wing and Gong, made just in time: at each return, and only then, the operations that are under way
are tried in every order that ends with the one that returns (see Lowe, "Testing for linearizability", 2017).
"""

import math
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from enum import Enum, auto


State = bytes | None


class Kind(Enum):
    """What is done to a register."""

    READ = auto()
    """Give its value."""
    WRITE = auto()
    """Set it, whatever it is."""
    SWAP = auto()
    """Set it if it is what is expected: a compare-and-set. Nothing expected means that there must be none."""
    DELETE = auto()
    """Have none any more."""


@dataclass(frozen=True, eq=False)
class Operation:
    """Something that a client did, and what it was told; equal only to itself.

    :param kind: what
    :param called: when it began
    :param returned: when it was answered; infinity if the outcome is unknown
    :param value: what was read, or is written
    :param expected: what a compare-and-set expects
    :param done: whether a compare-and-set was done, or there was something to delete
    """

    kind: Kind
    called: float
    returned: float
    value: State = None
    expected: State = None
    done: bool = True

    @property
    def is_unknown(self) -> bool:
        """Whether nobody was told how it ended."""
        return self.returned == math.inf

    def applied_to(self, state: State) -> list[State]:
        """Give what the register is afterwards: nothing if it could not have given this answer.

        :param state: what it is before
        """
        match self.kind:
            case Kind.READ:
                possible, after = state == self.value, state
            case Kind.WRITE:
                possible, after = True, self.value
            case Kind.SWAP:
                possible, after = (state == self.expected) == self.done, self.value if self.done else state
            case Kind.DELETE:
                possible, after = (state is not None) == self.done, None
        return [after] if possible else []


@dataclass(frozen=True)
class Situation:
    """What may be at some moment of a history.

    :param state: what the register is
    :param had: which of the operations under way have had their moment
    :param spent: which of those with an unknown outcome have had theirs
    """

    state: State
    had: frozenset[Operation] = frozenset()
    spent: frozenset[Operation] = frozenset()

    def after(self, operation: Operation) -> list["Situation"]:
        """Give what may be when an operation has its moment.

        :param operation: the operation
        """
        if operation.is_unknown:
            spent = self.spent | {operation}
            # One that changes nothing may as well never have its moment.
            return [Situation(s, self.had, spent) for s in operation.applied_to(self.state) if s != self.state]
        return [Situation(s, self.had | {operation}, self.spent) for s in operation.applied_to(self.state)]


class Situations:
    """Situations, without those that are another one with more operations spent: that one can do all that they can."""

    def __init__(self) -> None:
        self._spent: dict[tuple[State, frozenset[Operation]], list[frozenset[Operation]]] = defaultdict(list)

    def __iter__(self) -> Iterator[Situation]:
        return (Situation(*at, spent) for at, each in self._spent.items() for spent in each)

    def add(self, situation: Situation) -> bool:
        """Add one, and tell whether it says something new.

        :param situation: what may be
        """
        spent = self._spent[situation.state, situation.had]
        if any(less <= situation.spent for less in spent):
            return False
        spent[:] = [*(more for more in spent if not situation.spent <= more), situation.spent]
        return True


def is_linearizable(history: Iterable[Operation], initial: State = None) -> bool:
    """Tell whether a register could have given these answers.

    :param history: everything that was done to it, in any order
    :param initial: what it is at first
    """
    # Calls come before returns of the same moment: such operations overlap.
    events = [(operation.called, 0, number, operation) for number, operation in enumerate(history)]
    events += [(each.returned, 1, number, each) for _, _, number, each in events if not each.is_unknown]
    under_way: set[Operation] = set()
    possible = [Situation(initial)]
    for _, is_return, _, operation in sorted(events, key=lambda event: event[:3]):
        if not is_return:
            under_way.add(operation)
            continue
        possible = _returning(possible, operation, under_way)
        under_way.remove(operation)
    return bool(possible)


def _returning(possible: Iterable[Situation], wanted: Operation, under_way: set[Operation]) -> list[Situation]:
    """Give what may be when an operation has returned."""
    seen, found = Situations(), Situations()
    # Those with fewer operations first, so that what says nothing new is seen to.
    queue = deque(situation for situation in possible if seen.add(situation))
    while queue:
        situation = queue.popleft()
        if wanted in situation.had:
            found.add(replace(situation, had=situation.had - {wanted}))
            continue
        for operation in under_way - situation.had - situation.spent:
            queue.extend(each for each in situation.after(operation) if seen.add(each))
    return list(found)
