"""What fuzzers of real sockets change in a message that was right."""

import random


def mutate(chance: random.Random, message: bytes) -> bytes:
    """The message, with no, one or three of its bytes replaced or more bytes put in between."""
    mutated = bytearray(message)
    for _ in range(chance.choice((0, 0, 1, 3))):
        place = chance.randrange(len(mutated) + 1)
        mutated[place : place + chance.randrange(2)] = chance.randbytes(1)
    return bytes(mutated)
