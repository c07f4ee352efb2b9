"""Riva's configs and results, of the engine's own sessions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stt.nvidia_riva import riva_asr_pb2, riva_common_pb2
from stt_service.engine.errors import InvalidOptions
from stt_service.engine.events import Event, Final, Flushed, Pause, Step, Token, Utterance, Word
from stt_service.engine.options import SessionOptions
from stt_service.engine.pauses import VadOptions
from stt_service.engine.session import Update
from stt_service.riva_audio import AudioFormat
from stt_service.riva_translation import (
    STABILITY,
    StreamingResults,
    decode_streaming_options,
    decode_vad,
    encode_models,
    encode_recognition,
    read_config,
)
from tests.unit.engine.models import make_info

Config = riva_asr_pb2.RecognitionConfig
Request = riva_asr_pb2.StreamingRecognizeRequest
HELLO, YOU = Word("hello", 0.5, 0.75, 0.5), Word("you", 1.0, 1.25, 1.0)


def make_results(*, interim: bool = True, words: bool = True) -> StreamingResults:
    return StreamingResults(
        riva_asr_pb2.StreamingRecognitionConfig(
            config=Config(enable_word_time_offsets=words), interim_results=interim
        )
    )


def encode(
    results: StreamingResults, *events: Event
) -> list[riva_asr_pb2.StreamingRecognizeResponse]:
    responses = [results.encode(Update(event, 2.5, 0.0, None)) for event in events]
    return [response for response in responses if response is not None]


def tell(responses) -> list[tuple[str, bool]]:
    found = [response.results[0] for response in responses]
    return [(result.alternatives[0].transcript, result.is_final) for result in found]


def test_the_options_of_a_stream() -> None:
    config = Config(endpointing_config=riva_asr_pb2.EndpointingConfig(stop_history=320))
    options = decode_streaming_options(config, AudioFormat("mulaw", 8000), make_info())
    assert options == SessionOptions(
        encoding="mulaw",
        sample_rate_hertz=8000,
        vad=VadOptions(0.5),
        wait_for_slot_s=3.0,
        wants_utterances=True,
        idle_timeout_s=60.0,
    )


@pytest.mark.parametrize(
    ("heads", "stop_history", "pause_s"),
    [
        (4, None, 2.0),
        (4, -1, 2.0),
        (4, 320, 0.5),
        (4, 800, 1.0),
        (4, 1600, 2.0),
        (4, 2**31 - 1, 3.0),
        (0, None, 2.0),
        (0, 320, 0.32),
        (0, 2**31 - 1, 60.0),
    ],
)
def test_the_nearest_pause_that_the_model_can_find(
    heads: int, stop_history, pause_s: float
) -> None:
    info = make_info(heads=heads)
    config = Config(endpointing_config=riva_asr_pb2.EndpointingConfig(stop_history=stop_history))
    vad = decode_vad(config, info)
    assert vad == VadOptions(pause_s)
    vad.check_against(info)


def test_interim_results_grow_until_the_turn_is_final() -> None:
    results = make_results()
    responses = encode(
        results,
        Step(0, (), mid_word=False),
        Token(" hel", 0.5),
        Token("lo", 0.5),
        HELLO,
        Pause(0.8),
        Token(" you", 1.0),
        Utterance((HELLO,)),
        Token(" too", 1.5),
        Flushed("x"),
        Utterance((YOU,)),
        Final("hello you", (HELLO, YOU), 2.5),
    )
    assert tell(responses) == [
        ("hel", False),
        ("hello", False),
        ("hello you", False),
        ("hello ", True),
        # The first words of the next turn may be heard before the last one is closed.
        ("you too", False),
        ("you ", True),
    ]


def test_white_space_is_no_result() -> None:
    assert encode(make_results(), Token(" ", 0.5)) == []


def test_a_final_result_has_its_words() -> None:
    (response,) = encode(make_results(), Utterance((HELLO, YOU)))
    (result,) = response.results
    assert (result.is_final, result.stability, result.channel_tag) == (True, 0.0, 1)
    assert result.audio_processed == 2.5
    (alternative,) = result.alternatives
    assert (alternative.transcript, alternative.confidence) == ("hello you ", 0.75)
    assert [(w.word, w.start_time, w.end_time, w.confidence) for w in alternative.words] == [
        ("hello", 500, 750, 0.5),
        ("you", 1000, 1250, 1.0),
    ]


def test_an_interim_result_has_a_stability_and_no_words() -> None:
    (response,) = encode(make_results(), Token(" you", 1.0))
    (result,) = response.results
    assert not result.is_final
    assert result.stability == pytest.approx(STABILITY)
    assert result.stability < 1.0
    assert not result.alternatives[0].words


def test_only_what_was_asked_for() -> None:
    results = make_results(interim=False, words=False)
    (response,) = encode(results, Token(" hello", 0.5), HELLO, Utterance((HELLO,)))
    assert tell([response]) == [("hello ", True)]
    assert not response.results[0].alternatives[0].words


def test_the_latest_request_id_is_returned() -> None:
    results = make_results()
    (response,) = encode(results, Token(" a", 0.0))
    assert not response.HasField("id")
    results.note_request(Request(id=riva_common_pb2.RequestId(value="first")))
    results.note_request(Request(audio_content=b""))
    (response,) = encode(results, Token(" b", 0.0))
    assert response.id.value == "first"
    results.note_request(Request(id=riva_common_pb2.RequestId(value="second")))
    (response,) = encode(results, Utterance((HELLO,)))
    assert response.id.value == "second"


@given(st.lists(st.integers(1, 3), min_size=1, max_size=8), st.data())
def test_the_finals_are_the_words_and_no_interim_is_behind(turns: list[int], data) -> None:
    """Whenever a turn is closed, the interim text after it begins with the next one's."""
    words = [Word(f"w{n}", float(n), n + 0.5, 1.0) for n in range(sum(turns))]
    results, finals, said = make_results(), [], iter(words)
    early: list[Word] = []
    for size in turns:
        turn = [*early[:size]]
        early = early[size:]
        while len(turn) < size:
            turn.append(next(said))
            encode(results, Token(f" {turn[-1].text}", turn[-1].start_s))
        if not early and data.draw(st.booleans()) and (word := next(said, None)) is not None:
            early.append(word)
            encode(results, Token(f" {word.text}", word.start_s))
        finals += tell(encode(results, Utterance(tuple(turn))))
        # An empty piece shows what is kept.
        kept = tell(encode(results, Token("", 1e6)))
        assert kept == ([(early[0].text, False)] if early else [])
    assert (
        "".join(text for text, _ in finals).split() == [word.text for word in words][: sum(turns)]
    )


def test_a_whole_recording_is_one_result() -> None:
    request = riva_asr_pb2.RecognizeRequest(
        config=Config(enable_word_time_offsets=True), id=riva_common_pb2.RequestId(value="x")
    )
    response = encode_recognition(Final(" hello you", (HELLO, YOU), 2.5), request)
    (result,) = response.results
    assert result.alternatives[0].transcript == "hello you "
    assert [word.word for word in result.alternatives[0].words] == ["hello", "you"]
    assert (result.audio_processed, result.channel_tag, response.id.value) == (2.5, 1, "x")


def test_a_silent_recording_has_no_result() -> None:
    response = encode_recognition(Final("", (), 2.5), riva_asr_pb2.RecognizeRequest())
    assert response == riva_asr_pb2.RecognizeResponse()


@pytest.mark.parametrize(("asked", "count"), [("", 2), ("digits", 2), ("parakeet", 0)])
def test_the_model_is_listed_for_streams_and_for_recordings(asked: str, count: int) -> None:
    request = riva_asr_pb2.RivaSpeechRecognitionConfigRequest(model_name=asked)
    models = encode_models(request, "digits", "English digits", make_info()).model_config
    assert [model.model_name for model in models] == ["digits"] * count
    assert [model.parameters["type"] for model in models] == ["online", "offline"][:count]
    assert all(model.parameters["language_code"] == "multi" for model in models)


@pytest.mark.parametrize("request_", [None, Request(), Request(audio_content=b"x")])
def test_the_first_request_has_the_config(request_) -> None:
    with pytest.raises(InvalidOptions, match="streaming_config"):
        read_config(request_)
