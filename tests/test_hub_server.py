"""The Hub on this machine, as the real client sees it."""

import json
import os
import subprocess
import sys

import pytest
import tiny
import torch
from hub_server import HubServer, hub_fixture  # noqa: F401
from huggingface_hub import HfApi, hf_hub_download, snapshot_download
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError
from transformers import AutoModelForTokenClassification

# In a process of its own: a folder is pushed to two branches and fetched again, by branch and by commit.
CLIENT = """
import json
from pathlib import Path
from huggingface_hub import HfApi, hf_hub_download, snapshot_download

api = HfApi()
name = api.create_repo("model", private=True).repo_id
assert api.create_repo("model", exist_ok=True).repo_id == name
first = api.upload_folder(repo_id=name, folder_path="folder", commit_message="first").oid
api.create_branch(name, branch="a/branch")
there = {"repo_id": name, "revision": "a/branch"}
api.upload_folder(folder_path="folder", path_in_repo="deep", commit_message="second", **there)
api.upload_file(path_or_fileobj=b"changed", path_in_repo="config.json", commit_message="third", **there)
api.delete_file("model.onnx", commit_message="fourth", **there)
assert api.upload_folder(repo_id=name, folder_path="folder").oid == first, "nothing has changed"

info = api.model_info(name)
assert info.private and info.sha == first and name.startswith(api.whoami()["name"])
assert [branch.name for branch in api.list_repo_refs(name).branches] == ["main", "a/branch"]
assert [entry.path for entry in api.list_repo_tree(path_in_repo="deep", **there)] == sorted(
    f"deep/{path.name}" for path in Path("folder").iterdir()
)
assert [entry.path for entry in api.get_paths_info(paths=["deep", "model.onnx"], **there)] == ["deep"]
fetched = {}
for revision in "main", first, "a/branch":
    folder = Path(snapshot_download(name, revision=revision))
    paths = [path for path in folder.rglob("*") if path.is_file()]
    fetched[revision] = {str(path.relative_to(folder)): path.read_bytes().hex() for path in paths}
single = Path(hf_hub_download(name, "model.onnx", force_download=True))
assert single.read_bytes().hex() == fetched["main"]["model.onnx"]
print(json.dumps(fetched))
"""


def test_another_process_fetches_what_it_pushed(tmp_path):
    pushed = {"README.md": b"---\ntags: [ner]\n---\nA model", "config.json": b"{}", "empty.bin": b""}
    pushed |= {"model.onnx": os.urandom(100_000), "model.safetensors": os.urandom(100_000)}
    (tmp_path / "folder").mkdir()
    for path, content in pushed.items():
        (tmp_path / "folder" / path).write_bytes(content)
    with HubServer() as server:
        environment = os.environ | server.environment(tmp_path / "home")
        command = [sys.executable, "-c", CLIENT]
        done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    repo = server.repos["tester/model"]
    assert [(commit.branch, commit.message) for commit in repo.commits] == [
        ("main", "initial commit"),
        ("main", "first"),
        *(("a/branch", message) for message in ("second", "third", "fourth")),
    ]
    assert repo.private and repo.files("main") == pushed
    changed = pushed | {"config.json": b"changed"} | {f"deep/{path}": content for path, content in pushed.items()}
    del changed["model.onnx"]
    assert repo.files("a/branch") == changed
    for revision, files in json.loads(done.stdout).items():
        assert {path: bytes.fromhex(content) for path, content in files.items()} == repo.files(revision)
    # The large files, and no other, came by their own way, where the client sends no token.
    assert sorted(server.blobs.values()) == sorted([pushed["model.onnx"], pushed["model.safetensors"]])
    assert {request.method for request in server.requests if request.authorization is None} == {"PUT"}
    assert {request.authorization for request in server.requests} == {None, f"Bearer {server.token}"}
    assert pushed["README.md"].decode() in server.cards
    sent = server.pushed()
    assert b"changed" in sent and not any(server.token.encode() in content for content in sent)


def test_this_process_loads_the_model_it_pushed(hub):
    model = tiny.bert(tiny.wordpiece())
    model.push_to_hub("model", private=True, revision="weights")
    loaded = AutoModelForTokenClassification.from_pretrained("tester/model", revision="weights")
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, loaded.state_dict()[name])
    assert hub.repos["tester/model"].files("main") == {}


def test_what_is_missing_or_private_is_refused(hub):
    api = HfApi()
    api.create_repo("model", private=True)
    api.upload_file(repo_id="tester/model", path_or_fileobj=b"{}", path_in_repo="config.json")
    with pytest.raises(EntryNotFoundError):
        hf_hub_download("tester/model", "missing.json")
    with pytest.raises(RevisionNotFoundError):
        hf_hub_download("tester/model", "config.json", revision="missing")
    for name in ("tester/missing", "missing"):
        for call in (api.model_info, api.list_repo_files, snapshot_download):
            with pytest.raises(RepositoryNotFoundError):
                call(name)
    with pytest.raises(RepositoryNotFoundError):
        api.upload_file(repo_id="tester/missing", path_or_fileobj=b"", path_in_repo="config.json")
    with pytest.raises(RepositoryNotFoundError):
        hf_hub_download("tester/model", "config.json", token=False)
    for call in (api.model_info, api.create_repo, api.list_repo_files, snapshot_download):
        with pytest.raises(HfHubHTTPError, match="Invalid credentials") as refused:
            call("tester/model", token="hf_wrong")
        assert refused.value.response.status_code == 401
    assert hub.repos["tester/model"].files() == {"config.json": b"{}"}
