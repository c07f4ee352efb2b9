"""Messages of gRPC core, which classify the statuses that it makes itself.

Such statuses carry no `google.rpc.ErrorInfo`, since the service did not send them. The files named
here are those of github.com/grpc/grpc.
"""

import re

# An answer of an HTTP edge: src/core/ext/filters/http/client/http_client_filter.cc
HTTP_STATUS = re.compile(r"Received http2 header with status: (\d{3})")

# src/core/ext/filters/message_size/message_size_filter.cc
MESSAGE_TOO_LARGE = re.compile(r"(?:Received|Sent) message larger than max")

# The other side reset the stream; which status that gives depends on the HTTP/2 error code:
# src/core/ext/transport/chttp2/transport/frame_rst_stream.cc
STREAM_RESET = re.compile(r"Received RST_STREAM with error code \d+")

# src/core/load_balancing/pick_first/pick_first.cc, src/core/resolver/dns, src/core/handshaker;
# the rest is the operating system's.
NO_CONNECTION = re.compile(
    r"failed to connect|connection refused|network is unreachable|no route to host|handshak|"
    r"dns (?:query|resolution)|errors resolving|hostname lookup",
    re.IGNORECASE,
)

# An answer that ends without saying how the call went, a web page for example:
# src/core/ext/transport/chttp2/transport/chttp2_transport.cc, src/core/lib/surface/call.cc
NO_STATUS = re.compile(r"Stream removed|No status received")
