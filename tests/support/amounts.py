"""How much is tried: little and always the same by `make test`; by `make soak` much, and other things each time."""

import os


# `make soak` prints it; `make soak SEED=...` tries the same again.
SEED = int(os.environ.get("TEST_SEED", "1"))
IS_SOAK = "TEST_SEED" in os.environ


def amount(few: int, many: int, name: str = "") -> int:
    """Return how often to try something, in a test that is marked with ``grows``.

    :param name: what stands for the number in `make soak`, as in `make soak KILLS=100`
    """
    given = os.environ.get(f"TEST_{name}")
    return int(given) if given else many if IS_SOAK else few
