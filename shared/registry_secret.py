"""The password of a registry that somebody else runs, kept apart from its URL.

A URL without it may be shown: in `job.yaml`, in the registry, to everyone who may see the run. The password itself
stays in the job file that its owner wrote, or in the file that `?password_file=FILE` names; beside `job.yaml` lies a
copy that only its owner can read, for commands that are given a run folder.
"""

from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit

from shared.errors import UserError
from shared.files import write_private

SECRET = "registry.secret"
PASSWORD_FILE = "password_file"
OPTIONS = (PASSWORD_FILE, "ssl_ca_certs", "ssl_ca_path", "ssl_certfile", "ssl_keyfile", "ssl_check_hostname", "db")
"""What may stand behind the question mark of a URL."""


def password_of(url: str) -> str | None:
    """The one that stands in `url`, or in the file that it names.

    Raises:
        UserError: that file cannot be read.
    """
    written = urlsplit(url).netloc.rpartition("@")[0].partition(":")[2]
    if written:
        return unquote(written)
    path = _options(url).get(PASSWORD_FILE)
    return _read(Path(path).expanduser()) if path else None


def without_password(url: str) -> str:
    """`redis://user:secret@host/0` as `redis://user@host/0`; what stands behind the question mark stays."""
    parts = urlsplit(url)
    user, _, host = parts.netloc.rpartition("@")
    name = user.partition(":")[0]
    return _joined(parts, f"{name}@{host}" if name else host, parts.query)


def with_password(url: str, password: str | None) -> str:
    """`url` for whoever connects: with the password in it, and without the name of its file."""
    parts = urlsplit(without_password(url))
    options = {name: value for name, value in _options(url).items() if name != PASSWORD_FILE}
    user, _, host = parts.netloc.rpartition("@")
    netloc = parts.netloc if password is None else f"{user}:{quote(password, safe='')}@{host}"
    return _joined(parts, netloc, urlencode(options, safe="/"))


def check_url(url: str) -> str:
    """`url`, or `embedded`, as it is. Raises ValueError, `must …`, for what cannot be one and for unknown options."""
    try:
        urlsplit(url).port  # noqa: B018 (raises for what is none)
    except ValueError:
        raise ValueError("must have a whole number as its port, below 65536") from None
    for name in _options(url):
        if name not in OPTIONS:
            raise ValueError(f"must have nothing but {', '.join(OPTIONS)} behind its question mark, not {name!r}")
    return url


def refuse_typed_password(url: str, key: str) -> None:
    """Raises UserError if `url`, typed on a command line, holds a password: all who see the process would see it."""
    if urlsplit(url).netloc.rpartition("@")[0].partition(":")[2]:
        raise UserError(
            f"{key} must not hold a password on the command line, which other users can see: write it into the job "
            f"file, or into a file of yours and ?{PASSWORD_FILE}=FILE behind the URL"
        )


def keep_password(run_folder: Path, url: str) -> None:
    """Leaves the password of `url` beside `job.yaml`, for its owner only; nothing where the URL needs none."""
    path = run_folder / SECRET
    password = password_of(url)
    if password is None or PASSWORD_FILE in _options(url):
        path.unlink(missing_ok=True)
    else:
        write_private(path, password)


def with_kept_password(url: str, run_folder: Path) -> str:
    """`url`, as `job.yaml` has it, with the password that lies beside that."""
    path = run_folder / SECRET
    return with_password(url, _read(path)) if path.exists() else url


def _joined(parts: SplitResult, netloc: str, query: str) -> str:
    """Unlike `urlunsplit`, which takes the slashes from `unix:///tmp/redis.sock`."""
    return f"{parts.scheme}://{netloc}{parts.path}{'?' if query else ''}{query}" if parts.scheme else parts.path


def _options(url: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(url).query, keep_blank_values=True))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise UserError(f"cannot read the registry's password in {path}: {reason}") from None
