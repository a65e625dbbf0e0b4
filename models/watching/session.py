"""One time of following the servers: from when they begin to tell names until one of them is lost or replaced."""

import re
from collections.abc import Iterator
from itertools import count
from threading import Event

from models.valkey.backend import Tracked
from models.watching.log import Log
from models.watching.states import States


# The servers' fingerprint of 32 bits and a clock in microseconds.
ID_PATTERN = "^[0-9a-f]{1,8}-[0-9a-f]{1,16}$"


class Session:
    """The servers that are followed, what they have told, and what keys hold.

    Whatever happens in another session is unknown here: keys may have changed between both.

    :param tracked: the servers
    """

    def __init__(self, tracked: Tracked) -> None:
        self.tracked = tracked
        #: Set when there is something to do: a key expires, or this is over.
        self.wake = Event()
        self.is_over = False
        #: Counts what is told and what is read, to tell which came first.
        self.tick = count(1)
        self.states = States(tracked.reader, self.tick, self.wake.set)
        self.logs = [Log(teller.round().clock) for teller in tracked.tellers]
        # Then the mark of each is from after the start of all, and an id is good from the first one on.
        for _ in range(2):
            for teller, log in zip(tracked.tellers, self.logs, strict=True):
                told = teller.round()
                log.add(told.names, told.clock)
                log.end_round(told)

    def end(self) -> None:
        """Follow no longer."""
        self.is_over = True
        self.wake.set()

    def mark(self) -> int:
        """Return a clock up to which all changes have been told.

        Of several servers the one that is behind counts, whatever the difference of their clocks.
        """
        return min(log.mark for log in self.logs)

    def id(self) -> str:
        """Return the id for now."""
        return f"{self.tracked.fingerprint:x}-{self.mark():x}"

    def since(self, id_: str | None) -> Iterator[bytes] | None:
        """Return the names that have changed since an id.

        :return: the names, some of them twice; None if some may be missing, or if the id is of other servers or none
        """
        if id_ is None or not re.fullmatch(ID_PATTERN, id_):
            return None
        fingerprint, mark = (int(part, 16) for part in id_.split("-"))
        if fingerprint != self.tracked.fingerprint or any(not log.floor <= mark <= log.clock for log in self.logs):
            return None
        return (name for log in self.logs for name in log.since(mark))
