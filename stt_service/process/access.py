"""Who may use a server: the options that our servers share, and their checks."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stt_service.process.environment import InvalidSetting
from stt_service.process.keys import Key, Keys
from stt_service.process.listening import lets_others_in, parse_listening_address

if TYPE_CHECKING:
    # Imported only for its type: structlog is not everywhere where addresses are checked.
    from structlog.stdlib import BoundLogger


@dataclass(frozen=True)
class Access:
    """Who may use a server. Without keys everybody may who can reach it."""

    keys: Keys | None = None
    open_info: bool = False
    """Whether reflection, metrics and what is served are told without a key too."""
    insecure: bool = False
    """Whether somebody has said that other machines may come without a key."""

    @classmethod
    def from_arguments(
        cls, arguments: argparse.Namespace, environment: Mapping[str, str]
    ) -> Access:
        """What the options say; without --keys, what STT_KEY and STT_SECRET say.

        Raises InvalidSetting.
        """
        path: Path | None = arguments.keys
        try:
            keys = Keys.from_file(path) if path else Keys.from_environment(environment)
        except InvalidSetting as error:
            raise InvalidSetting(f"--keys: {error}" if path else str(error)) from error
        return cls(keys, arguments.open_info, arguments.insecure)

    def to_arguments(self) -> list[str]:
        """The options that say the same to another process, which has this one's environment."""
        # The name of the file, which others may see; a key of the environment stays there.
        return [
            *(("--keys", str(self.keys_path)) if self.keys_path else ()),
            *(("--open-info",) if self.open_info else ()),
            *(("--insecure",) if self.insecure else ()),
        ]

    @property
    def keys_path(self) -> Path | None:
        """The file that the keys are from; None for a key of the environment."""
        return self.keys.path if self.keys is not None else None

    def check_address(self, option: str, address: str) -> None:
        """Raise InvalidSetting if strangers could come to HOST:PORT, unless that is meant."""
        if self.keys is not None or self.insecure:
            return
        host, _ = parse_listening_address(address)
        if lets_others_in(host):
            raise InvalidSetting(
                f"{option} {address} lets other machines in, and no key is asked for: name a file "
                "of keys with --keys, or say --insecure if something in front checks who calls"
            )

    def find(self, tokens: Iterable[str]) -> Key | None:
        """The key that one of the tokens opens, or None."""
        return self.keys.find(tokens) if self.keys is not None else None

    def warn_of_short_secrets(self, log: BoundLogger) -> None:
        """Name the keys whose secrets can be guessed."""
        for key in self.keys.all if self.keys is not None else ():
            if key.is_short:
                log.warning("a key's secret is short enough to be guessed", key=key.name)

    def reload(self, log: BoundLogger) -> None:
        """Read the file of keys again and say how it went; a wrong one changes nothing."""
        if self.keys is None:
            return
        try:
            if not self.keys.reload():
                return
        except InvalidSetting as error:
            log.error("keys not reloaded, the old ones stay", reason=str(error))
            return
        log.info("keys reloaded", keys=len(self.keys.all))
        self.warn_of_short_secrets(log)


NOBODY_ASKED = Access()
"""Everybody on this machine may use it, and nobody else."""


def add_access_arguments(parser: argparse.ArgumentParser, open_info: str) -> None:
    """--keys, --open-info and --insecure; `open_info` names what the second opens."""
    parser.add_argument(
        "--keys",
        type=Path,
        metavar="FILE",
        help="serve only callers with a key of this file, one KEY:SECRET a line; read again at "
        "SIGHUP (default: STT_KEY and STT_SECRET, if they are set)",
    )
    parser.add_argument(
        "--open-info", action="store_true", help=f"with keys, answer {open_info} without one too"
    )
    parser.add_argument(
        "--insecure",
        action="store_true",
        help="listen beyond this machine without keys: something in front checks who calls",
    )
