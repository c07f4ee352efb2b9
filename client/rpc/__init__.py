"""Reaching the service over gRPC: addresses, trust, proxies, patience, true errors.

The gateway is a client of the service too, and this is all of the client that it imports.
"""
