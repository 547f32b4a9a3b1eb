"""The generated stubs against a running gateway.

``cargo xtask test`` starts one and sets GATEWAY_URL and DROMOS_API_KEY.
"""

import os
import uuid

import grpc
import pytest
from dromos import connect, error_reason
from dromos.v1 import connection_pb2, provider_pb2
from dromos.v1.connection_pb2_grpc import ConnectionServiceStub
from dromos.v1.provider_pb2_grpc import ProviderServiceStub

PROVIDER = "interop-py"
TIMEOUT = 20  # seconds


@pytest.fixture(scope="module")
def url():
    return os.environ["GATEWAY_URL"]


@pytest.fixture(scope="module")
def channel(url):
    with connect(url, os.environ["DROMOS_API_KEY"]) as channel:
        yield channel


@pytest.fixture(scope="module")
def connections(channel):
    return ConnectionServiceStub(channel)


@pytest.fixture(scope="module")
def providers(channel):
    return ProviderServiceStub(channel)


@pytest.fixture(scope="module")
def provider(providers):
    request = provider_pb2.CreateProviderRequest(
        provider=provider_pb2.Provider(
            name=PROVIDER,
            display_name="Interoperability",
            oauth2=provider_pb2.OAuth2(
                authorization_endpoint="https://login.example.com/authorize",
                token_endpoint="https://login.example.com/token",
                client_id="c",
                client_secret="made-up",
                scopes=["read"],
            ),
            strategy=connection_pb2.Strategy(type="oauth2"),
        )
    )
    return providers.CreateProvider(request, timeout=TIMEOUT)


def names(providers):
    listed = providers.ListProviders(provider_pb2.ListProvidersRequest(), timeout=TIMEOUT)
    return [provider.name for provider in listed.providers]


def test_a_created_provider_is_listed_and_keeps_its_secret(providers, provider):
    assert provider.id
    assert not provider.oauth2.HasField("client_secret")
    assert PROVIDER in names(providers)


def test_a_provider_is_created_once(providers, provider):
    request = provider_pb2.CreateProviderRequest(provider=provider)
    request.provider.oauth2.client_secret = "made-up"
    with pytest.raises(grpc.RpcError) as raised:
        providers.CreateProvider(request, timeout=TIMEOUT)
    assert raised.value.code() == grpc.StatusCode.ALREADY_EXISTS
    assert error_reason(raised.value) == "PROVIDER_EXISTS"


def test_a_requested_connection_is_pending(connections, provider):
    requested = connections.RequestConnection(
        connection_pb2.RequestConnectionRequest(
            user_id="user-1",
            provider_name=provider.name,
            return_url="http://127.0.0.1:9/done",
        ),
        timeout=TIMEOUT,
    )
    assert "/connect/" in requested.auth_url
    assert requested.provider_id == provider.id
    assert list(requested.scopes) == ["read"]

    checked = connections.CheckConnection(
        connection_pb2.CheckConnectionRequest(connection_id=requested.connection_id),
        timeout=TIMEOUT,
    )
    assert checked.connection_id == requested.connection_id
    assert checked.status == connection_pb2.Connection.PENDING


def test_an_unknown_connection_is_not_found_and_says_so_in_one_word(connections):
    unknown = connection_pb2.GetTokenRequest(connection_id=str(uuid.UUID(int=7 << 76 | 2 << 62)))
    with pytest.raises(grpc.RpcError) as raised:
        connections.GetToken(unknown, timeout=TIMEOUT)
    assert raised.value.code() == grpc.StatusCode.NOT_FOUND
    assert error_reason(raised.value) == "CONNECTION_NOT_FOUND"


@pytest.mark.parametrize("api_key", [None, "not-a-key"])
def test_without_a_key_that_is_known_nothing_is_answered(url, api_key):
    with connect(url, api_key) as channel, pytest.raises(grpc.RpcError) as raised:
        names(ProviderServiceStub(channel))
    assert raised.value.code() == grpc.StatusCode.UNAUTHENTICATED
    assert error_reason(raised.value) == "UNAUTHENTICATED"
