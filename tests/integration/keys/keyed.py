"""A stt-serve that asks for keys, and the ways to present one."""

import base64
import contextlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from stt.v1 import stt_pb2_grpc
from tests.integration.server.calls import request_config
from tests.support import Service, own_address, run_service

MARK = "plover"
"""Part of every secret here, so that one look finds any of them."""
ALICE = ("alice", f"{MARK}-alices-own-secret-0001")
BOB = ("bob", f"{MARK}-secret-of-bob-000000002")
CAROL = ("carol", f"{MARK}-nobody-knows-this-key-3")
"""Of a key that is in no file."""

BOBS_SESSIONS = 1
BOBS_AUDIO_PER_MINUTE = 6
BOBS_IDLE_TIMEOUT_S = 1
FILE = f"""\
# Two users.
{":".join(ALICE)}
{":".join(BOB)} sessions={BOBS_SESSIONS} audio_per_minute={BOBS_AUDIO_PER_MINUTE} \
idle_timeout={BOBS_IDLE_TIMEOUT_S}
"""

Headers = tuple[tuple[str, str], ...]


def modal(key: tuple[str, str]) -> Headers:
    """As a proxy auth token of Modal's."""
    return (("modal-key", key[0]), ("modal-secret", key[1]))


def bearer(key: tuple[str, str]) -> Headers:
    return (("authorization", f"Bearer {key[0]}:{key[1]}"),)


def secret_alone(key: tuple[str, str]) -> Headers:
    return (("authorization", f"bearer {key[1]}"),)


def basic(key: tuple[str, str]) -> Headers:
    """As browsers and Prometheus do."""
    pair = base64.b64encode(":".join(key).encode()).decode()
    return (("authorization", f"Basic {pair}"),)


WAYS = (modal, bearer, secret_alone, basic)
WRONG: tuple[Headers, ...] = (
    (),
    *(way(CAROL) for way in WAYS),
    # A right secret under another name, or in pieces.
    modal((ALICE[0], BOB[1])),
    modal((ALICE[0], "")),
    (("modal-key", ALICE[0]),),
    (("modal-secret", ALICE[1]),),
    (("authorization", f"Bearer {ALICE[1][:-1]}"),),
    (("authorization", f"Digest {ALICE[0]}:{ALICE[1]}"),),
    (("authorization", "Basic !"),),
    (("authorization", "Bearer"),),
)


@dataclass
class Keyed:
    """A running server, its file of keys, and what it and its gateway have logged."""

    service: Service
    keys: Path
    log: Path

    def read_log(self) -> str:
        return self.log.read_text()


@contextlib.contextmanager
def run_keyed(folder: Path, *arguments: str) -> Iterator[Keyed]:
    """stt-serve with `FILE`, its gateway and its metrics; gRPC is served to other machines too."""
    keys, path = folder / "keys", folder / "log"
    keys.write_text(FILE)
    places = ("--grpc", f"{own_address()}:0", "--metrics", "127.0.0.1:0")
    keyed = ("--keys", str(keys), *places, *arguments)
    with path.open("w") as log, run_service(*keyed, log=log) as service:
        yield Keyed(service, keys, path)


@contextlib.asynccontextmanager
async def open_session(
    channel: grpc.aio.Channel, metadata: Headers, **config: Any
) -> AsyncIterator[Any]:
    """A session that is admitted; it is cancelled when the block ends."""
    call = stt_pb2_grpc.SpeechToTextServiceStub(channel).StreamingTranscribe(metadata=metadata)
    await call.write(request_config(**config))
    assert (await call.read()).HasField("ready")
    yield call
    call.cancel()
