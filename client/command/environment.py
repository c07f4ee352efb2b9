"""The environment variables that the commands know; the only place that reads them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from client.rpc.endpoint import Credentials
from stt_service.process.address import MAX_HOST_LABEL
from stt_service.process.environment import read_variable

WORKSPACE_VARIABLE = "MODAL_WORKSPACE"
MODAL_LABEL = "{workspace}--kyutai-stt-rust-kyutaisttrustservice-serve"

_SLUG = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")


@dataclass(frozen=True)
class Environment:
    """MODAL_WORKSPACE, MODAL_KEY and MODAL_SECRET."""

    workspace: str | None = None
    credentials: Credentials | None = None

    @classmethod
    def read(cls, variables: Mapping[str, str] = os.environ) -> Environment:
        """Empty variables count as unset. Raises ValueError for an invalid value."""
        workspace = read_variable(variables, WORKSPACE_VARIABLE) or None
        return cls(workspace, Credentials.from_environment(variables))

    @property
    def websocket_url(self) -> str | None:
        """The documented address of the workspace's service; None without a workspace.

        Raises ValueError if the address does not follow from the name.
        """
        if self.workspace is None:
            return None
        label = MODAL_LABEL.format(workspace=to_slug(self.workspace))
        # Modal replaces a longer one by a name with a hash in it.
        if len(label) > MAX_HOST_LABEL:
            longest = MAX_HOST_LABEL - len(MODAL_LABEL.format(workspace=""))
            raise ValueError(
                f"{WORKSPACE_VARIABLE} {self.workspace!r} is longer than {longest} characters, so "
                "Modal shortens the host name in a way of its own. `stt-modal-url` prints the "
                "address; give it with --url."
            )
        return f"wss://{label}.modal.run/v1/stream"


def to_slug(workspace: str) -> str:
    """A workspace's name as Modal writes it in host names. Raises ValueError.

    Modal's documentation has the examples ECorp → ecorp and text_to_speech → text-to-speech
    (modal.com/docs/guide/webhook-urls).
    """
    slug = workspace.lower().replace("_", "-")
    if not _SLUG.fullmatch(slug):
        raise ValueError(
            f"{WORKSPACE_VARIABLE} {workspace!r} is no name of a Modal workspace: it has letters, "
            "digits and dashes, as `modal profile current` prints it."
        )
    return slug
