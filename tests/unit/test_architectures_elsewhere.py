"""Every architecture, trained here, in SAELens and in sparsify: the same output to 1e-5, or refused for a reason."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from shared.errors import UserError
from shared.trainer_config import TrainerConfig
from tests.trainer_samples import SAMPLES, SEVERAL_HOOKPOINTS, new_trainer, some_block
from trainers import SaeFacts, load_sae
from trainers.architectures import ARCHITECTURES
from trainers.formats import export_sae, import_saes
from trainers.import_options import ImportOptions

pytestmark = pytest.mark.filterwarnings("ignore")

ALL: dict[str, TrainerConfig] = SAMPLES | SEVERAL_HOOKPOINTS
EVERY = pytest.mark.parametrize("name", ALL)
NOT_IN_SAELENS = {
    "kl": "headrace_kl",
    "transcoder, topk": "topk_transcoder",
    "skip_transcoder, topk": "topk_skip_transcoder",
    "crosscoder, topk": "topk_crosscoder",
    "crosscoder, relu_l1": "crosscoder",
}
"""And the name by which SAELens refuses it."""
NOT_IN_SPARSIFY = {
    "batch_topk": "no JumpReLU",
    "matryoshka": "no JumpReLU",
    "relu_l1": "no Relu",
    "relu_l1_2023": "no Relu",
    "p_anneal": "no Relu",
    "gated": "no Gated",
    "jumprelu": "no JumpReLU",
    "jumprelu_tanh": "no JumpReLU",
    "kl": "no Sigmoid",
    "transcoder, relu_l1": "no Relu",
    "skip_transcoder, relu_l1": "no Relu",
    "transcoder, topk": "of the same width",
    "skip_transcoder, topk": "of the same width",
    "crosscoder, topk": "for one hookpoint each",
    "crosscoder, relu_l1": "no ReluCrosscoder",
}
"""And the reason. Transcoders whose widths are equal it can hold: test_sparsify_format."""
MLP = "transformer.h.1.mlp"


def saved(name: str, folder: Path) -> Path:
    config = ALL[name]
    trainer = new_trainer(config)
    for number in range(3):
        trainer.read(number, some_block(number))
    inputs, targets = ((f"{MLP}:in",), (MLP,)) if "transcoder" in name else ((MLP,), (MLP,))
    if name.startswith("crosscoder"):
        inputs = targets = ("transformer.h.0", "transformer.h.1")
    trainer.save_sae(folder, SaeFacts("openai-community/gpt2", inputs, targets, 64, "text"))
    return folder


def rows_for(sae: Any) -> Tensor:
    """What the SAE reads, of rows that no trainer has read."""
    block = some_block(50).activations
    return torch.from_numpy(block["h"]) if sae.d_in == 32 else torch.cat([*map(torch.from_numpy, block.values())], 1)


def test_every_architecture_is_here() -> None:
    assert {name.partition(",")[0] for name in ALL} == ARCHITECTURES.keys()


@EVERY
def test_saelens_computes_the_same_or_refuses_by_name(name: str, tmp_path: Path) -> None:
    sae_lens = pytest.importorskip("sae_lens")
    folder = saved(name, tmp_path / "sae")
    if name in NOT_IN_SAELENS:
        with pytest.raises(KeyError, match=f"'{NOT_IN_SAELENS[name]}'"):
            sae_lens.SAE.load_from_disk(folder)
        return
    theirs, ours = sae_lens.SAE.load_from_disk(folder), load_sae(folder)
    x = rows_for(ours)
    with torch.no_grad():
        assert_close(theirs(x), ours(x), rtol=0, atol=1e-5)
        assert_close(theirs.encode(x), ours.encode(x), rtol=0, atol=1e-5)
        assert (theirs.encode(x) > 0).any()


@EVERY
def test_sparsify_computes_the_same_or_is_not_written_for(name: str, tmp_path: Path) -> None:
    sparsify = pytest.importorskip("sparsify")
    folder = saved(name, tmp_path / "sae")
    if name in NOT_IN_SPARSIFY:
        with pytest.raises(UserError, match=NOT_IN_SPARSIFY[name]):
            export_sae(folder, "sparsify", tmp_path / "out")
        return
    theirs = sparsify.SparseCoder.load_from_disk(export_sae(folder, "sparsify", tmp_path / "out"))
    ours = load_sae(folder)
    x = rows_for(ours)
    with torch.no_grad():
        done = theirs(x)
        acts = torch.zeros(len(x), ours.num_latents).scatter(1, done.latent_indices, done.latent_acts)
        assert_close(done.sae_out, ours(x), rtol=0, atol=1e-5)
        assert_close(acts, ours.encode(x), rtol=0, atol=1e-5)
        assert (acts > 0).any()


def test_a_transcoder_that_is_said_to_give_back_what_it_reads_is_refused(tmp_path: Path) -> None:
    folder = saved("skip_transcoder, topk", tmp_path / "made")
    config = json.loads((folder / "cfg.json").read_text())
    own = config["metadata"]["headrace"]
    own["targets"] = own["inputs"]
    (folder / "cfg.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="whose target must be another hookpoint than what it reads"):
        import_saes(folder, None, tmp_path / "out", ImportOptions())
    assert not (tmp_path / "out").exists()
