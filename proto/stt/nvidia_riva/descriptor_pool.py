"""The descriptors of NVIDIA's files, apart from protobuf's default pool.

That pool takes a file name once, and nvidia-riva-client puts files of the same names into it, whose
content differs from release to release. The generated stubs call this module in its place.
"""

from google.protobuf.descriptor_pool import DescriptorPool

_POOL = DescriptorPool()


def Default() -> DescriptorPool:
    """The pool of the stubs in this package; the name is that of protobuf's module."""
    return _POOL
