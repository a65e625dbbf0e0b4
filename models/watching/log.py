"""Which names a server has told lately, and since when nothing is missing."""

from collections.abc import Iterator, Sequence

from models.valkey.backend import Round


# 17 MB of names of 60 bytes.
MAX_NAMES = 100_000


class Log:
    """The names that one server has told, each with the clock that was read behind its latest change.

    A change may be told one round late, so all changes from before the clock of the round *before* are known: that is
    the mark. With the latest clock as the mark a fifth of the changes around it were missed.

    :param clock: the server's, read after it began to tell names
    """

    def __init__(self, clock: int) -> None:
        #: Changes from after it, up to the mark, are all here.
        self.floor = clock
        self.mark = clock
        self.clock = clock
        self._clocks: dict[bytes, int] = {}

    def add(self, names: Sequence[bytes], clock: int) -> None:
        """Add some names of a round."""
        clocks = self._clocks
        for name in names:
            # The latest ones stand at the end.
            clocks.pop(name, None)
            clocks[name] = clock
        for oldest in [name for name, _ in zip(clocks, range(len(clocks) - MAX_NAMES), strict=False)]:
            self.floor = max(self.floor, clocks.pop(oldest))

    def end_round(self, told: Round) -> None:
        """Move the mark on, once all names of a round have been added and told."""
        if told.has_lost_all:
            self._clocks.clear()
            self.floor = max(self.floor, told.clock)
        if told.clock < self.clock:
            # It was set back: what changes from now on looks older than it is, until the clock is there again.
            self.floor = max(self.floor, self.clock + 1)
        self.mark, self.clock = self.clock, told.clock

    def since(self, mark: int) -> Iterator[bytes]:
        """Return the names that have changed since an earlier mark, the latest first."""
        for name in reversed(self._clocks):
            if self._clocks[name] <= mark:
                break
            yield name
