"""How many files and sockets this process may have open."""

from __future__ import annotations

import resource

# As many as the tables of the system hold without a thought; containers often allow a billion.
ENOUGH = 65_536
# Libraries, model files, pipes, listening sockets, and the children's pipes: 60 counted.
OWN = 100


def raise_limit() -> int:
    """Raise the limit of open descriptors as far as the system lets this process; the limit.

    The soft limit is 1,024 in most shells, for the sake of programs that use select(2).
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = ENOUGH if hard == resource.RLIM_INFINITY else min(hard, ENOUGH)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return ENOUGH if soft == resource.RLIM_INFINITY else soft
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError):
        # macOS has a lower limit of its own.
        return soft
    return wanted


def count_connections(most: int) -> int:
    """How many connections a server may hold, up to `most`, with descriptors left for itself."""
    return max(1, min(most, raise_limit() - OWN))
