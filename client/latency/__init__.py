"""stt-latency: what it plays, measures, reports and draws."""
