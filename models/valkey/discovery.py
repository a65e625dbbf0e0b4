"""Servers that know where others are: Sentinels, and the nodes of a cluster."""

import time
from collections.abc import Callable, Iterable
from typing import Any

from redis import exceptions

from models.address import Address
from models.errors import StoreError
from models.valkey.client import Client
from models.valkey.pool import Limits


# Of the time limit: of one question, and for all of them.
SHARES = Limits(pool=0.1, connect=0.1, answer=0.1)
ALL_SHARE = 0.25


class Guides:
    """Asked one after another until one answers; who does not is asked last the next time.

    :param addresses: where they listen
    :param open_guide: makes a client for one
    :param seconds: for how long to go on asking
    """

    def __init__(self, addresses: Iterable[Address], open_guide: Callable[[Address], Client], seconds: float) -> None:
        self.addresses = list(addresses)
        self._open = open_guide
        self._seconds = seconds

    def ask_last(self, address: Address) -> None:
        """Ask one of them after all others.

        :param address: where it listens
        """
        self.addresses = [other for other in self.addresses if other != address] + [address]

    def ask(
        self, *command: str, is_answer: Callable[[Any], bool] = lambda answer: answer is not None
    ) -> tuple[Address, Any]:
        """Send a command, over a connection of its own.

        :param command: its words
        :param is_answer: tells an answer from one that should be asked of somebody else
        :return: who has answered, and what
        :raises redis.RedisError: nobody has
        :raises StoreError: nobody could be reached
        """
        deadline = time.monotonic() + self._seconds
        failure: Exception = exceptions.ConnectionError("There is nobody to ask.")
        for address in list(self.addresses):
            with self._open(address) as guide:
                try:
                    answer = guide.execute_command(*command)
                except (exceptions.RedisError, StoreError) as error:
                    failure = error
                else:
                    if is_answer(answer):
                        return address, answer
                    failure = exceptions.ConnectionError(f"{address} knows no better than {answer}.")
            self.ask_last(address)
            if time.monotonic() > deadline:
                break
        raise failure
