"""Coverage-guided fuzzing of what strangers send: `uv run poe fuzz` (see CONTRIBUTING)."""
