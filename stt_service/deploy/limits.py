"""What each container on Modal may use, how many there may be, and how long they live."""

MINUTE_S = 60
MAX_CONTAINERS = 10
SCALEDOWN_WINDOW_S = 60
# The 2.6B model's 6 GB, fetched at a start that finds the volume empty, and the warm-up.
STARTUP_TIMEOUT_S = 20 * MINUTE_S
GATEWAY_STARTUP_TIMEOUT_S = 2 * MINUTE_S
JOB_TIMEOUT_S = 60 * MINUTE_S
# A container that has to go gets no new sessions, but those in it may go on for so long, the most
# that Modal takes. SIGTERM, and PoolMember.drain, come after it.
EXIT_GRACE_PERIOD_S = 60 * MINUTE_S
# One WebSocket is one call of the gateway's function, which Modal ends after this time.
MAX_SESSION_S = 4 * 60 * MINUTE_S
SOCKETS_PER_GATEWAY = 100
# From here on another gateway starts, so that the one who comes next need not wait for it.
TARGET_SOCKETS = 75
# Reserved, so that no neighbour makes a step late; one core is the model thread's.
POOL_CPU_CORES = 2.0
POOL_MEMORY_MIB = 8 * 1024
# Measured on two cores: a hundred live sockets take 92 MB and a fifth of a core, a hundred callers
# who wait for 30 s of a cold start 442 MB, as their audio is kept.
GATEWAY_CPU_CORES = 1.0
GATEWAY_MEMORY_MIB = 1024
# Imports torch, which takes 515 MB, to see that it is a checkpoint that can be served.
FETCH_CPU_CORES = 1.0
FETCH_MEMORY_MIB = 2 * 1024
