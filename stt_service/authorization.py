"""Who may call the server: one check for every method, and for its metrics."""

from collections.abc import Iterable, Mapping

from stt_service.engine.allowance import Allowance
from stt_service.process.access import Access
from stt_service.process.keys import read_tokens
from stt_service.process.logs import get_logger
from stt_service.translation import Unauthenticated

# Orchestrators ask for health, and have no keys.
ALWAYS_OPEN = ("/grpc.health.v1.Health/",)
INFO = (
    "/grpc.reflection.v1alpha.ServerReflection/",
    "/grpc.reflection.v1.ServerReflection/",
    "/stt.v1.SpeechToTextService/GetServerInfo",
)

log = get_logger(__name__)


class Authorization:
    """Knows the keys, and what each of their callers has taken so far."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._allowances: dict[str, Allowance] = {}
        self._open = ALWAYS_OPEN + (INFO if access.open_info else ())
        access.warn_of_short_secrets(log)

    def admit(self, method: str, metadata: Iterable[tuple[str, str | bytes]]) -> Allowance:
        """What the caller of a method, /SERVICE/METHOD, may take. Raises Unauthenticated."""
        if self._access.keys is None or method.startswith(self._open):
            return Allowance()
        headers = {name: value for name, value in metadata if isinstance(value, str)}
        tokens = read_tokens(headers)
        key = self._access.find(tokens)
        if key is None:
            raise Unauthenticated(is_wrong=bool(tokens))
        allowance = self._allowances.get(key.name)
        if allowance is None:
            allowance = self._allowances[key.name] = Allowance(key.name, key.limits)
        # They may have been changed with the file.
        allowance.limits = key.limits
        return allowance

    def may_see_metrics(self, headers: Mapping[str, str]) -> bool:
        """Whether a request for metrics is answered. Names of headers are in lower case."""
        if self._access.keys is None or self._access.open_info:
            return True
        return self._access.find(read_tokens(headers)) is not None

    def reload(self) -> None:
        """Read the file of keys again. Sessions that are open go on, also those of a key that is
        gone."""
        self._access.reload(log)
