"""`make demo`'s job file with a quarter of its tokens, typed as a newcomer types it, to its end; its SAEs evaluated."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from cluster.checkpoints import newest
from cluster.run_evaluation import evaluate_run
from shared.job_file import load_job
from trainers import load_sae, read_facts

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
ROOT = Path(__file__).resolve().parents[2]
TOKENS = 150_000
LATENTS = {"topk-512": 512, "topk-1024": 1024, "topk-2048": 2048, "relu-1024": 1024}
LINE = re.compile(
    r"^(?P<name>\S+) +(?P<latents>[\d,]+) +(?P<tokens>150k) +(?P<fvu>[\d.]+) +(?P<l0>[\d.]+) +(?P<dead>[\d.]+) +\S+$"
)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The run folder, and what the run printed."""
    runs = tmp_path_factory.mktemp("runs")
    words = [sys.executable, "-m", "cluster", "run", "examples/demo.yaml", f"output={runs}/demo", f"tokens={TOKENS}"]
    hidden = ("RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN")  # what a newcomer does not have
    env = {name: value for name, value in os.environ.items() if name not in hidden}
    done = subprocess.run(words, cwd=ROOT, env=env, capture_output=True, text=True, timeout=800, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    return runs / "demo", done.stdout


def test_it_ends_in_a_table_and_in_what_to_do_next(demo: tuple[Path, str]) -> None:
    folder, printed = demo
    lines = {found["name"]: found for line in printed.splitlines() if (found := LINE.match(line.strip()))}
    assert {name: int(found["latents"].replace(",", "")) for name, found in lines.items()} == LATENTS
    fvu = {name: float(found["fvu"]) for name, found in lines.items()}
    assert 0.05 < fvu["topk-2048"] < fvu["topk-1024"] < fvu["topk-512"] < 0.35 and 0.05 < fvu["relu-1024"] < 0.4
    assert all(float(found["l0"]) == 16.0 for name, found in lines.items() if name.startswith("topk"))
    assert all(float(found["dead"]) < 20 for found in lines.values())
    assert str(folder / "report.html") in printed.replace("\n", "") and (folder / "report.html").stat().st_size > 50_000
    assert f"{folder / 'saes'}/" in printed.replace("\n", "")
    next_commands = printed.partition("next:\n")[2]
    assert all(f" {words} {folder}" in next_commands for words in ("status", "features collect", "ui"))
    assert f"load_sae('{folder}/saes/topk-512')" in next_commands


def test_all_four_have_read_the_same_and_nothing_is_missing(demo: tuple[Path, str]) -> None:
    folder, _ = demo
    ledger = json.loads((folder / "ledger.json").read_text())
    assert ledger["imbalances"] == []
    facts = [read_facts(folder / "saes" / name) for name in LATENTS]
    assert len({(one.headrace["address_digest"], one.headrace["bits_digest"]) for one in facts}) == 1
    assert {one.headrace["tokens"] for one in facts} == {TOKENS}
    assert newest(folder) is not None


@pytest.mark.filterwarnings("ignore")
def test_each_sae_is_opened_here_and_by_saelens(demo: tuple[Path, str]) -> None:
    from sae_lens import SAE

    folder, _ = demo
    x = torch.randn(64, 128, generator=torch.Generator().manual_seed(0))
    for name, num_latents in LATENTS.items():
        ours, theirs = load_sae(folder / "saes" / name), SAE.load_from_disk(str(folder / "saes" / name))
        assert ours.encode(x).shape == (64, num_latents)
        torch.testing.assert_close(ours(x), theirs(x), atol=1e-5, rtol=1e-5)


def test_the_model_loses_less_by_an_sae_than_by_zeros_and_less_by_a_larger_one(demo: tuple[Path, str]) -> None:
    folder, _ = demo
    names = ("topk-512", "topk-2048")
    small, large = evaluate_run(folder, load_job(folder / "job.yaml"), names, contexts=24).found
    assert small["contexts"] == 24 and small["tokens"] > 24 * 100
    for one in (small, large):
        splice = one["splice"]
        assert 2 < splice["ce_clean"] < splice["ce_spliced"] < splice["ce_mean"] < splice["ce_zero"] < 15
        assert 0.5 < splice["ce_recovered"] < 1 and 0.5 < splice["kl_recovered"] < 1
        assert 0 < one["fvu"] < 0.6 and one["l0"] == pytest.approx(16, abs=0.1) and one["cosine"] > 0.7
    assert large["fvu"] < small["fvu"] and large["splice"]["kl_spliced"] < small["splice"]["kl_spliced"]
