"""Server reflection for services whose descriptors are in different pools."""

from collections.abc import Iterable
from typing import Any

import grpc
from google.protobuf.descriptor_pool import DescriptorPool
from google.rpc import error_details_pb2
from grpc_reflection.v1alpha import reflection, reflection_pb2

# The types of messages do not agree on what their descriptor is.
FileDescriptor = Any


def reflect(server: grpc.aio.Server, files: Iterable[FileDescriptor]) -> None:
    """List the services of the files, and describe them and the details of errors."""
    pool = DescriptorPool()
    listed: list[FileDescriptor] = [*files, reflection_pb2.DESCRIPTOR]
    for file in (*listed, error_details_pb2.DESCRIPTOR):
        add_file(pool, file)
    names = [service.full_name for file in listed for service in file.services_by_name.values()]
    reflection.enable_server_reflection(names, server, pool)


def add_file(pool: DescriptorPool, file: FileDescriptor) -> None:
    """Add a file after those that it imports; one that is there already is added again."""
    for imported in file.dependencies:
        add_file(pool, imported)
    pool.AddSerializedFile(file.serialized_pb)
