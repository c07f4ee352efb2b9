"""Transcribe a recording with the client library, without asyncio."""

from client import BlockingSttClient, WebSocketSttClient

with BlockingSttClient(WebSocketSttClient("ws://127.0.0.1:8000")) as client:
    final = client.transcribe_file("client/recordings/01-jackson.wav")
    for word in final.words:
        print(f"{word.start_s:5.2f} to {word.end_s:5.2f} s  {word.text}")
