"""The environment variables that the commands know; the only place that reads them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from stt.endpoint import Credentials
from stt.environment import read_credentials, read_variable

MODAL_HOST = "{workspace}--kyutai-stt-rust-kyutaisttrustservice-serve.modal.run"


@dataclass(frozen=True)
class Environment:
    """MODAL_WORKSPACE, MODAL_KEY and MODAL_SECRET."""

    workspace: str | None = None
    credentials: Credentials | None = None

    @classmethod
    def read(cls, variables: Mapping[str, str] = os.environ) -> Environment:
        """Empty variables count as unset. Raises ValueError for a value that cannot be meant."""
        return cls(read_variable(variables, "MODAL_WORKSPACE"), read_credentials(variables))

    @property
    def websocket_url(self) -> str | None:
        """The documented address of the workspace's service; None without a workspace."""
        if self.workspace is None:
            return None
        return f"wss://{MODAL_HOST.format(workspace=self.workspace)}/v1/stream"
