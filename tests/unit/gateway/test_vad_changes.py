from gateway.vad_changes import VadChanges
from stt.v1 import stt_pb2


def vad(pause_s: float) -> stt_pb2.VadSettings:
    return stt_pb2.VadSettings(pause_seconds=pause_s)


def send_all(changes: VadChanges) -> list[float]:
    sent: list[float] = []
    while changes.next is not None:
        sent.append(changes.next.vad.pause_seconds)
        changes.note_sent()
    return sent


def test_each_call_is_told_what_holds_after_its_beginning():
    changes = VadChanges()
    changes.add(100, vad(1))
    changes.add(200, vad(2))
    assert send_all(changes) == [1, 2]
    assert changes.settle(99) is None
    assert changes.settle(150) == vad(1)
    changes.send_again()
    assert send_all(changes) == [2]
    assert changes.settle(200) == vad(2)
    changes.send_again()
    assert send_all(changes) == []


def test_what_was_not_sent_is_not_settled():
    changes = VadChanges()
    changes.add(0, vad(1))
    assert changes.settle(1000) is None
    assert send_all(changes) == [1]


def test_of_several_at_one_place_the_last_holds_and_is_sent():
    changes = VadChanges()
    for pause_s in (1, 2, 3):
        changes.add(0, vad(pause_s))
        changes.note_sent()
    changes.add(0, vad(4))
    assert send_all(changes) == [4]
    assert changes.settle(0) == vad(4)


def test_a_new_config_says_it_anew():
    changes = VadChanges()
    changes.add(0, vad(1))
    changes.note_sent()
    changes.clear()
    assert changes.next is None
    assert changes.settle(10) is None
