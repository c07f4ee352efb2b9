"""The gateway's connections to the service: the pool that the client library has too."""

from client.rpc.channels import MAX_STREAMS_PER_CHANNEL as MAX_SESSIONS_PER_CHANNEL
from client.rpc.channels import ChannelPool

__all__ = ["MAX_SESSIONS_PER_CHANNEL", "ChannelPool"]
