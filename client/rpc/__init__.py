"""Reaching the service over gRPC, and not losing a word when a connection breaks.

Addresses, trust, proxies, patience, true errors; typed events, replay. The gateway is a client of
the service too, and this is all of the client that it imports.
"""
