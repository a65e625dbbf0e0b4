"""Turns of long work under gevent."""

import subprocess
import sys


WORK = """
from gevent import monkey
monkey.patch_all()
import socket
import gevent
from models import turn

turn.TURN_SECONDS = 0  # each turn is over at once
sender, receiver = socket.socketpair()
received, turns = [], []

def work():
    mine = turn.Turn()
    while not received:
        mine.give_way()
        turns.append(1)

gevent.spawn(lambda: received.append(receiver.recv(1)))
gevent.sleep(0.01)
sender.send(b"x")
gevent.joinall([gevent.spawn(work) for _ in range(3)])
print(len(turns))
"""


def test_long_work_lets_connections_be_served() -> None:
    ran = subprocess.run([sys.executable, "-c", WORK], capture_output=True, check=True, timeout=30)

    # With a pause of 0 gevent has a thousand turns before it looks at a connection.
    assert int(ran.stdout) < 50
