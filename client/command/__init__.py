"""What the commands share: arguments, environment, target, exit codes."""

import os

# gRPC's core writes failures of a connection to stderr; a command says them in one sentence.
# It reads this when it is imported, so it is set before anything of a command is.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
