from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from cluster.ray_door import GREETING, check_door
from shared.errors import UserError


class Gcs(grpc.GenericRpcHandler):
    """Answers the greeting as Ray's GCS does that wants `token`."""

    token: str | None = "right"

    def service(self, call: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        if call.method != GREETING:
            return None
        sent = dict(call.invocation_metadata).get("authorization")
        return grpc.unary_unary_rpc_method_handler(lambda _, context: self._answer(sent, context))

    def _answer(self, sent: str | None, context: grpc.ServicerContext) -> bytes:
        if self.token is not None and sent != f"Bearer {self.token}":
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "InvalidAuthToken")
        return b""


@pytest.fixture
def gcs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[tuple[str, Gcs]]:
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    handler, server = Gcs(), grpc.server(ThreadPoolExecutor(1))
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}", handler
    server.stop(None).wait(5)


def send(monkeypatch: pytest.MonkeyPatch, token: str) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", token)


def test_the_right_token_is_let_in(gcs: tuple[str, Gcs], monkeypatch: pytest.MonkeyPatch) -> None:
    send(monkeypatch, "right")
    check_door(gcs[0])


def test_a_cluster_without_tokens_lets_all_in(gcs: tuple[str, Gcs]) -> None:
    gcs[1].token = None
    check_door(gcs[0])


def test_no_token_is_told_where_to_find_it(gcs: tuple[str, Gcs]) -> None:
    with pytest.raises(UserError, match=f"{gcs[0]} asks for a token: set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH"):
        check_door(gcs[0])


def test_a_wrong_token_is_told_where_it_came_from(gcs: tuple[str, Gcs], monkeypatch: pytest.MonkeyPatch) -> None:
    send(monkeypatch, "wrong")
    with pytest.raises(UserError, match="refuses the token from RAY_AUTH_TOKEN"):
        check_door(gcs[0])


def test_a_closed_port_is_no_cluster() -> None:
    with pytest.raises(UserError, match=r"no Ray cluster answers at 127\.0\.0\.1:9"):
        check_door("127.0.0.1:9")


def test_a_server_that_does_not_know_the_call_is_left_to_ray(
    gcs: tuple[str, Gcs], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cluster.ray_door.GREETING", "/ray.rpc.Another/Call")
    check_door(gcs[0])


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("http://head:8265", "is a dashboard: use headrace submit --address http://head:8265"),
        ("ray://head:10001", "is Ray Client's: use headrace submit"),
        ("head", "is not HOST:PORT"),
    ],
)
def test_an_address_of_another_kind_is_told_what_it_is(address: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        check_door(address)
