"""Long work in a worker takes turns with the other requests of that worker."""

import time
from collections.abc import Callable
from functools import partial
from typing import ClassVar


TURN_SECONDS = 0.005
# Not 0, with which gevent would let only those run that also give way, and nobody who waits for a connection.
PAUSE_SECONDS = 0.000_001


class Turn:
    """The time for which something goes on before others may."""

    # Lets others run. A WSGI server that knows who is next has its own.
    pause: ClassVar[Callable[[], object]] = staticmethod(partial(time.sleep, PAUSE_SECONDS))

    def __init__(self) -> None:
        self._ends = time.monotonic() + TURN_SECONDS

    def give_way(self) -> None:
        """Let others run, if this turn is over."""
        if time.monotonic() >= self._ends:
            Turn.pause()
            self._ends = time.monotonic() + TURN_SECONDS
