"""stt-demo: its server, its run, its view."""
