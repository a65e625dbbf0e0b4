"""The changes of a worker: followed while somebody watches, and told to all who do."""

import time
from threading import Condition, Lock, Thread
from typing import Protocol

from models.errors import StoreDenied, StoreError, StoreTimeout
from models.filter import Filter
from models.turn import Turn
from models.valkey.backend import Backend, Teller
from models.valkey.connection import read
from models.valkey.redis_errors import TIMEOUT
from models.valkey.scan import HITS_PREFIX
from models.watching.audience import Audience
from models.watching.log import Log
from models.watching.session import Session


# How long one who comes waits until the servers are followed.
START_SECONDS = 2.0
# The servers are followed for so long after the last one has left, who may come back with an id.
LINGER_SECONDS = 60.0
# After a failure they are followed again.
RETRY_SECONDS = 0.25
# How often it is asked whether the servers are still the same.
SURVEY_SECONDS = 1.0
# How often a server that tells nothing is asked for its clock: of several, ids wait for each.
SILENT_SECONDS = 0.25
# Rounds are so far apart at least: it is rounds that cost, and not what they tell.
ROUND_SECONDS = 0.005
NAMES_AT_A_TIME = 500


class Listener(Protocol):
    """One who watches. The hub holds its lock when it calls this."""

    def tell(self, name: bytes, tick: int) -> None:
        """Take note of a change."""

    def forget(self) -> None:
        """Take note that everything may have changed."""


class Hub:
    """Follows the servers while somebody watches, and tells each what has changed.

    :param backend: the servers
    :param prefix: what the names of all keys start with
    """

    def __init__(self, backend: Backend, prefix: bytes) -> None:
        self._backend = backend
        self._prefix = prefix
        #: Notified of each round. Its lock is that of everything here, and of what is told.
        self.changed = Condition(Lock())
        #: None while the servers cannot be followed.
        self.session: Session | None = None
        self._audience = Audience[Listener]()
        self._listeners: set[Listener] = set()
        self._left_at = 0.0
        self._failure: StoreError | None = None
        self._is_running = False

    def enter(self, listener: Listener, prefix: bytes, pattern: Filter) -> None:
        """Tell a listener what changes, from now on.

        :param prefix: what stands before the keys in their names
        :param pattern: which keys
        :raises StoreError: the servers cannot be followed
        """
        with self.changed:
            self._audience.add(listener, prefix, pattern)
            self._listeners.add(listener)
            if not self._is_running:
                self._is_running, self._failure = True, None
                Thread(target=self._run, daemon=True).start()
            self.changed.wait_for(lambda: self.session or isinstance(self._failure, StoreDenied), START_SECONDS)
            if self.session is not None:
                return
        self.leave(listener, prefix, pattern)
        raise self._failure or StoreTimeout(TIMEOUT)

    def leave(self, listener: Listener, prefix: bytes, pattern: Filter) -> None:
        """Tell a listener nothing more."""
        with self.changed:
            self._audience.remove(listener, prefix, pattern)
            self._listeners.remove(listener)
            self._left_at = time.monotonic()

    def _run(self) -> None:
        """Follow the servers, again after each failure, until nobody watches any more."""
        while self._is_wanted(linger_seconds=0):
            try:
                self._follow()
            except StoreError as error:
                with self.changed:
                    self._failure = error
                    self.changed.notify_all()
            time.sleep(RETRY_SECONDS)

    def _is_wanted(self, *, linger_seconds: float) -> bool:
        with self.changed:
            if not self._listeners and time.monotonic() >= self._left_at + linger_seconds:
                self._is_running = self.session is not None
                return False
            return True

    def _follow(self) -> None:
        tracked = self._backend.track(self._prefix)
        try:
            session = Session(tracked)
        except BaseException:
            tracked.close()
            raise
        with self.changed:
            self.session, self._failure = session, None
            self._forget()
        hearers = [
            Thread(target=self._hear, args=(session, teller, log), daemon=True)
            for teller, log in zip(tracked.tellers, session.logs, strict=True)
        ]
        for hearer in hearers:
            hearer.start()
        surveyed_at = time.monotonic()
        try:
            while not session.is_over and self._is_wanted(linger_seconds=LINGER_SECONDS):
                session.wake.wait(max(0, min(SURVEY_SECONDS, session.states.next_end())))
                session.wake.clear()
                session.states.end_due()
                if time.monotonic() >= surveyed_at + SURVEY_SECONDS:
                    self._survey(session)
                    surveyed_at = time.monotonic()
        finally:
            with self.changed:
                self.session = None
            session.end()
            tracked.reader.close()

    def _survey(self, session: Session) -> None:
        """End a session if other servers have the keys now."""
        try:
            found = read(self._backend.topology).fingerprint
        except StoreError:
            # Some of its servers are lost, which their tellers notice, or keys are on their way.
            return
        if found != session.tracked.fingerprint:
            session.end()

    def _hear(self, session: Session, teller: Teller, log: Log) -> None:
        """Pass on what one server tells, until the session is over."""
        is_silent, last_round = True, 0.0
        try:
            while not session.is_over:
                if is_silent:
                    teller.wait(SILENT_SECONDS)
                time.sleep(max(0, last_round + ROUND_SECONDS - time.monotonic()))
                last_round = time.monotonic()
                # A round that tells something is followed by another one, for the mark behind it.
                is_silent = not self._pass_on(session, teller, log)
        except StoreError:
            session.end()
        finally:
            teller.close()

    def _pass_on(self, session: Session, teller: Teller, log: Log) -> bool:
        told = teller.round()
        turn = Turn()
        for first in range(0, len(told.names), NAMES_AT_A_TIME):
            names = [name for name in told.names[first : first + NAMES_AT_A_TIME] if not name.startswith(HITS_PREFIX)]
            with self.changed:
                tick = next(session.tick)
                log.add(names, told.clock)
                for name in names if self.session is session else ():
                    for listener in self._audience.of(name):
                        listener.tell(name, tick)
            turn.give_way()
        with self.changed:
            log.end_round(told)
            if told.has_lost_all and self.session is session:
                self._forget()
            self.changed.notify_all()
        return told.has_lost_all or bool(told.names)

    def _forget(self) -> None:
        for listener in self._listeners:
            listener.forget()
        self.changed.notify_all()
