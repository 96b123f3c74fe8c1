"""Architectures that choose their active latents over a batch, and those that train several k: what they share."""

from pathlib import Path

import pytest
import torch

from shared.trainer_config import TrainerConfig
from shared.trainer_configs import TRAINER_CONFIGS
from tests.trainer_samples import new_trainer, some_block
from trainers import SaeFacts, Trainer, load_sae

FACTS = SaeFacts("openai-community/gpt2", ("transformer.h.8",), ("transformer.h.8",), 128, "data/*.parquet")


def config(architecture: str) -> TrainerConfig:
    keys = {"name": "t", "architecture": architecture, "num_latents": 64, "k": 3, "batch_rows": 70, "lr": 3e-3}
    return TRAINER_CONFIGS[architecture].model_validate(keys)


ALL = pytest.mark.parametrize("architecture", ["batch_topk", "matryoshka", "multi_topk"])


@ALL
def test_it_learns_goes_on_bit_by_bit_and_comes_back_from_disk(architecture: str, tmp_path: Path) -> None:
    whole, half = new_trainer(config(architecture)), new_trainer(config(architecture))
    first = whole.read(0, some_block(0))
    half.read(0, some_block(0))
    half.save(tmp_path / "half")
    again = Trainer.load(tmp_path / "half", config(architecture))
    for number in range(1, 10):
        last = whole.read(number, some_block(number))
        again.read(number, some_block(number))
    assert first.fvu is not None and last.fvu is not None and last.fvu < 0.7 * first.fvu
    for expected, found in zip(
        whole.exported().state_dict().values(), again.exported().state_dict().values(), strict=True
    ):
        assert torch.equal(expected, found)
    whole.save_sae(tmp_path / "sae", FACTS)
    rows = torch.from_numpy(some_block(11).activations["h"])
    with torch.no_grad():
        ours, exported = load_sae(tmp_path / "sae"), whole.exported()
        torch.testing.assert_close(ours(rows), exported(rows), rtol=1e-5, atol=1e-5)
        l0 = (exported.encode(rows) > 0).sum(1).double().mean().item()
    assert l0 == pytest.approx(3, rel=0.3)
