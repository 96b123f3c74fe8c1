"""A stand-in for the Hugging Face hub on loopback: it keeps what huggingface_hub pushes and gives it back.

The calls that a push and a download make are answered as the hub does: repositories, branches, the yaml check, the two
steps of a commit, LFS uploads (checked against their sha256), the file tree, and files. Xet storage is not spoken.
"""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml

REPO = r"(?P<repo>[\w.-]+/[\w.-]+)"


@dataclass
class Repository:
    private: bool
    branches: dict[str, dict[str, bytes]] = field(default_factory=lambda: {"main": {}})
    commits: list[str] = field(default_factory=list)


class HubServer(ThreadingHTTPServer):
    """`repositories` is what has arrived; `tokens_seen` the authorisation of each call."""

    daemon_threads = True

    def __init__(self, token: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.token = token
        self.repositories: dict[str, Repository] = {}
        self.large_files: dict[str, bytes] = {}
        self.tokens_seen: set[str] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


@contextmanager
def hub_server(token: str) -> Iterator[HubServer]:
    with HubServer(token) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: HubServer
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self._answer(
            {
                "/api/repos/create": self._create,
                "/api/validate-yaml": self._validate,
                rf"/api/models/{REPO}/branch/(?P<branch>.+)": self._branch,
                rf"/api/models/{REPO}/preupload/(?P<branch>.+)": self._preupload,
                rf"/api/models/{REPO}/commit/(?P<branch>.+)": self._commit,
                rf"/{REPO}\.git/info/lfs/objects/batch": self._lfs_batch,
            }
        )

    def do_PUT(self) -> None:
        self._answer({"/lfs/(?P<oid>[0-9a-f]+)": self._lfs_put})

    def do_GET(self) -> None:
        self._answer(
            {
                rf"/api/models/{REPO}/tree/(?P<branch>.+)": self._tree,
                rf"/api/models/{REPO}(/revision/(?P<branch>.+))?": self._info,
                rf"/{REPO}/resolve/(?P<branch>[^/]+)/(?P<path>.+)": self._file,
            }
        )

    do_HEAD = do_GET

    def log_message(self, *_: Any) -> None:
        pass

    def _answer(self, routes: dict[str, Any]) -> None:
        self.body = self._read_body()
        authorisation = self.headers.get("Authorization", "")
        self.server.tokens_seen.add(authorisation)
        path = unquote(urlsplit(self.path).path)
        if not path.startswith("/lfs/") and authorisation != f"Bearer {self.server.token}":
            return self._error(401, "Invalid credentials in Authorization header")
        for pattern, answer in routes.items():
            if match := re.fullmatch(pattern, path):
                if match.groupdict().get("repo", "") not in {"", *self.server.repositories}:
                    return self._error(404, "Repository not found", {"X-Error-Code": "RepoNotFound"})
                return answer(**match.groupdict())
        return self._error(404, f"{self.command} {path} is not a call that this stand-in knows")

    def _read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _create(self) -> None:
        asked = json.loads(self.body)
        if asked.get("organization") == "forbidden":
            return self._error(403, "You don't have the rights to create a model under the namespace forbidden")
        repo = f"{asked.get('organization') or 'me'}/{asked['name']}"
        if repo in self.server.repositories:
            return self._json({"error": "You already created this model repo", "url": f"{self.server.url}/{repo}"}, 409)
        self.server.repositories[repo] = Repository(asked.get("visibility") == "private")
        return self._json({"url": f"{self.server.url}/{repo}", "name": repo})

    def _validate(self) -> None:
        front_matter = re.match(r"---\n(.*?)\n---\n", json.loads(self.body)["content"], re.DOTALL)
        known = yaml.safe_load(front_matter[1]) if front_matter else {}
        if not isinstance(known.get("license", ""), str):
            return self._json({"errors": [{"message": '"license" must be a string'}], "warnings": []}, 400)
        return self._json({"errors": [], "warnings": []})

    def _branch(self, repo: str, branch: str) -> None:
        branches = self.server.repositories[repo].branches
        if branch in branches:
            return self._error(409, "Reference already exists")
        branches[branch] = dict(branches["main"])
        return self._json({})

    def _preupload(self, repo: str, branch: str) -> None:
        files = [
            {"path": one["path"], "uploadMode": _mode(one["path"]), "shouldIgnore": False}
            for one in json.loads(self.body)["files"]
        ]
        return self._json({"files": files})

    def _lfs_batch(self, repo: str) -> None:
        objects = [
            {**one, "actions": {"upload": {"href": f"{self.server.url}/lfs/{one['oid']}", "header": {}}}}
            for one in json.loads(self.body)["objects"]
        ]
        return self._json({"transfer": "basic", "objects": objects})

    def _lfs_put(self, oid: str) -> None:
        if hashlib.sha256(self.body).hexdigest() != oid:
            return self._error(400, "sha256 does not match")
        self.server.large_files[oid] = self.body
        return self._json({})

    def _commit(self, repo: str, branch: str) -> None:
        lines = [json.loads(line) for line in self.body.splitlines()]
        arrived: dict[str, bytes] = {}
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                arrived[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                arrived[value["path"]] = self.server.large_files[value["oid"]]
        repository = self.server.repositories[repo]
        repository.branches[branch].update(arrived)
        repository.commits.append(lines[0]["value"]["summary"])
        return self._json({"commitUrl": f"{self.server.url}/{repo}/commit/{'0' * 40}", "commitOid": "0" * 40})

    def _tree(self, repo: str, branch: str) -> None:
        files = self.server.repositories[repo].branches[branch]
        entries = [
            {"type": "file", "path": path, "size": len(data), "oid": _etag(data)} for path, data in files.items()
        ]
        return self._json(entries)

    def _info(self, repo: str, branch: str | None) -> None:
        repository = self.server.repositories[repo]
        siblings = [{"rfilename": path} for path in repository.branches[branch or "main"]]
        return self._json({"id": repo, "sha": "0" * 40, "private": repository.private, "siblings": siblings})

    def _file(self, repo: str, branch: str, path: str) -> None:
        branches = self.server.repositories[repo].branches
        data = branches["main" if branch == "0" * 40 else branch].get(path)
        if data is None:
            return self._error(404, "Entry not found", {"X-Error-Code": "EntryNotFound"})
        return self._send(200, data, {"ETag": f'"{_etag(data)}"', "X-Repo-Commit": "0" * 40})

    def _json(self, value: Any, status: int = 200) -> None:
        self._send(status, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _error(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        text = json.dumps({"error": message}).encode()
        self._send(status, text, {"Content-Type": "application/json", **(headers or {})})

    def _send(self, status: int, data: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


def _mode(path: str) -> str:
    return "lfs" if path.endswith(".safetensors") else "regular"


def _etag(data: bytes) -> str:
    return hashlib.sha1(data).hexdigest()
