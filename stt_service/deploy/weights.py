"""Getting a model's weights onto a shared disk, and knowing whether they are there.

The disk holds a Hugging Face cache (HF_HUB_CACHE). Servers read it with HF_HUB_OFFLINE set, so
that a start neither waits for the hub nor writes to a disk that is mounted read-only.
"""

import logging
from collections.abc import Awaitable, Callable

from stt_service.config import EMBEDDED_MODEL, EngineConfig
from stt_service.engine.errors import UnreachableCheckpoint

# Not an event log, whose fields would be lost: containers say this before logs are configured.
log = logging.getLogger(__name__)


def fetch(model: str) -> None:
    """Download what the cache lacks of a model; nothing for the embedded one.

    Raises UnsuitableCheckpoint if it is no speech-to-text checkpoint.
    """
    if model == EMBEDDED_MODEL:
        return
    from stt_service.engine.step.checkpoint import find_checkpoint

    find_checkpoint(EngineConfig(model).source)


def are_stored(model: str) -> bool:
    """Whether the cache holds all files of a model. Asks no hub if HF_HUB_OFFLINE is set."""
    try:
        fetch(model)
    except UnreachableCheckpoint:
        return False
    return True


async def ensure_stored(
    model: str,
    fetch_elsewhere: Callable[[], Awaitable[object]],
    reload: Callable[[], Awaitable[object]],
) -> None:
    """Have missing weights fetched where the disk may be written, then look at the disk afresh."""
    if are_stored(model):
        return
    log.warning("%s is not on the disk yet: fetching it", model)
    await fetch_elsewhere()
    await reload()
