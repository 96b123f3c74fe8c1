"""Connections: errors are sentences, name the server, and never the password."""

import pickle
import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from shared import registry_connection
from shared.errors import RegistryError, RegistryUnreachable, UserError
from shared.registry import Registry
from shared.registry_connection import RegistryAddress, check_server, connect_registry, redact, registry_errors
from shared.registry_place import open_registry

NOWHERE = "redis://me:hunter2@127.0.0.1:1/0"


def test_server_that_is_away_is_named_without_the_password() -> None:
    with pytest.raises(RegistryUnreachable, match=r"the registry at redis://127.0.0.1:1 does not answer") as caught:
        check_server(RegistryAddress(NOWHERE))
    assert "hunter2" not in str(caught.value) + repr(caught.value.__cause__)


def test_calls_give_up_after_some_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    with connect_registry(NOWHERE, num_retries=2) as client, pytest.raises(RegistryUnreachable):
        Registry(client, "demo").snapshot()


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (NOWHERE, "redis://me:***@127.0.0.1:1/0"),
        ("rediss://:hunter2@host:6379", "rediss://:***@host:6379"),
        ("redis://host:6379/1?password=hunter2", "redis://host:6379/1"),
        ("redis://me:hunt@er2@host", "redis://me:***@host"),
        ("unix:///tmp/redis.sock", "unix:///tmp/redis.sock"),
    ],
)
def test_address_shows_no_password(url: str, shown: str) -> None:
    address = RegistryAddress(url)
    assert redact(url) == address.redacted == shown
    assert repr(address) == str(address) == f"RegistryAddress({shown!r})"
    assert pickle.loads(pickle.dumps(address)) == address


def test_wrong_password_is_the_users_to_mend(external_address: RegistryAddress) -> None:
    port = urlsplit(external_address.url).port
    for url in (f"redis://:wrong@127.0.0.1:{port}", f"redis://127.0.0.1:{port}"):
        with pytest.raises(
            UserError, match=f"the registry at redis://127.0.0.1:{port} refuses the user name or password"
        ):
            check_server(RegistryAddress(url))


def test_older_redis_is_refused(external_address: RegistryAddress, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry_connection, "server_version", lambda client: (6, 0, 16))
    with pytest.raises(UserError, match=r"is Redis 6.0.16; Headrace needs 6.2 or newer"):
        check_server(external_address)


def test_open_registry_checks_a_server_by_url(external_address: RegistryAddress, tmp_path: Path) -> None:
    with open_registry(external_address.url, tmp_path) as client:
        assert client.ping()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(RegistryUnreachable), open_registry(NOWHERE, tmp_path):
        raise AssertionError("no server is there")


def test_url_of_something_else_is_refused() -> None:
    with pytest.raises(UserError, match=r"must be a redis://, rediss:// or unix:// URL, got 'http://host'"):
        connect_registry("http://host")


def test_secret_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(RegistryUnreachable, match="cannot read the registry's password file"):
        connect_registry("unix:///tmp/none.sock", tmp_path / "secret")


def test_errors_of_redis_itself_are_worded(external_address: RegistryAddress) -> None:
    with external_address.connect() as client:
        with pytest.raises(RegistryError, match=r"refuses: .*WRONGTYPE|wrong kind of value"), registry_errors(client):
            client.set("headrace-test-text", "text")
            client.hgetall("headrace-test-text")
        with pytest.raises(RegistryUnreachable, match="cannot be used at the moment: MISCONF"), registry_errors(client):
            client.eval("return redis.error_reply('MISCONF disk full')", 0)


@pytest.mark.parametrize("word", ["OOM", "READONLY", "CLUSTERDOWN", "MASTERDOWN", "NOREPLICAS", "BUSY", "LOADING"])
def test_what_a_server_refuses_for_now_may_be_tried_again(external_address: RegistryAddress, word: str) -> None:
    with external_address.connect() as client, pytest.raises(RegistryUnreachable), registry_errors(client):
        client.eval(f"return redis.error_reply('{word} not at the moment')", 0)


def test_server_that_wants_tls_is_not_talked_to_in_the_open(secured_address: RegistryAddress) -> None:
    open_url = secured_address.url.replace("rediss://", "redis://").partition("?")[0]
    with pytest.raises(RegistryUnreachable, match="does not answer"):
        check_server(RegistryAddress(open_url))


def test_certificate_of_somebody_else_is_not_believed(secured_address: RegistryAddress) -> None:
    with pytest.raises(RegistryUnreachable, match=r"the registry at rediss://127.0.0.1:\d+ does not answer"):
        check_server(RegistryAddress(re.sub("ssl_ca_certs=[^&]*&", "", secured_address.url)))


def test_documented_user_has_no_rights_beyond_headraces_own_keys(secured_address: RegistryAddress) -> None:
    check_server(secured_address)
    with secured_address.connect() as client:
        for words in (["HGETALL", "other"], ["KEYS", "*"], ["FLUSHALL"], ["CONFIG", "GET", "*"], ["CLIENT", "LIST"]):
            with pytest.raises(RegistryError, match=r"refuses: .*(permission|NOPERM)"), registry_errors(client):
                client.execute_command(*words)
