"""Continuous batching of many speakers on one streaming model. Knows no gRPC and no Modal."""
