"""A client for Dromos, the credential broker.

The generated messages and stubs are in ``dromos.v1``; this module holds what
every caller of them needs besides.
"""

from collections.abc import Sequence

import grpc
from google.rpc import error_details_pb2, status_pb2

__all__ = ["connect", "error_reason"]

_STATUS_DETAILS = "grpc-status-details-bin"


class _ApiKey(grpc.AuthMetadataPlugin):
    def __init__(self, api_key: str) -> None:
        self._metadata = (("authorization", f"Bearer {api_key}"),)

    def __call__(self, context, callback) -> None:
        callback(self._metadata, None)


class _PlaintextApiKey(grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor):
    """The same for plaintext channels, which take no call credentials."""

    def __init__(self, api_key: str) -> None:
        self._entry = ("authorization", f"Bearer {api_key}")

    def _with_key(self, details: grpc.ClientCallDetails) -> grpc.ClientCallDetails:
        return _CallDetails(details, [*(details.metadata or ()), self._entry])

    def intercept_unary_unary(self, continuation, client_call_details, request):
        return continuation(self._with_key(client_call_details), request)

    def intercept_unary_stream(self, continuation, client_call_details, request):
        return continuation(self._with_key(client_call_details), request)


class _CallDetails(grpc.ClientCallDetails):
    def __init__(self, of: grpc.ClientCallDetails, metadata: Sequence[tuple[str, str]]) -> None:
        self.method = of.method
        self.timeout = of.timeout
        self.metadata = metadata
        self.credentials = of.credentials
        self.wait_for_ready = of.wait_for_ready
        self.compression = of.compression


def connect(url: str, api_key: str | None = None) -> grpc.Channel:
    """Open a channel to a gateway.

    ``url`` is ``https://host[:port]``, or ``http://…`` for a gateway on this
    machine: a key sent in plaintext is anybody's. Without ``api_key`` only
    what needs no key can be called.
    """
    scheme, _, target = url.rstrip("/").partition("://")
    if scheme == "https":
        credentials = grpc.ssl_channel_credentials()
        if api_key is not None:
            key = grpc.metadata_call_credentials(_ApiKey(api_key))
            credentials = grpc.composite_channel_credentials(credentials, key)
        return grpc.secure_channel(target, credentials)
    if scheme == "http":
        channel = grpc.insecure_channel(target)
        if api_key is None:
            return channel
        return grpc.intercept_channel(channel, _PlaintextApiKey(api_key))
    raise ValueError(f"a gateway's URL begins with https:// or http://, not {scheme!r}")


def error_reason(error: grpc.RpcError) -> str | None:
    """Tell why a call failed in one machine-readable word.

    For instance ``CONNECTION_NOT_FOUND``: the reason of the error's
    google.rpc.ErrorInfo in the domain "dromos", if it has one.
    """
    for name, value in error.trailing_metadata() or ():
        if name != _STATUS_DETAILS:
            continue
        for detail in status_pb2.Status.FromString(value).details:
            info = error_details_pb2.ErrorInfo()
            if detail.Unpack(info) and info.domain == "dromos":
                return info.reason
    return None
