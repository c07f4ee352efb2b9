"""How each process of ours starts, reads what it is told, listens, logs and ends.

Shared by the server, the gateway and the commands of the client. It imports none of them, and is
all of this package that they import.
"""
