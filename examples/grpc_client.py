"""Transcribe a recording over gRPC with the generated stubs."""

import grpc
import soundfile

from stt.v1 import stt_pb2, stt_pb2_grpc


def requests():
    samples, rate = soundfile.read("client/recordings/01-jackson.wav", dtype="int16")
    config = stt_pb2.StreamingConfig(encoding="ENCODING_PCM_S16LE", sample_rate_hertz=rate)
    yield stt_pb2.StreamingTranscribeRequest(config=config)
    for start in range(0, len(samples), rate):
        yield stt_pb2.StreamingTranscribeRequest(audio=samples[start : start + rate].tobytes())


with grpc.insecure_channel("127.0.0.1:50051") as channel:
    stub = stt_pb2_grpc.SpeechToTextServiceStub(channel)
    for response in stub.StreamingTranscribe(requests()):
        if response.HasField("token"):
            print(response.token.text, end="", flush=True)
