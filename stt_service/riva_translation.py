"""Between Riva's messages and the engine: configs to options, events to results. Pure."""

from collections.abc import Iterable
from statistics import fmean

from stt.nvidia_riva import riva_asr_pb2, riva_common_pb2
from stt_service.engine.errors import InvalidOptions
from stt_service.engine.events import Final, Token, Utterance, Word
from stt_service.engine.model import ModelInfo
from stt_service.engine.options import SessionOptions
from stt_service.engine.pauses import MAX_PAUSE_S, VadOptions
from stt_service.engine.session import Update
from stt_service.riva_audio import AudioFormat

# Clients that send no silence while nobody speaks are used to so much patience: pipecat sends some
# after 30 s.
IDLE_TIMEOUT_S = 60.0
# As long as the gateway's clients wait. pipecat asks again without a pause where it is refused, and
# loses some audio to each call that failed.
WAIT_FOR_SLOT_S = 3.0
# Text is only ever appended. It is not 1, by which Riva announces an end of utterance early.
STABILITY = 0.9

Config = riva_asr_pb2.RecognitionConfig
Request = riva_asr_pb2.StreamingRecognizeRequest
Response = riva_asr_pb2.StreamingRecognizeResponse


def decode_streaming_options(config: Config, audio: AudioFormat, info: ModelInfo) -> SessionOptions:
    """What the caller of StreamingRecognize asks for, as far as there is such a thing here."""
    return SessionOptions(
        encoding=audio.encoding,
        sample_rate_hertz=audio.sample_rate_hertz,
        vad=decode_vad(config, info),
        wants_utterances=True,
        idle_timeout_s=IDLE_TIMEOUT_S,
        wait_for_slot_s=WAIT_FOR_SLOT_S,
    )


def decode_vad(config: Config, info: ModelInfo) -> VadOptions:
    """The pause nearest to `stop_history` of those that the model can find."""
    pause_s = config.endpointing_config.stop_history / 1000
    if pause_s <= 0:
        return VadOptions()
    if info.has_semantic_vad:
        return VadOptions(min(info.pause_heads_s, key=lambda head_s: abs(head_s - pause_s)))
    return VadOptions(min(pause_s, MAX_PAUSE_S))


class StreamingResults:
    """Turns a session's events into the results of StreamingRecognize.

    An interim result has the text since the last final one; a final one has the words of a turn.
    """

    def __init__(self, config: riva_asr_pb2.StreamingRecognitionConfig) -> None:
        self._wants_interim = config.interim_results
        self._wants_words = config.config.enable_word_time_offsets
        # The pieces since the last final result.
        self._tokens: list[Token] = []
        self._request_id: riva_common_pb2.RequestId | None = None

    def note_request(self, request: Request) -> None:
        """Answer with this request's id from now on, if it has one."""
        if request.HasField("id"):
            self._request_id = request.id

    def encode(self, update: Update) -> Response | None:
        """The response for an update, or None if there is nothing to say."""
        match update.event:
            case Token() if self._wants_interim:
                self._tokens.append(update.event)
                return self._encode_interim(update.processed_s)
            case Utterance(words):
                # The first pieces of the next turn may have come before this one was closed.
                self._tokens = [t for t in self._tokens if t.start_s > words[-1].start_s]
                alternative = encode_alternative(update.event.text, words, self._wants_words)
                return self._encode(alternative, update.processed_s, is_final=True)
            case _:
                return None

    def _encode_interim(self, processed_s: float) -> Response | None:
        text = "".join(token.text for token in self._tokens).strip()
        if not text:
            return None
        alternative = riva_asr_pb2.SpeechRecognitionAlternative(transcript=text)
        return self._encode(alternative, processed_s, is_final=False)

    def _encode(
        self,
        alternative: riva_asr_pb2.SpeechRecognitionAlternative,
        processed_s: float,
        *,
        is_final: bool,
    ) -> Response:
        result = riva_asr_pb2.StreamingRecognitionResult(
            alternatives=[alternative],
            is_final=is_final,
            stability=0.0 if is_final else STABILITY,
            channel_tag=1,
            audio_processed=processed_s,
        )
        return Response(results=[result], id=self._request_id)


def encode_recognition(
    final: Final, request: riva_asr_pb2.RecognizeRequest
) -> riva_asr_pb2.RecognizeResponse:
    """The answer to Recognize: one result, or none if nothing was said."""
    response = riva_asr_pb2.RecognizeResponse(id=request.id if request.HasField("id") else None)
    if final.words:
        wants_words = request.config.enable_word_time_offsets
        alternative = encode_alternative(final.transcript.strip(), final.words, wants_words)
        response.results.add(
            alternatives=[alternative], channel_tag=1, audio_processed=final.audio_duration_s
        )
    return response


def encode_alternative(
    text: str, words: Iterable[Word], wants_words: bool
) -> riva_asr_pb2.SpeechRecognitionAlternative:
    """The one alternative of a final result; the space at its end is Riva's, for who joins them."""
    words = tuple(words)
    return riva_asr_pb2.SpeechRecognitionAlternative(
        transcript=f"{text} ",
        confidence=fmean(word.confidence for word in words),
        words=map(encode_word, words) if wants_words else (),
    )


def encode_word(word: Word) -> riva_asr_pb2.WordInfo:
    return riva_asr_pb2.WordInfo(
        word=word.text,
        start_time=round(word.start_s * 1000),
        end_time=round(word.end_s * 1000),
        confidence=word.confidence,
    )


def encode_models(
    request: riva_asr_pb2.RivaSpeechRecognitionConfigRequest,
    model_name: str,
    description: str,
    info: ModelInfo,
) -> riva_asr_pb2.RivaSpeechRecognitionConfigResponse:
    """The model twice, as Riva lists its own: for streams and for recordings."""
    response = riva_asr_pb2.RivaSpeechRecognitionConfigResponse()
    if request.model_name in ("", model_name):
        for kind in ("online", "offline"):
            parameters = {
                "type": kind,
                "streaming": str(kind == "online"),
                # Riva's word for a model that hears which language is spoken.
                "language_code": "multi",
                "sample_rate": str(info.sample_rate_hertz),
                "description": description,
            }
            response.model_config.add(model_name=model_name, parameters=parameters)
    return response


def read_config(request: Request | None) -> riva_asr_pb2.StreamingRecognitionConfig:
    """The first request's config. Raises InvalidOptions if it has none."""
    if request is None or request.WhichOneof("streaming_request") != "streaming_config":
        raise InvalidOptions(
            "streaming_config", "the first message must carry the streaming_config"
        )
    return request.streaming_config
