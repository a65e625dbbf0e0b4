"""How much memory there is: that of the machine, or less in a container or another cgroup."""

import os
from collections.abc import Iterator
from pathlib import Path


CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUPS = Path("/proc/self/cgroup")


def memory_bytes() -> int:
    """Return how much memory this process and its children may use together."""
    return min([os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), *_limits()])


def _limits() -> Iterator[int]:
    """Return the limits of our cgroup and of those around it: see cgroups(7)."""
    for line in OWN_CGROUPS.read_text().splitlines() if OWN_CGROUPS.exists() else ():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            root, name = CGROUPS, "memory.max"
        elif "memory" in controllers.split(","):
            root, name = CGROUPS / "memory", "memory.limit_in_bytes"
        else:
            continue
        # In a container the path can be that of the host, of which only the root is seen.
        group = root / path.lstrip("/")
        for folder in (group, *group.parents):
            limit = folder / name
            if limit.is_relative_to(root) and limit.exists() and (text := limit.read_text().strip()).isdecimal():
                yield int(text)
