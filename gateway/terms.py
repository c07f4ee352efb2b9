"""How long a client waits for its session: what its protocol says, within what the gateway says."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.config import GatewayConfig
from gateway.protocols.codec import Door

REPLACED_CALL_S = 2.0
"""How long to wait at least for a slot that this session itself has just left."""


@dataclass(frozen=True)
class Terms:
    """The terms of one call."""

    patience_s: float
    """How long to try again while the service starts or cannot be reached."""
    limit_s: float | None
    """Until when there must be an answer, whatever the service does; None: as long as it takes."""
    slot_wait_s: float
    """How long the service may keep the call waiting where every slot is taken."""


def find_terms(door: Door, config: GatewayConfig, *, is_first: bool) -> Terms:
    """The terms of a session's first call, or of one that follows it.

    A client whose session has begun is not told to go elsewhere as soon as one that waits for it.
    """
    slot_wait_s = config.wait_for_slot_s if door.wait_for_slot_s is None else door.wait_for_slot_s
    if not is_first:
        return Terms(config.patience_s, None, max(slot_wait_s, REPLACED_CALL_S))
    if door.patience_s is None:
        return Terms(config.patience_s, None, slot_wait_s)
    patience_s = min(config.patience_s, door.patience_s)
    return Terms(patience_s, patience_s, slot_wait_s)
