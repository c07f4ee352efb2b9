"""The environment variables that the commands know; the only place that reads them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from stt.endpoint import Credentials

MODAL_HOST = "{workspace}--kyutai-stt-rust-kyutaisttrustservice-serve.modal.run"


@dataclass(frozen=True)
class Environment:
    """MODAL_WORKSPACE, MODAL_KEY and MODAL_SECRET."""

    workspace: str | None = None
    credentials: Credentials | None = None

    @classmethod
    def read(cls, variables: Mapping[str, str] = os.environ) -> Environment:
        """Empty variables count as unset. Raises ValueError for half a token."""
        key, secret = variables.get("MODAL_KEY"), variables.get("MODAL_SECRET")
        if bool(key) != bool(secret):
            missing = "MODAL_SECRET" if key else "MODAL_KEY"
            raise ValueError(f"{missing} is not set; a proxy auth token has a key and a secret.")
        credentials = Credentials(key, secret) if key and secret else None
        return cls(variables.get("MODAL_WORKSPACE") or None, credentials)

    @property
    def websocket_url(self) -> str | None:
        """The documented address of the workspace's service; None without a workspace."""
        if self.workspace is None:
            return None
        return f"wss://{MODAL_HOST.format(workspace=self.workspace)}/v1/stream"
