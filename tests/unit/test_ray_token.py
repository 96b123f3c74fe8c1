import os
import stat
from pathlib import Path

import pytest

from cluster.ray_token import settle_ray_token, token_in_use
from shared.errors import UserError

VARIABLES = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own, and none of Ray's variables; what a test sets is undone."""
    for name in VARIABLES:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def keep_rays_token(home: Path) -> None:
    (home / ".ray").mkdir()
    (home / ".ray" / "auth_token").write_text("rays\n")


def test_own_cluster_gets_a_token_of_its_own_that_only_its_owner_reads(home: Path) -> None:
    keep_rays_token(home)
    settle_ray_token(own_cluster=True)
    token, path = token_in_use(), home / ".headrace" / "ray_token"
    assert token is not None and token.value == path.read_text() and len(token.value) == 64
    assert token.origin == "~/.headrace/ray_token"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [one.name for one in path.parent.iterdir()] == ["ray_token"]


def test_own_token_is_kept() -> None:
    settle_ray_token(own_cluster=True)
    first = token_in_use()
    os.environ.pop("RAY_AUTH_MODE"), os.environ.pop("RAY_AUTH_TOKEN_PATH")
    settle_ray_token(own_cluster=True)
    assert token_in_use() == first


def test_own_cluster_with_the_mode_alone_leaves_no_token_for_ray_start_to_find(home: Path) -> None:
    os.environ["RAY_AUTH_MODE"] = "token"
    settle_ray_token(own_cluster=True)
    assert os.environ["RAY_AUTH_TOKEN_PATH"] == str(home / ".headrace" / "ray_token")


def test_client_uses_rays_token_where_there_is_one(home: Path) -> None:
    keep_rays_token(home)
    settle_ray_token(own_cluster=False)
    assert os.environ["RAY_AUTH_MODE"] == "token"
    assert token_in_use() == ("rays", "~/.ray/auth_token")


def test_client_without_a_token_sends_none() -> None:
    settle_ray_token(own_cluster=False)
    assert "RAY_AUTH_MODE" not in os.environ and token_in_use() is None


def test_named_token_turns_the_mode_on() -> None:
    os.environ["RAY_AUTH_TOKEN"] = "mine"
    settle_ray_token(own_cluster=False)
    assert token_in_use() == ("mine", "RAY_AUTH_TOKEN")


def test_disabled_stays_disabled(home: Path) -> None:
    keep_rays_token(home)
    os.environ["RAY_AUTH_MODE"] = "disabled"
    settle_ray_token(own_cluster=True)
    assert token_in_use() is None and not (home / ".headrace").exists()


def test_home_that_cannot_hold_the_token_is_one_sentence(home: Path) -> None:
    (home / ".headrace").write_text("a file")
    with pytest.raises(UserError, match="set RAY_AUTH_TOKEN to a long random word"):
        settle_ray_token(own_cluster=True)
