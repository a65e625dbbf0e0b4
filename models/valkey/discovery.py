"""Servers that know where others are: Sentinels, and the nodes of a cluster."""

import time
from collections.abc import Callable, Iterable
from contextlib import closing
from typing import Any

from redis import exceptions

from models.address import Address
from models.errors import StoreError
from models.valkey.client import Client
from models.valkey.pool import Limits


# Shares of the time limit: those of one question, and that of all of them.
ONE_QUESTION = Limits(pool=0.1, connect=0.1, answer=0.1)
ALL_QUESTIONS = 0.25


class Discovery:
    """Asks one server after another until one answers; one that does not moves to the end of the list.

    :param addresses: where they listen
    :param open_server: makes a client for one
    :param seconds: for how long to go on asking
    """

    def __init__(self, addresses: Iterable[Address], open_server: Callable[[Address], Client], seconds: float) -> None:
        self.addresses = list(addresses)
        self.open = open_server
        self._seconds = seconds

    def move_to_end(self, address: Address) -> None:
        """Ask a server after all others from now on."""
        self.addresses = [other for other in self.addresses if other != address] + [address]

    def ask(
        self, *command: str, is_answer: Callable[[Any], bool] = lambda answer: answer is not None
    ) -> tuple[Address, Any]:
        """Send a command, over a connection of its own.

        :param command: its words
        :param is_answer: tells an answer from one for which the next server should be asked
        :return: which server has answered, and what
        :raises redis.RedisError: no server has answered
        :raises StoreError: no server could be reached
        """
        deadline = time.monotonic() + self._seconds
        failure: Exception = exceptions.ConnectionError("There is no server to ask.")
        for address in list(self.addresses):
            with closing(self.open(address)) as server:
                try:
                    answer = server.execute(*command)
                except (exceptions.RedisError, StoreError) as error:
                    failure = error
                else:
                    if is_answer(answer):
                        return address, answer
                    failure = exceptions.ConnectionError(f"{address} knows no better than {answer}.")
            self.move_to_end(address)
            if time.monotonic() > deadline:
                break
        raise failure
