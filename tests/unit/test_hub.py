"""A push through huggingface_hub to a server that keeps what arrives, and SAELens reading it back from there."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hub_server import HubServer, hub_server
from huggingface_hub import ModelCard, constants
from sae_folders import D_IN, run_folder, topk_folder

from cluster.exit_code import exit_code
from cluster.hub import push
from features.labels import Labels
from shared.errors import UserError
from trainers import load_sae

TOKEN = "hf_thisIsTheSecret"
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # huggingface_hub 2.4, of httpx2


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    with hub_server(TOKEN) as server:
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", server.url + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no token here"))
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield server


def test_every_sae_of_a_run_arrives_in_its_own_folder_in_one_commit(hub: HubServer, tmp_path: Path) -> None:
    run = run_folder(tmp_path / "run", "topk-a", "topk-b")
    features = run / "features" / "topk-a"
    features.mkdir(parents=True)
    Labels(features).add(1, "def")
    done = push(run, "me/saes", private=True, licence="apache-2.0")
    assert done.names == ["topk-a", "topk-b"] and done.url == f"{hub.url}/me/saes" and done.licence == "apache-2.0"
    repository = hub.repositories["me/saes"]
    assert repository.private and repository.commits == ["Add topk-a, topk-b"]
    files = repository.branches["main"]
    inside = {"cfg.json", "sae_weights.safetensors", "sparsity.safetensors", "metrics.json", "README.md"}
    saes = {f"{name}/{one}" for name in ("topk-a", "topk-b") for one in inside}
    assert set(files) == {"README.md", "topk-a/labels.jsonl"} | saes
    assert [b"labels.jsonl" in files[f"{name}/README.md"] for name in ("topk-a", "topk-b")] == [True, False]
    weights = run / "saes" / "topk-b" / "sae_weights.safetensors"
    assert files["topk-b/sae_weights.safetensors"] == weights.read_bytes()
    card = ModelCard(files["README.md"].decode())
    assert card.data.license == "apache-2.0" and "[topk-b](topk-b/README.md)" in card.text
    assert 'from_pretrained("me/saes", "topk-a")' in card.text
    assert hub.tokens_seen == {f"Bearer {TOKEN}", ""}


def test_a_second_push_adds_to_what_is_there(hub: HubServer, tmp_path: Path) -> None:
    push(topk_folder(tmp_path / "first"), "me/saes")
    hub.repositories["me/saes"].branches["main"]["README.md"] += b"\nMy own words.\n"
    assert push(topk_folder(tmp_path / "second", seed=1), "me/saes").licence is None
    card = hub.repositories["me/saes"].branches["main"]["README.md"].decode()
    assert "[first](first/README.md)" in card and "[second](second/README.md)" in card and "My own words." in card


def test_a_branch_is_made_where_it_is_not_there(hub: HubServer, tmp_path: Path) -> None:
    folder = topk_folder(tmp_path / "sae")
    push(folder, "me/saes", revision="trial")
    push(folder, "me/saes", revision="trial")
    branches = hub.repositories["me/saes"].branches
    assert not branches["main"] and "sae/cfg.json" in branches["trial"]


@pytest.mark.filterwarnings("ignore")
def test_saelens_loads_what_was_pushed_by_repository_and_name(hub: HubServer, tmp_path: Path) -> None:
    sae_lens = pytest.importorskip("sae_lens")
    folder = topk_folder(tmp_path / "topk-48")
    push(folder, "me/saes")
    theirs = sae_lens.SAE.from_pretrained("me/saes", "topk-48")
    x = torch.randn(32, D_IN, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        torch.testing.assert_close(theirs(x), load_sae(folder)(x), rtol=0, atol=1e-5)


def test_the_command_goes_by_the_hubs_own_settings_and_asks_for_a_licence(hub: HubServer, tmp_path: Path) -> None:
    folder = topk_folder(tmp_path / "sae")
    own = {"HF_ENDPOINT": hub.url, "HF_TOKEN": TOKEN, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}
    command = [sys.executable, "-m", "cluster", "push", str(folder), "me/saes"]
    environment = {**os.environ, **own, "HF_HOME": str(tmp_path / "hf"), "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200)
    assert (done.returncode, done.stdout) == (0, f"sae  {hub.url}/me/saes\n")
    assert done.stderr.startswith("no licence is chosen") and done.stderr.count("\n") == 1
    assert TOKEN not in done.stdout + done.stderr
    assert "sae/sae_weights.safetensors" in hub.repositories["me/saes"].branches["main"]


@pytest.mark.parametrize(
    ("repo_id", "token", "code", "words"),
    [
        ("forbidden/saes", TOKEN, 1, "refuses forbidden/saes (403): You don't have the rights"),
        ("me/saes", "hf_wrong", 1, "refuses me/saes (401): Invalid credentials"),
        ("not a name", TOKEN, 2, "not a name cannot be the name of a repository"),
    ],
)
def test_a_refusal_is_one_sentence_without_the_token(
    repo_id: str,
    token: str,
    code: int,
    words: str,
    hub: HubServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    assert exit_code(["push", str(topk_folder(tmp_path / "sae")), repo_id]) == code
    said = capsys.readouterr().err
    assert words in said and said.count("\n") == 1 and token not in said


def test_without_a_login_a_network_or_an_sae_nothing_is_tried(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match="neither an SAE's folder"):
        push(tmp_path, "me/saes")
    folder = topk_folder(tmp_path / "sae")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="HF_HUB_OFFLINE is set"):
        push(folder, "me/saes")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(UserError, match="not logged in"):
        push(folder, "me/saes")
    assert not hub.repositories


def test_a_hub_that_does_not_answer_is_named(hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert exit_code(["push", str(topk_folder(tmp_path / "sae")), "me/saes"]) == 1
