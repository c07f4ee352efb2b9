"""The fuzzer's targets, without the fuzzer: well-formed inputs reach what they are for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stt_service.engine.frames import Framer
from stt_service.engine.ogg import PageReader
from tests.fuzz.__main__ import MAX_BYTES, RUNS
from tests.fuzz.targets import TARGETS, repair_checksums, seeds


@pytest.mark.parametrize("name", TARGETS)
@given(st.data())
def test_a_target_takes_any_bytes(name, data) -> None:
    seed = data.draw(st.sampled_from([b"", *seeds(name)]))
    cut = data.draw(st.integers(0, len(seed)))
    TARGETS[name](seed[:cut] + data.draw(st.binary(max_size=100)) + seed[cut:])


def test_every_target_has_its_share_of_a_million() -> None:
    assert RUNS.keys() == MAX_BYTES.keys() == TARGETS.keys()
    assert sum(RUNS.values()) == 1_000_000
    assert all(len(seed) <= MAX_BYTES[name] for name in TARGETS for seed in seeds(name))


def test_a_finding_is_an_exception(monkeypatch) -> None:
    monkeypatch.setattr(Framer, "cut_rest", lambda self: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        TARGETS["pcm"](b"\2\0\1some audio")


def test_repaired_pages_are_read() -> None:
    file = seeds("opus")[0][2:]
    whole = len(list(PageReader().read(file)))
    changed = bytearray(file)
    for page in range(1, whole):
        changed[list_pages(file)[page] + 22] ^= 1
    assert len(list(PageReader().read(bytes(changed)))) == 1
    assert len(list(PageReader().read(repair_checksums(bytes(changed))))) == whole


def list_pages(file: bytes) -> list[int]:
    return [at for at in range(len(file)) if file.startswith(b"OggS", at)]
