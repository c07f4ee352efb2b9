"""stt-transcribe: its run, its view, and the documents that it writes."""
