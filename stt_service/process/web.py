"""Whose requests over HTTP are answered: the options of every command that serves WebSockets."""

from __future__ import annotations

import argparse
import ipaddress
import re
from dataclasses import dataclass

from stt_service.process.address import check_origin
from stt_service.process.listening import without_mapping

_HOST_NAME = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*")


@dataclass(frozen=True)
class WebOptions:
    """As they are on the command line; the gateway's configuration says what each one means."""

    allow_origins: tuple[str, ...] = ()
    allow_hosts: tuple[str, ...] = ()
    trusted_proxies: tuple[str, ...] = ()

    @classmethod
    def from_arguments(cls, arguments: argparse.Namespace) -> WebOptions:
        """What the options say."""
        return cls(
            tuple(arguments.allow_origin),
            tuple(arguments.allow_host),
            tuple(arguments.trusted_proxy),
        )

    def to_arguments(self) -> list[str]:
        """The same for the command line of another process."""
        return [
            *(f"--allow-origin={origin}" for origin in self.allow_origins),
            *(f"--allow-host={name}" for name in self.allow_hosts),
            *(f"--trusted-proxy={network}" for network in self.trusted_proxies),
        ]


NOTHING_SAID = WebOptions()


def add_web_arguments(parser: argparse.ArgumentParser) -> None:
    """--allow-origin, --allow-host and --trusted-proxy."""
    parser.add_argument(
        "--allow-origin",
        action="append",
        default=[],
        type=_origin,
        metavar="ORIGIN",
        help="let pages of this other origin connect, like https://example.com; repeatable",
    )
    parser.add_argument(
        "--allow-host",
        action="append",
        default=[],
        type=_host_name,
        metavar="NAME",
        help="answer HTTP only if it is asked for by this name, a number or localhost; repeatable",
    )
    parser.add_argument(
        "--trusted-proxy",
        action="append",
        default=[],
        type=_network,
        metavar="ADDRESS",
        help="believe the X-Forwarded-For of this proxy, a number or a network; repeatable",
    )


def _origin(text: str) -> str:
    try:
        check_origin(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


def _host_name(text: str) -> str:
    if not _HOST_NAME.fullmatch(text.lower()):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no host name; write it without port, as in speech.example.com"
        )
    return text.lower()


def _network(text: str) -> str:
    try:
        network = ipaddress.ip_network(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no address; write a number or a network, as in 10.0.0.0/8"
        ) from error
    if network.prefixlen == network.max_prefixlen:
        # Callers are compared by their own address too.
        return str(ipaddress.ip_network(without_mapping(str(network.network_address))))
    return str(network)
