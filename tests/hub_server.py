"""A Hugging Face Hub on this machine: enough of its protocol for the real client to create, push and fetch models.

Xet is not served, nor are pull requests, tags, datasets and Spaces; what is not served is refused with 404.
"""

import hashlib
import json
import re
import secrets
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath
from threading import Lock, Thread
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from huggingface_hub import close_session, constants
from huggingface_hub.hf_api import api
from transformers.utils import hub

# What the .gitattributes of a new repository puts into large-file storage, as far as models come with it.
LARGE = tuple(".arrow .bin .h5 .model .npy .npz .onnx .parquet .pkl .pt .pth .safetensors .tar .zip".split())
LARGE_SIZE = 10 * 2**20


def is_large(path: str, size: int) -> bool:
    """Whether a file goes to large-file storage; an empty one never does."""
    return size > 0 and (path.endswith(LARGE) or size > LARGE_SIZE)


def content_id(path: str, content: bytes) -> str:
    """What the client compares contents by: SHA-256 of a large file, git's SHA-1 of another."""
    if is_large(path, len(content)):
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def entries(files: dict[str, bytes]) -> dict[str, dict]:
    """Files and the folders they lie in, as the Hub describes them, by path and in its order."""
    found = {}
    for path, content in files.items():
        for folder in map(str, list(PurePosixPath(path).parents)[:-1]):
            found[folder] = {"type": "directory", "path": folder, "oid": hashlib.sha1(folder.encode()).hexdigest()}
        found[path] = {"type": "file", "path": path, "oid": content_id(path, content), "size": len(content)}
        if is_large(path, len(content)):
            found[path]["lfs"] = {"oid": content_id(path, content), "size": len(content), "pointerSize": 134}
    return dict(sorted(found.items()))


class Refusal(Exception):
    """An error reply. The client raises by `code`; no status is 5xx, which it would retry for half a minute."""

    def __init__(self, status: int, message: str, code: str = "", **more: str):
        self.status, self.content = status, {"error": message, **more}
        self.headers = {"X-Error-Message": message} | ({"X-Error-Code": code} if code else {})


@dataclass(frozen=True)
class Request:
    """A request as it came: `path` still quoted and with its query, `body` whole."""

    method: str
    path: str
    authorization: str | None
    body: bytes = field(repr=False)


@dataclass(frozen=True)
class Commit:
    """A commit: the branch it was pushed to, and all files there are after it."""

    message: str
    branch: str = "main"
    files: dict[str, bytes] = field(default_factory=dict, repr=False)
    # Random, not a hash: the client keeps for ever what it once saw of a commit.
    id: str = field(default_factory=lambda: secrets.token_hex(20))


class Repo:
    """A model repository: its commits, oldest first and the first one empty, and its branches by name."""

    def __init__(self, private: bool):
        self.private = private
        self.commits = [Commit("initial commit")]
        self.branches = {"main": self.commits[0]}

    def commit(self, revision: str = "main") -> Commit:
        """What a branch stands at, or the commit of an id."""
        known = {commit.id: commit for commit in self.commits} | self.branches
        if revision not in known:
            raise Refusal(404, "Invalid rev id", "RevisionNotFound")
        return known[revision]

    def files(self, revision: str = "main") -> dict[str, bytes]:
        """Path -> content at a branch or commit id."""
        return self.commit(revision).files


class HubServer(ThreadingHTTPServer):
    """The server, up inside its `with`.

    Attributes: `url`; `user`, and the `token` of that user, the only one accepted; `repos` by id; `requests`, all that
    came; `blobs`, large files by SHA-256, committed or not; `cards`, model cards sent for validation.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, user: str = "tester"):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.user, self.token = user, f"hf_{secrets.token_hex(17)}"
        self.repos: dict[str, Repo] = {}
        self.requests: list[Request] = []
        self.blobs: dict[str, bytes] = {}
        self.cards: list[str] = []
        self.lock = Lock()

    def __enter__(self) -> "HubServer":
        Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_) -> None:
        self.shutdown()
        self.server_close()

    def environment(self, home: Path) -> dict[str, str]:
        """The variables, over those inherited, that point the client of a new process here, its caches in `home`."""
        return {
            "HF_ENDPOINT": self.url,
            "HF_TOKEN": self.token,
            "HF_HOME": str(home),
            "HF_HUB_CACHE": str(home / "hub"),
            "HF_DATASETS_CACHE": str(home / "datasets"),
            "HF_HUB_OFFLINE": "0",
            # With hf_xet installed, the client uploads large files by it without asking the server.
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "NO_PROXY": "127.0.0.1",
        }

    def connect(self, monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
        """Point the client of this process, and of those it starts, here."""
        for name, value in self.environment(home).items():
            monkeypatch.setenv(name, value)
        # An open session may go through a proxy, NO_PROXY or not.
        close_session()
        # The client read its variables when it was imported, but looks these up whenever it needs them.
        monkeypatch.setattr(constants, "ENDPOINT", self.url)
        files = "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", self.url + files)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        # These two, of huggingface_hub's functions and of transformers, took the address when they were made.
        monkeypatch.setattr(api, "endpoint", self.url)
        if hasattr(hub, "hf_api"):  # from transformers 5.10
            monkeypatch.setattr(hub.hf_api(), "endpoint", self.url)

    def pushed(self) -> list[bytes]:
        """Everything that was sent, as it came and decoded: what must not hold a secret."""
        commits = [commit for repo in self.repos.values() for commit in repo.commits]
        return [request.body for request in self.requests] + [data for one in commits for data in one.files.values()]


class Handler(BaseHTTPRequestHandler):
    """Requests, one at a time; what answers them returns a reply's content, bytes or for JSON."""

    protocol_version = "HTTP/1.1"
    # Headers and body leave in two writes; held back, each reply would take 40 ms more.
    disable_nagle_algorithm = True
    server: HubServer

    def answer(self) -> None:
        self.body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        self.token = self.headers["Authorization"]
        with self.server.lock:
            self.server.requests.append(Request(self.command, self.path, self.token, self.body))
            status, self.reply_headers = 200, {}
            try:
                content = self.route()
            except Refusal as refusal:
                status, content = refusal.status, refusal.content
                self.reply_headers |= refusal.headers
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {**self.reply_headers, "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = answer

    def log_message(self, *_) -> None:
        pass

    def route(self) -> object:
        if self.token not in (None, f"Bearer {self.server.token}"):
            raise Refusal(401, "Invalid credentials in Authorization header")
        for methods, pattern, handle in ROUTES:
            match = re.fullmatch(pattern, urlsplit(self.path).path)
            if match and self.command in methods.split():
                return handle(self, *map(unquote, match.groups("main")))
        raise Refusal(404, f"Not served here: {self.command} {self.path}")

    def repo(self, name: str, write: bool = False) -> Repo:
        """The repository asked for; without the token, a private one does not exist."""
        found = self.server.repos.get(name)
        if self.token is None and (write or found is None or found.private):
            raise Refusal(401, "Repository not found", "RepoNotFound")
        if found is None:
            raise Refusal(404, "Repository not found", "RepoNotFound")
        return found

    def whoami(self) -> dict:
        if self.token is None:
            raise Refusal(401, "Invalid username or password.")
        return {"type": "user", "name": self.server.user, "orgs": [], "auth": {"accessToken": {"role": "write"}}}

    def create_repo(self) -> dict:
        self.whoami()
        asked = json.loads(self.body)
        name = f"{asked['organization'] or self.server.user}/{asked['name']}"
        url = f"{self.server.url}/{name}"
        if name in self.server.repos:
            raise Refusal(409, "You already created this model repo", url=url)
        self.server.repos[name] = Repo(asked.get("visibility") == "private" or asked.get("private", False))
        return {"url": url}

    def validate_card(self) -> dict:
        self.server.cards.append(json.loads(self.body)["content"])
        return {"errors": [], "warnings": []}

    def preupload(self, name: str, revision: str) -> dict:
        present = self.repo(name, write=True).files(revision)
        answers = []
        for file in json.loads(self.body)["files"]:
            path, mode = file["path"], "lfs" if is_large(file["path"], file["size"]) else "regular"
            # By its id, the client leaves out a file that has not changed.
            known = content_id(path, present[path]) if path in present else None
            answers.append({"path": path, "uploadMode": mode, "shouldIgnore": False, "oid": known})
        return {"files": answers}

    def large_batch(self, name: str) -> dict:
        self.repo(name, write=True)
        objects = json.loads(self.body)["objects"]
        for item in objects:
            if item["oid"] not in self.server.blobs:
                item["actions"] = {"upload": {"href": f"{self.server.url}/lfs/{item['oid']}"}}
        return {"transfer": "basic", "objects": objects}

    def large_upload(self, digest: str) -> bytes:
        """Without the token, which the client does not send to the address that `large_batch` gave it."""
        if hashlib.sha256(self.body).hexdigest() != digest:
            raise Refusal(400, "The content has another SHA-256")
        self.server.blobs[digest] = self.body
        return b""

    def push(self, name: str, branch: str) -> dict:
        repo = self.repo(name, write=True)
        if branch not in repo.branches or "create_pr" in self.path:
            raise Refusal(404, "Only a branch can be pushed to", "RevisionNotFound")
        header, *changes = map(json.loads, self.body.splitlines())
        files = dict(repo.files(branch))
        for change in changes:
            kind, value, path = change["key"], change["value"], change["value"]["path"]
            if kind == "file":
                files[path] = b64decode(value["content"])
            elif kind == "lfsFile" and value["oid"] in self.server.blobs:
                files[path] = self.server.blobs[value["oid"]]
            elif kind == "deletedFile" and path in files:
                del files[path]
            elif kind == "deletedFolder":
                files = {kept: data for kept, data in files.items() if not kept.startswith(path.rstrip("/") + "/")}
            else:
                raise Refusal(404, "A file with this name doesn't exist", "EntryNotFound")
        repo.branches[branch] = commit = Commit(header["value"]["summary"], branch, files)
        repo.commits.append(commit)
        return {"commitOid": commit.id, "commitUrl": f"{self.server.url}/{name}/commit/{commit.id}"}

    def create_branch(self, name: str, branch: str) -> dict:
        repo = self.repo(name, write=True)
        if branch in repo.branches:
            raise Refusal(409, "Reference already exists")
        repo.branches[branch] = repo.commit(json.loads(self.body).get("startingPoint", "main"))
        return {}

    def refs(self, name: str) -> dict:
        branches = [
            {"name": branch, "ref": f"refs/heads/{branch}", "targetCommit": commit.id}
            for branch, commit in self.repo(name).branches.items()
        ]
        return {"branches": branches, "tags": [], "converts": [], "pullRequests": []}

    def model_info(self, name: str, revision: str) -> dict:
        repo = self.repo(name)
        commit = repo.commit(revision)
        siblings = [{"rfilename": path, "size": len(content)} for path, content in sorted(commit.files.items())]
        return {"id": name, "sha": commit.id, "private": repo.private, "tags": [], "siblings": siblings}

    def tree(self, name: str, revision: str, folder: str) -> list[dict]:
        found = entries(self.repo(name).files(revision))
        if folder and folder not in found:
            raise Refusal(404, "The folder does not exist", "EntryNotFound")
        root, recursive = PurePosixPath(folder), "recursive=true" in self.path
        return [found[path] for path in found if root in list(PurePosixPath(path).parents)[: None if recursive else 1]]

    def paths_info(self, name: str, revision: str) -> list[dict]:
        found = entries(self.repo(name).files(revision))
        return [found[path] for path in parse_qs(self.body.decode())["paths"] if path in found]

    def resolve(self, name: str, revision: str, path: str) -> bytes:
        commit = self.repo(name).commit(revision)
        self.reply_headers["X-Repo-Commit"] = commit.id
        if path not in commit.files:
            raise Refusal(404, "Entry not found", "EntryNotFound")
        content = commit.files[path]
        self.reply_headers["ETag"] = f'"{content_id(path, content)}"'
        if is_large(path, len(content)):
            self.reply_headers |= {"X-Linked-ETag": self.reply_headers["ETag"], "X-Linked-Size": str(len(content))}
        return content


# A name may have one part, as those of some old models do; nobody has such a one here.
MODEL = "/api/models/([^/]+(?:/[^/]+)?)"
ROUTES = [
    ("GET", "/api/whoami-v2", Handler.whoami),
    ("POST", "/api/repos/create", Handler.create_repo),
    ("POST", "/api/validate-yaml", Handler.validate_card),
    ("POST", f"{MODEL}/preupload/([^/]+)", Handler.preupload),
    ("POST", "/([^/]+/[^/]+).git/info/lfs/objects/batch", Handler.large_batch),
    ("PUT", "/lfs/([0-9a-f]{64})", Handler.large_upload),
    ("POST", f"{MODEL}/commit/([^/]+)", Handler.push),
    ("POST", f"{MODEL}/branch/([^/]+)", Handler.create_branch),
    ("GET", f"{MODEL}/refs", Handler.refs),
    ("GET", f"{MODEL}(?:/revision/([^/]+))?", Handler.model_info),
    ("GET", f"{MODEL}/tree/([^/]+)/?(.*)", Handler.tree),
    ("POST", f"{MODEL}/paths-info/([^/]+)", Handler.paths_info),
    ("GET HEAD", "/(.+?)/resolve/([^/]+)/(.+)", Handler.resolve),
]


# Named apart from what a test calls it, so that the tests' arguments hide no import.
@pytest.fixture(name="hub")
def hub_fixture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A server, with this process's client pointed at it."""
    with HubServer() as server:
        server.connect(monkeypatch, tmp_path / "hub_home")
        yield server
