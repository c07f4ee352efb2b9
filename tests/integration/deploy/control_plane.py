"""Modal's control plane on loopback: it remembers what a real `modal deploy` registers.

It answers the calls that a deployment makes, builds no image and runs no container. Addresses
follow the rules that Modal documents. What is remembered are the SDK's own messages.
"""

import asyncio
import contextlib
import hashlib
import re
import socket
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import grpclib
import grpclib.server
from google.protobuf import json_format
from google.protobuf.empty_pb2 import Empty
from modal_proto import api_grpc, api_pb2

WORKSPACE = "acme"
TOKEN = ("ak-loopback", "as-loopback")
MAX_HOST_LABEL = 63


def host_label(workspace: str, name: str) -> str:
    """What is too long is cut: https://modal.com/docs/guide/webhook-urls, "Truncation"."""
    label = f"{workspace}--{re.sub(r'[^a-z0-9]+', '-', name.lower()).strip('-')}"
    if len(label) <= MAX_HOST_LABEL:
        return label
    return f"{label[:56]}-{hashlib.sha256(label.encode()).hexdigest()[:6]}"


@dataclass
class Registered:
    """Everything that was registered, by Modal's ids."""

    app_names: dict[str, str] = field(default_factory=dict)
    tags: dict[str, dict[str, str]] = field(default_factory=dict)
    """Object ids by name, for each published app."""
    functions: dict[str, api_pb2.FunctionData] = field(default_factory=dict)
    apps_of_functions: dict[str, str] = field(default_factory=dict)
    images: dict[str, api_pb2.Image] = field(default_factory=dict)
    build_functions: dict[str, str] = field(default_factory=dict)
    secrets: dict[str, dict[str, str]] = field(default_factory=dict)
    volumes: dict[str, str] = field(default_factory=dict)
    mounts: dict[str, list[str]] = field(default_factory=dict)
    """Paths in the container, for each mount."""

    def function(self, name: str) -> api_pb2.FunctionData:
        """The one function, class or server of this name."""
        [found] = [data for data in self.functions.values() if data.function_name == name]
        return found

    def definition(self, name: str) -> api_pb2.Function:
        """Its resources: GPU, image, volumes, secrets, mounts."""
        return self.function(name).ranked_functions[0].function

    def volumes_of(self, name: str) -> dict[str, tuple[str, bool]]:
        """Mount path to the volume's name and whether it is mounted read-only."""
        names = {volume_id: volume for volume, volume_id in self.volumes.items()}
        mounts = self.definition(name).volume_mounts
        return {mount.mount_path: (names[mount.volume_id], mount.read_only) for mount in mounts}

    def secrets_of(self, name: str) -> dict[str, str]:
        """All variables that come from secrets."""
        ids = self.definition(name).secret_ids
        return {key: value for secret in ids for key, value in self.secrets[secret].items()}

    def files_of(self, name: str) -> set[str]:
        """Paths that lie in the container when its code runs."""
        mounts = self.definition(name).mount_ids
        return {path for mount in mounts for path in self.mounts.get(mount, [])}

    def layers_of(self, name: str) -> list[api_pb2.Image]:
        """The image's layers, the base first."""
        layers: list[api_pb2.Image] = []
        image_id = self.definition(name).image_id
        while image_id:
            image = self.images[image_id]
            layers.append(image)
            image_id = image.base_images[0].image_id if image.base_images else ""
        return layers[::-1]

    def commands_of(self, name: str) -> list[str]:
        """The image's Dockerfile commands, all layers."""
        return [command for layer in self.layers_of(name) for command in layer.dockerfile_commands]


def _refuse(name: str) -> Callable[..., Any]:
    async def call(_self: object, stream: grpclib.server.Stream[Any, Any]) -> None:
        await stream.recv_message()
        raise grpclib.GRPCError(grpclib.Status.UNIMPLEMENTED, f"{name} is not answered here")

    return call


def _answer(answer: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    """A unary call from a function of the request."""

    async def call(self: object, stream: grpclib.server.Stream[Any, Any]) -> None:
        await stream.send_message(answer(self, await stream.recv_message()))

    return call


_EverythingRefused: type[Any] = type(
    "_EverythingRefused",
    (api_grpc.ModalClientBase,),
    {name: _refuse(name) for name in api_grpc.ModalClientBase.__abstractmethods__},
)


class ControlPlane(_EverythingRefused):
    """Answers what `modal deploy` and the look-ups of deployed objects ask."""

    def __init__(self, workspace: str = WORKSPACE) -> None:
        self.registered = Registered()
        self._workspace = workspace

    ClientHello = _answer(lambda _self, _request: api_pb2.ClientHelloResponse())
    AppHeartbeat = _answer(lambda _self, _request: Empty())
    AppClientDisconnect = _answer(lambda _self, _request: Empty())
    AppSetTags = _answer(lambda _self, _request: Empty())
    MountPutFile = _answer(lambda _self, _request: api_pb2.MountPutFileResponse(exists=True))
    MountBatchedCheckExistence = _answer(
        lambda _self, _request: api_pb2.MountBatchedCheckExistenceResponse()
    )

    @_answer
    def EnvironmentGetOrCreate(self, request: Any) -> Any:
        metadata = api_pb2.EnvironmentMetadata(name=request.deployment_name or "main")
        return api_pb2.EnvironmentGetOrCreateResponse(environment_id="en-1", metadata=metadata)

    @_answer
    def AppGetByDeploymentName(self, request: Any) -> Any:
        ids = [i for i, name in self.registered.app_names.items() if name == request.name]
        return api_pb2.AppGetByDeploymentNameResponse(app_id=ids[0] if ids else "")

    @_answer
    def AppCreate(self, request: Any) -> Any:
        app_id = f"ap-{len(self.registered.app_names) + 1}"
        self.registered.app_names[app_id] = request.description
        return api_pb2.AppCreateResponse(app_id=app_id)

    @_answer
    def AppPublish(self, request: Any) -> Any:
        self.registered.app_names[request.app_id] = request.name
        self.registered.tags[request.app_id] = {**request.function_ids, **request.class_ids}
        return api_pb2.AppPublishResponse(
            url=f"https://modal.invalid/{request.app_id}", deployed_at=time.time()
        )

    @_answer
    def ImageGetOrCreate(self, request: Any) -> Any:
        images = self.registered.images
        known = [image_id for image_id, image in images.items() if image == request.image]
        image_id = known[0] if known else f"im-{len(images) + 1}"
        images[image_id] = request.image
        self.registered.build_functions[image_id] = request.build_function_id
        return api_pb2.ImageGetOrCreateResponse(
            image_id=image_id,
            metadata=api_pb2.ImageMetadata(image_builder_version=request.builder_version),
            result=api_pb2.GenericResult(status=api_pb2.GenericResult.GENERIC_STATUS_SUCCESS),
        )

    @_answer
    def MountGetOrCreate(self, request: Any) -> Any:
        mount_id = f"mo-{len(self.registered.mounts) + 1}"
        self.registered.mounts[mount_id] = [file.filename for file in request.files]
        metadata = api_pb2.MountHandleMetadata(content_checksum_sha256_hex=mount_id)
        return api_pb2.MountGetOrCreateResponse(mount_id=mount_id, handle_metadata=metadata)

    @_answer
    def SecretGetOrCreate(self, request: Any) -> Any:
        secret_id = f"st-{len(self.registered.secrets) + 1}"
        self.registered.secrets[secret_id] = dict(request.env_dict)
        return api_pb2.SecretGetOrCreateResponse(secret_id=secret_id)

    @_answer
    def VolumeGetOrCreate(self, request: Any) -> Any:
        volumes = self.registered.volumes
        volume_id = volumes.setdefault(request.deployment_name, f"vo-{len(volumes) + 1}")
        metadata = api_pb2.VolumeMetadata(name=request.deployment_name)
        return api_pb2.VolumeGetOrCreateResponse(volume_id=volume_id, metadata=metadata)

    @_answer
    def FunctionPrecreate(self, request: Any) -> Any:
        function_id = request.existing_function_id or self._new_function_id()
        metadata = self._handle(request.app_id, request)
        return api_pb2.FunctionPrecreateResponse(function_id=function_id, handle_metadata=metadata)

    @_answer
    def FunctionCreate(self, request: Any) -> Any:
        function_id = request.existing_function_id or self._new_function_id()
        data = self._complete(request.function, request.function_data)
        self.registered.functions[function_id] = data
        self.registered.apps_of_functions[function_id] = request.app_id
        self._name_addresses(self.registered.app_names[request.app_id], data)
        return api_pb2.FunctionCreateResponse(
            function_id=function_id,
            function=data.ranked_functions[0].function,
            function_data=data,
            handle_metadata=self._handle(request.app_id, data),
        )

    @_answer
    def FunctionGet(self, request: Any) -> Any:
        function_id = self._find(request.app_name, request.object_tag)
        data = self.registered.functions[function_id]
        app_id = self.registered.apps_of_functions[function_id]
        return api_pb2.FunctionGetResponse(
            function_id=function_id,
            function=data,
            handle_metadata=self._handle(app_id, data),
        )

    @_answer
    def ClassCreate(self, request: Any) -> Any:
        return api_pb2.ClassCreateResponse(class_id="cs-1")

    @_answer
    def ClassGet(self, request: Any) -> Any:
        return api_pb2.ClassGetResponse(class_id=self._find(request.app_name, request.object_tag))

    def _new_function_id(self) -> str:
        self._functions = getattr(self, "_functions", 0) + 1
        return f"fu-{self._functions}"

    def _find(self, app_name: str, tag: str) -> str:
        for app_id, name in self.registered.app_names.items():
            if name == app_name and tag in self.registered.tags.get(app_id, {}):
                return self.registered.tags[app_id][tag]
        raise grpclib.GRPCError(grpclib.Status.NOT_FOUND, f"no {tag!r} in app {app_name!r}")

    @staticmethod
    def _complete(function: Any, data: Any) -> api_pb2.FunctionData:
        """What comes with one GPU only is a Function; a FunctionData names its fields the same."""
        if data.ranked_functions:
            return data
        completed = api_pb2.FunctionData()
        fields = json_format.MessageToDict(function)
        json_format.ParseDict(fields, completed, ignore_unknown_fields=True)
        completed.ranked_functions.add(function=function)
        return completed

    def _handle(self, app_id: str, data: Any) -> api_pb2.FunctionHandleMetadata:
        """What a client is told of a function: the addresses of its methods and server."""
        app = self.registered.app_names[app_id]
        methods = {
            name: api_pb2.FunctionHandleMetadata(
                function_name=method.function_name,
                function_type=method.function_type,
                is_method=True,
                use_method_name=name,
                app_id=app_id,
                web_url=self._web_url(app, data, name, method),
            )
            for name, method in data.method_definitions.items()
        }
        return api_pb2.FunctionHandleMetadata(
            function_name=data.function_name,
            function_type=data.function_type,
            app_id=app_id,
            method_handle_metadata=methods,
            _experimental_flash_urls=self._server_urls(app, data),
        )

    def _name_addresses(self, app: str, data: api_pb2.FunctionData) -> None:
        """Fill in what the deploy command prints."""
        echo = data.ranked_functions[0].function
        for name, method in data.method_definitions.items():
            method.web_url = self._web_url(app, data, name, method)
            echo.method_definitions[name].web_url = method.web_url

    def _web_url(self, app: str, data: Any, name: str, method: Any) -> str:
        own = f"{app}-{data.function_name.removesuffix('.*')}-{name}"
        label = host_label(self._workspace, method.webhook_config.requested_suffix or own)
        return f"https://{label}.modal.run"

    def _server_urls(self, app: str, data: Any) -> list[str]:
        regions = getattr(getattr(data, "http_config", None), "proxy_regions", [])
        label = host_label(self._workspace, f"{app}-{data.function_name}")
        return [f"https://{label}.{region}.modal.direct" for region in regions]


@contextlib.asynccontextmanager
async def serve(control_plane: ControlPlane) -> AsyncIterator[str]:
    """Listen on loopback while the block runs; the URL for MODAL_SERVER_URL."""
    listening = socket.create_server(("127.0.0.1", 0))
    server = grpclib.server.Server([control_plane])
    await server.start(sock=listening)
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.close()
        await asyncio.wait_for(server.wait_closed(), 5)
