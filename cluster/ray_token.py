"""Ray's doors, settled before Ray is imported: it reads these variables once, on import.

Ray 2.60 secures clusters of its own making with a token that it leaves at ~/.ray/auth_token; from then on `ray start`
turns authentication on unasked, and plain clients fail with a bare error. Our own cluster therefore gets a token of
ours, elsewhere, and a client of another cluster uses the token that is there.
"""

import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from shared.errors import UserError

OWN_TOKEN = Path("~/.headrace/ray_token")
RAYS_TOKEN = Path("~/.ray/auth_token")


class Token(NamedTuple):
    """A token as this process has it, and where from, in words."""

    value: str
    origin: str


def own_cluster_is_wanted() -> bool:
    """Whether this process starts its own Ray: there is no RAY_ADDRESS, or it says `local`."""
    return os.environ.get("RAY_ADDRESS", "local") in ("", "local")


def settle_ray_token(own_cluster: bool) -> None:
    """Sets RAY_AUTH_MODE and RAY_AUTH_TOKEN_PATH, unless the user has said how; before `import ray`.

    Raises:
        UserError: our own cluster needs a token and the home folder cannot hold it.
    """
    mode = os.environ.get("RAY_AUTH_MODE")
    if mode not in (None, "token"):
        return
    named = "RAY_AUTH_TOKEN" in os.environ or "RAY_AUTH_TOKEN_PATH" in os.environ
    if own_cluster and not named:
        os.environ["RAY_AUTH_TOKEN_PATH"] = str(_own_token())
        named = True
    if named or RAYS_TOKEN.expanduser().exists():
        os.environ["RAY_AUTH_MODE"] = "token"


def keep_to_loopback() -> None:
    """Makes a cluster of our own listen on loopback only; before `import ray`.

    The variable is Ray's switch between clusters that other machines can join and those that they cannot, which is its
    default on macOS and Windows; it works on Linux too (seen with Ray 2.60).
    """
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")


def give_time_to_start() -> None:
    """Lets the dashboard of a cluster of our own take 3 minutes to appear, where Ray gives 1; before `import ray`."""
    os.environ.setdefault("RAY_DASHBOARD_STARTUP_TIMEOUT_S", "180")


def token_in_use() -> Token | None:
    """What Ray sends from this process, found as Ray finds it; None when it sends none."""
    if os.environ.get("RAY_AUTH_MODE") != "token":
        return None
    if value := os.environ.get("RAY_AUTH_TOKEN"):
        return Token(value, "RAY_AUTH_TOKEN")
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or RAYS_TOKEN.expanduser())
    with suppress(OSError):
        return Token(path.read_text().strip(), _short(path))
    return None


def _own_token() -> Path:
    path = OWN_TOKEN.expanduser()
    try:
        if not path.exists():
            _create(path)
    except OSError as error:
        raise UserError(
            f"cannot keep the Ray cluster's token in {path} ({error.strerror}): set RAY_AUTH_TOKEN to a long random "
            "word, or RAY_AUTH_TOKEN_PATH to a file that holds one"
        ) from error
    return path


def _create(path: Path) -> None:
    """A new token at `path`, for its owner only; of two processes that do this at once, both get the first's."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(secrets.token_hex(32))
    with suppress(FileExistsError):
        os.link(draft, path)
    draft.unlink()


def _short(path: Path) -> str:
    """`~/.headrace/ray_token`."""
    with suppress(ValueError):
        return f"~/{path.relative_to(Path.home())}"
    return str(path)
