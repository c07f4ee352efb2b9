"""The addresses that are printed."""

from stt_service.deploy.modal_url import Addresses


def test_addresses_are_ready_to_paste() -> None:
    addresses = Addresses(
        gateway="https://acme--app-kyutaisttrustservice-serve.modal.run",
        pool="https://acme--app-speechtotext.us-east.modal.direct",
    )
    assert addresses.websocket == ("wss://acme--app-kyutaisttrustservice-serve.modal.run/v1/stream")
    assert addresses.grpcurl == (
        'grpcurl -H "modal-key: $MODAL_KEY" -H "modal-secret: $MODAL_SECRET" '
        "acme--app-speechtotext.us-east.modal.direct:443 "
        "stt.v1.SpeechToTextService/GetServerInfo"
    )
