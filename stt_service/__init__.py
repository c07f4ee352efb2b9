"""Kyutai's streaming speech-to-text for many speakers at once, over gRPC."""

__version__ = "0.1.0"
