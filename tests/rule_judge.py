"""An OpenAI-compatible endpoint that answers by a fixed rule: it knows the kinds of `planted_words` and nothing else.

A description counts as the kind whose name is in it.
"""

import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from planted_words import KINDS

MARKED = re.compile(r"⟦(.*?)⟧", re.DOTALL)
PASSAGE = re.compile(r"<passage[^>]*>\n(.*?)\n</passage>", re.DOTALL)


class RuleJudge:
    """`url`, and what came in: `requests` are bodies, `keys` the Authorization headers."""

    def __init__(self, mishaps: list[str], hang_s: float) -> None:
        self.mishaps, self.hang_s = list(mishaps), hang_s
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.lock = threading.Lock()
        self.url = ""


@contextmanager
def rule_judge(mishaps: list[str] | None = None, hang_s: float = 3.0) -> Iterator[RuleJudge]:
    """A server on the loopback. `mishaps` are what goes wrong first, one for each request that comes:

    busy (429), broken (500), refused (401), garbage (no JSON), empty (no text), chatter (no answer), hang, ok.
    """
    judge = RuleJudge(mishaps or [], hang_s)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with judge.lock:
                judge.requests.append(body)
                judge.keys.append(self.headers.get("Authorization"))
                mishap = judge.mishaps.pop(0) if judge.mishaps else "ok"
            if self.path != "/v1/chat/completions":
                return self._send(404, b"{}")
            if mishap == "hang":
                time.sleep(judge.hang_s)
            status = {"busy": 429, "broken": 500, "refused": 401}.get(mishap, 200)
            content: str | None = "Well, let me see: hard to say!" if mishap == "chatter" else answer(body["messages"])
            if mishap == "empty":
                content = None
            usage = {"prompt_tokens": 100, "completion_tokens": 10}
            told = json.dumps({"choices": [{"message": {"content": content}}], "usage": usage}).encode()
            self._send(status, b"<html>oops" if mishap == "garbage" else told)

        def _send(self, status: int, data: bytes) -> None:
            try:
                self.send_response(status)
                if status == 429:
                    self.send_header("Retry-After", "0.01")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)
            except OSError:
                pass  # whoever asked has given up

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    judge.url = f"http://127.0.0.1:{server.server_port}/v1"
    try:
        yield judge
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def answer(messages: list[dict[str, str]]) -> str:
    """What the rule says."""
    system, user = messages[0]["content"], messages[1]["content"]
    if "EXPLANATION:" in system:
        return _explain(user)
    if '"fires_on"' in user:
        asked = json.loads(user)
        words = _words(asked["fires_on"])
        places = [{**one, "activation": 10 * (one["token"].strip() in words)} for one in asked["activations"]]
        return "```json\n" + json.dumps({**asked, "activations": places}) + "\n```"
    words, texts = _words(user.split("\n")[0]), PASSAGE.findall(user)
    fires = [any(word in words for word in re.findall(r"\w+", text)) for text in texts]
    if "or None" in system:
        return ", ".join(str(at) for at, one in enumerate(fires, 1) if one) or "None"
    if "Rate for each" in system:
        return json.dumps([3 if _all_marked(text, words) else int(one) for text, one in zip(texts, fires, strict=True)])
    if "every marked token" in system:
        return json.dumps([int(_all_marked(text, words)) for text in texts])
    return "Here you are: " + json.dumps([int(one) for one in fires])


def _explain(user: str) -> str:
    marked = [word.strip() for run in MARKED.findall(user) for word in run.split()]
    kind = max(KINDS, key=lambda name: sum(word in KINDS[name] for word in marked))
    return f"They look alike.\nEXPLANATION: words for {kind}"


def _words(description: str) -> set[str]:
    return {word for kind, words in KINDS.items() if kind in description for word in words}


def _all_marked(text: str, words: set[str]) -> bool:
    marked = [word for run in MARKED.findall(text) for word in run.split()]
    return bool(marked) and all(word in words for word in marked)
