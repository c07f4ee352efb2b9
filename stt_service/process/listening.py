"""Listening on HOST:PORT: one rule for every address option of our servers.

- A number is that address. `0.0.0.0` and `[::]` both are every address of this machine, IPv4 and
  IPv6: gRPC takes them so and cannot be told otherwise.
- `localhost` is this machine by both of its loopback addresses.
- Another name is every address of its that this machine has.

Port 0 takes a free one, the same at all addresses.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from stt_service.process.address import (
    is_loopback,
    is_loopback_name,
    join_host_port,
    split_host_port,
)
from stt_service.process.environment import InvalidSetting

BACKLOG = 1024
FREE_PORT_ATTEMPTS = 10

# Whether that is meant, stt_service.process.access asks.
_EVERYWHERE = ("0.0.0.0", "::")  # nosec B104
_NOT_HERE = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
_REASONS = {
    errno.EADDRINUSE: "another program listens there; stop it, or choose another port",
    errno.EADDRNOTAVAIL: "this machine has no such address",
    errno.EAFNOSUPPORT: "this machine has no IPv6",
    errno.EINVAL: "a link-local address needs its interface, as in [fe80::1%eth0]:8000",
}
_FIRST_FREE_FOR_ALL = 1024


class CannotListen(OSError):
    """Nothing can listen at an address; the text names it and says why."""

    def __init__(self, host: str, port: int, reason: str) -> None:
        super().__init__(f"cannot listen on {join_host_port(host, port)}: {reason}")


def parse_listening_address(address: str) -> tuple[str, int]:
    """Split HOST:PORT, the host without brackets. Raises InvalidSetting."""
    try:
        host, port = split_host_port(address)
    except ValueError:
        host, port = "", None
    if port is None:
        raise InvalidSetting(
            f"{address!r} is no address; write HOST:PORT, as in 127.0.0.1:8000 or [::1]:8000, with "
            "a port up to 65535"
        )
    return host, port


def listen(host: str, port: int) -> list[socket.socket]:
    """Listening sockets at every address that `host` means. Raises CannotListen."""
    try:
        addresses = _find_addresses(host)
        for _ in range(FREE_PORT_ATTEMPTS):
            try:
                return _listen_at_all(addresses, port)
            except OSError as error:
                # What is free at one address may be taken at the other.
                if port != 0 or error.errno != errno.EADDRINUSE:
                    raise
        return _listen_at_all(addresses, port)
    except OSError as error:
        raise CannotListen(host, port, _reason_for(error, port)) from error
    except UnicodeError as error:
        raise CannotListen(host, port, "that is no host name") from error


def find_free(host: str, port: int) -> list[str]:
    """The numeric HOST:PORT of every address that `listen` would listen at, for others to bind.

    Raises CannotListen, with the reason that others, like gRPC, keep to themselves.
    """
    with ExitStack() as stack:
        listening = [stack.enter_context(each) for each in listen(host, port)]
        return addresses_of(listening)


def addresses_of(listening: Sequence[socket.socket]) -> list[str]:
    """The numeric HOST:PORT of each socket."""
    return [
        join_host_port(_host_of(each.getsockname()), each.getsockname()[1]) for each in listening
    ]


def address_to_connect_to(addresses: Sequence[str]) -> str:
    """Which of the listening HOST:PORTs to print: the first, or this machine for every address."""
    host, port = parse_listening_address(addresses[0])
    if host in _EVERYWHERE:
        host = "127.0.0.1" if _has_ipv4_loopback() else "::1"
    return join_host_port(host, port)


def lets_others_in(host: str) -> bool:
    """Whether other machines can connect to what listens at `host`.

    False for a name that cannot be looked up: nothing can listen there.
    """
    try:
        return not all(map(is_loopback, _find_addresses(host)))
    except (OSError, UnicodeError):
        return False


def is_own_number(host: str) -> bool:
    """Whether a host is a number of this machine, so that what is sent there does not leave it."""
    try:
        family = socket.AF_INET6 if ipaddress.ip_address(host).version == 6 else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.bind((host, 0))
    except (OSError, ValueError):
        return False
    return True


def is_local_only(listening: Sequence[socket.socket]) -> bool:
    """Whether only this machine can connect to these sockets."""
    return all(is_loopback(each.getsockname()[0]) for each in listening)


def without_mapping(address: str) -> str:
    """`127.0.0.1` for `::ffff:127.0.0.1`.

    An IPv6 socket cannot listen at the latter, and one that serves both families names its IPv4
    callers so.
    """
    mapped = ipaddress.ip_address(address)
    if isinstance(mapped, ipaddress.IPv6Address) and mapped.ipv4_mapped is not None:
        return str(mapped.ipv4_mapped)
    return address


def _find_addresses(host: str) -> list[str]:
    """What a host means, as numbers; `::` for every address."""
    if is_loopback_name(host):
        return ["127.0.0.1", "::1"]
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    # A dictionary keeps the order and drops what is named twice.
    addresses = list(dict.fromkeys(without_mapping(_host_of(place)) for *_, place in found))
    return ["::"] if any(address in _EVERYWHERE for address in addresses) else addresses


def _host_of(place: tuple[Any, ...]) -> str:
    """The address of a socket's name, with the interface that a link-local one needs."""
    scope = place[3] if len(place) == 4 else 0
    return f"{place[0]}%{scope}" if scope else str(place[0])


def _listen_at_all(addresses: Sequence[str], port: int) -> list[socket.socket]:
    missing: OSError | None = None
    with ExitStack() as stack:
        listening: list[socket.socket] = []
        for address in addresses:
            try:
                each = stack.enter_context(_listen_at(address, port))
            except OSError as error:
                if error.errno not in _NOT_HERE:
                    raise
                missing = error
                continue
            listening.append(each)
            port = each.getsockname()[1]
        if missing is not None and not listening:
            raise missing
        stack.pop_all()
        return listening


def _listen_at(address: str, port: int) -> socket.socket:
    if address == "::":
        return _listen_everywhere(port)
    if ":" not in address:
        return socket.create_server((address, port), backlog=BACKLOG)
    # The lookup finds the interface of a link-local address.
    found = socket.getaddrinfo(address, port, socket.AF_INET6, socket.SOCK_STREAM)
    place: Any = found[0][4]
    return socket.create_server(place, family=socket.AF_INET6, backlog=BACKLOG)


def _listen_everywhere(port: int) -> socket.socket:
    if not socket.has_dualstack_ipv6():
        return socket.create_server(("0.0.0.0", port), backlog=BACKLOG)  # nosec B104
    return socket.create_server(
        ("::", port), family=socket.AF_INET6, backlog=BACKLOG, dualstack_ipv6=True
    )


def _has_ipv4_loopback() -> bool:
    try:
        with socket.create_server(("127.0.0.1", 0)):
            return True
    except OSError:
        return False


def _reason_for(error: OSError, port: int) -> str:
    if isinstance(error, socket.gaierror):
        return f"the name cannot be looked up ({error.strerror})"
    if error.errno in (errno.EACCES, errno.EPERM):
        privileged = 0 < port < _FIRST_FREE_FOR_ALL
        hint = "; ports below 1024 are for administrators, choose a higher one"
        return f"the system does not permit it{hint if privileged else ''}"
    return _REASONS.get(error.errno or 0) or os.strerror(error.errno or 0)
