"""What keeps the page to its owner's browser: which requests are refused, and the headers of every answer.

The page has no password, so it listens on loopback only. A page of another site can still send requests to it, and
after DNS rebinding even read the answers: the first is stopped by `Origin`, the second by `Host`.
"""

from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.errors import UserError

LOOPBACK = ("127.0.0.1", "localhost", "::1")
READING = ("GET", "HEAD")
MAX_BODY_BYTES = 2**20
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


def check_host(host: str) -> None:
    """Raises UserError for an address at which others could reach the page."""
    if host not in LOOPBACK:
        raise UserError(
            f"--host must be one of {', '.join(LOOPBACK)}, got {host!r}: the page has no password; from another machine"
            " reach it through ssh -L 8321:127.0.0.1:8321 HOST"
        )


def refusal(method: str, headers: Headers) -> str | None:
    """Why a request is not answered, as a sentence; None for one that is."""
    host = headers.get("host", "")
    if _name(host) not in LOOPBACK:
        return f"this page answers to {' and '.join(LOOPBACK[:2])} only, not to {host!r}"
    if method in READING:
        return None
    origin = headers.get("origin")
    if origin != f"http://{host}":
        return f"only the page itself may ask for this, not {origin or 'a request without Origin'}"
    if headers.get("content-type", "").partition(";")[0] != "application/json":
        return "a request that asks for something to be done must be application/json"
    length = headers.get("content-length", "")
    if not length.isdigit() or int(length) > MAX_BODY_BYTES:
        return f"a request must say its length, of at most {MAX_BODY_BYTES} bytes"
    return None


class Guard:
    """Refuses what `refusal` says, and adds the headers to every answer; `policy` is what the page may load."""

    def __init__(self, app: ASGIApp, policy: str) -> None:
        self._app = app
        self._headers = {**HEADERS, "Content-Security-Policy": policy}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(self._headers)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        reason = refusal(scope["method"], Headers(scope=scope)) if scope["type"] == "http" else None
        app = JSONResponse({"error": reason}, 403) if reason else self._app
        await app(scope, receive, answer)


def _name(host: str) -> str | None:
    """`127.0.0.1` of `127.0.0.1:8321`, `::1` of `[::1]:8321`; None where it is neither."""
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None
