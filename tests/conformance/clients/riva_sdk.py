"""nvidia-riva-client, NVIDIA's SDK: a file at the pace of its audio, as its scripts send one."""

import asyncio

import riva.client
from conversation import FRAME_SAMPLES, RATE, Conversation, Report, run
from riva.client.proto.riva_asr_pb2 import StreamingRecognizeResponse


async def talk(conversation: Conversation, report: Report) -> None:
    auth = riva.client.Auth(
        uri=conversation.address,
        use_ssl=conversation.uses_tls,
        metadata_args=[["authorization", f"Bearer {conversation.key}"]],
    )
    config = riva.client.StreamingRecognitionConfig(
        config=riva.client.RecognitionConfig(
            encoding=riva.client.AudioEncoding.LINEAR_PCM,
            sample_rate_hertz=RATE,
            language_code="en-US",
            enable_word_time_offsets=True,
        ),
        interim_results=True,
    )
    riva.client.add_endpoint_parameters_to_config(config, -1, -1.0, 1000, -1, -1.0, -1.0)

    def listen() -> None:
        service = riva.client.ASRService(auth)
        with riva.client.AudioChunkFileIterator(
            conversation.path, FRAME_SAMPLES, riva.client.sleep_audio_length
        ) as audio:
            for response in service.streaming_response_generator(audio, config):
                note(response)

    def note(response: StreamingRecognizeResponse) -> None:
        for result in response.results:
            best = result.alternatives[0]
            if result.is_final:
                report.finals.append(best.transcript)
                report.starts_s += [word.start_time / 1000 for word in best.words]
            else:
                report.partials.append(best.transcript)

    # NVIDIA's SDK knows no asyncio.
    await asyncio.to_thread(listen)


run(talk)
