"""What a client is told of steps and turns, which the client library's rules do not know."""

from __future__ import annotations

from gateway.inbox import Inbox
from gateway.protocols.codec import Command, End
from gateway.replay import Replay
from stt.v1 import stt_pb2
from tests.unit.gateway.protocols import events

FRAME_BYTES = 1920 * 4
STEP, UTTERANCE = stt_pb2.OPTIONAL_EVENT_STEP, stt_pb2.OPTIONAL_EVENT_UTTERANCE


async def start(*items: bytes | Command) -> Replay:
    """A session whose client has sent these items after its config."""
    inbox = Inbox(10**9)
    await inbox.put(stt_pb2.StreamingConfig(events=[STEP, UTTERANCE]))
    for item in items:
        await inbox.put(item)
    replay = Replay(inbox, 10**9)
    await replay.take_config()
    replay.begin(None)
    replay.accept(events.ready())
    return replay


async def take(replay: Replay) -> list[stt_pb2.StreamingTranscribeRequest]:
    requests: list[stt_pb2.StreamingTranscribeRequest] = []
    while (request := await replay.next_request()) is not None:
        requests.append(request)
    return requests


def tell(replay: Replay, *responses: events.Response) -> list[events.Response]:
    return [told for response in responses for told in replay.accept(response)]


async def test_the_service_is_asked_for_what_a_replay_needs():
    replay = await start()
    asked = set(replay.make_config().events)
    words, pings = stt_pb2.OPTIONAL_EVENT_WORD, stt_pb2.OPTIONAL_EVENT_PING
    assert asked == {STEP, UTTERANCE, words, pings}


async def test_a_config_stays_as_its_codec_made_it():
    config = stt_pb2.StreamingConfig(events=[STEP])
    inbox = Inbox(100)
    await inbox.put(config)
    replay = Replay(inbox, 100)
    await replay.take_config()
    replay.make_config().wait_for_slot.FromSeconds(3)
    assert config == stt_pb2.StreamingConfig(events=[STEP])


async def test_each_frame_has_one_step_over_a_break():
    replay = await start(bytes(20 * FRAME_BYTES), End())
    await take(replay)
    told = tell(replay, *(events.step(index) for index in range(10)))
    replay.begin("the connection broke")
    replay.accept(events.ready(session_id="s-2"))
    # Nothing was said, but the model's delay and its context are heard again: all of it, here.
    assert len(b"".join(request.audio for request in await take(replay))) == 20 * FRAME_BYTES
    told += tell(replay, *(events.step(index) for index in range(20)))
    assert [one.step.index for one in told] == list(range(20))
    ends = [one.processed_offset.ToMilliseconds() for one in told]
    assert ends == [80 * (index + 1) for index in range(20)]


async def test_steps_are_counted_on_where_only_the_rest_is_heard_again():
    replay = await start(*([bytes(FRAME_BYTES)] * 200), End())
    await take(replay)
    tell(replay, *(events.step(index) for index in range(150)))
    replay.begin("the connection broke")
    replay.accept(events.ready(session_id="s-2"))
    again = sum(len(request.audio) for request in await take(replay)) // FRAME_BYTES
    assert 50 < again < 120
    told = tell(replay, *(events.step(index) for index in range(again)))
    assert [one.step.index for one in told] == list(range(150, 200))
    assert told[-1].processed_offset.ToMilliseconds() == 200 * 80


async def test_silence_that_was_heard_is_forgotten_though_nothing_is_said():
    inbox = Inbox(10**9)
    await inbox.put(stt_pb2.StreamingConfig(events=[STEP]))
    replay = Replay(inbox, 10**9)
    await replay.take_config()
    replay.begin(None)
    replay.accept(events.ready())
    kept: list[int] = []
    for index in range(500):
        await inbox.put(bytes(FRAME_BYTES))
        await replay.next_request()
        replay.accept(events.step(index))
        kept.append(sum(map(len, replay._tape._blocks)))  # pyright: ignore[reportPrivateUsage]
    assert max(kept) < 80 * FRAME_BYTES


async def test_a_turn_over_a_break_has_each_of_its_words_once():
    replay = await start(bytes(100 * FRAME_BYTES), End())
    await take(replay)
    zero, one, two = (
        events.make_word(t, s, s + 0.4) for t, s in [("0", 0.5), ("1", 2.0), ("2", 3)]
    )
    before = tell(
        replay,
        events.token(" 0", 0.5, 1.0),
        events.Response(word=zero),
        events.utterance(zero, processed_s=1.5),
        events.token(" 1", 2.0, 2.5),
        events.Response(word=one),
    )
    replay.begin("the connection broke")
    replay.accept(events.ready(session_id="s-2"))
    await take(replay)
    after = tell(
        replay,
        events.token(" 0", 0.5, 1.0),
        events.Response(word=zero),
        # The turn that was told before the break is closed again.
        events.utterance(zero, processed_s=1.5),
        events.token(" 1", 2.0, 2.5),
        events.Response(word=one),
        events.token(" 2", 3.0, 3.5),
        events.Response(word=two),
        events.utterance(one, two, processed_s=4.5),
    )
    told = [response.utterance for response in before + after if response.HasField("utterance")]
    assert [turn.text for turn in told] == ["0", "1 2"]
    assert told[1].start_offset == one.start_offset
    assert told[1].end_offset == two.end_offset
    words = [response.word.text for response in before + after if response.HasField("word")]
    assert words == ["0", "1", "2"]


async def test_the_last_words_after_a_break_are_a_turn_too():
    replay = await start(bytes(100 * FRAME_BYTES), End())
    await take(replay)
    one = events.make_word("1", 0.5, 0.9)
    tell(replay, events.token(" 1", 0.5, 1.0), events.Response(word=one))
    replay.begin("the connection broke")
    replay.accept(events.ready(session_id="s-2"))
    replay.accept(events.Response(final=stt_pb2.Final(words=[one])))
    kinds = [response.WhichOneof("event") for response in replay.finish()]
    assert kinds == ["utterance", "final"]


async def test_changed_pauses_hold_from_where_they_were_changed():
    settings = stt_pb2.VadSettings(pause_seconds=1)
    audio = bytes(FRAME_BYTES)
    replay = await start(audio, settings, audio, End())
    sent = await take(replay)
    assert [request.WhichOneof("request") for request in sent] == ["audio", "vad", "audio"]
    replay.begin("the connection broke")
    assert await take(replay) == sent


async def test_a_session_whose_next_call_was_not_admitted_ends_with_what_was_heard():
    replay = await start(bytes(FRAME_BYTES), End())
    await take(replay)
    tell(replay, events.token(" 1", 0.0, 0.1))
    # As a service sends it that drains: what follows is a status, and nobody who admits.
    tell(replay, events.Response(final=stt_pb2.Final(words=[events.make_word("1", 0.0, 0.1)])))
    replay.make_config()
    [last] = replay.finish()
    assert [word.text for word in last.final.words] == ["1"]


async def test_another_config_replaces_the_call():
    opus = stt_pb2.StreamingConfig(encoding=stt_pb2.ENCODING_OGG_OPUS)
    replay = await start(stt_pb2.Flush(flush_id="f"), opus, b"OggS", End())
    requests = await take(replay)
    assert [request.flush.flush_id for request in requests] == ["f"]
    assert replay.is_reopened
    assert replay.make_config().encoding == stt_pb2.ENCODING_OGG_OPUS
    replay.begin(None)
    assert not replay.is_reopened
    requests = await take(replay)
    # A flush that nobody answered is asked for again.
    assert [request.WhichOneof("request") for request in requests] == ["flush", "audio"]


async def test_a_final_after_a_break_is_cut_where_the_services_own_would_be():
    replay = await start(bytes(FRAME_BYTES), End())
    await take(replay)
    replay.begin("the connection broke")
    replay.accept(events.ready(session_id="s-2"))
    long = "x" * 100_000
    for number in range(30):
        replay.accept(events.token(f" {long}", number, number))
        replay.accept(events.word(long, number, number + 0.5, number))
    assert replay.accept(events.final(30)) == []
    *_, told = replay.finish()
    assert told.final.is_cut
    assert 3_000_000 < told.ByteSize() < 4 * 1024 * 1024
    # The beginning of the words, and all of the text that is theirs.
    assert told.final.transcript == "".join(f" {word.text}" for word in told.final.words)


async def test_a_final_after_a_break_that_has_everything_is_not_cut():
    replay = await start(bytes(FRAME_BYTES), End())
    await take(replay)
    replay.begin("the connection broke")
    replay.accept(events.ready(session_id="s-2"))
    replay.accept(events.token(" one", 0.5, 1))
    replay.accept(events.word("one", 0.5, 0.9, 1))
    response = events.final(1)
    response.final.words.append(events.make_word("one", 0.5, 0.9))
    replay.accept(response)
    *_, told = replay.finish()
    assert (told.final.transcript, told.final.is_cut) == (" one", False)
