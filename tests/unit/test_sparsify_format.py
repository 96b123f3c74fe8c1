"""The same weights in sparsify's released package and here: the same output, both ways."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from sae_folders import D_IN, FACTS, METRICS, NUM_LATENTS, random_topk, randomised, topk_folder
from torch import Tensor
from torch.testing import assert_close

from shared.errors import UserError
from trainers import load_sae, read_facts, sparsify_format
from trainers.formats import export_sae, import_saes
from trainers.import_options import ImportOptions
from trainers.relu import Relu
from trainers.sae import SparseAutoencoder
from trainers.saelens_format import save_sae
from trainers.topk import TopK

NONE = ImportOptions()
MLP = replace(FACTS, inputs=("transformer.h.1.mlp:in",), targets=("transformer.h.1.mlp",))


@pytest.fixture(scope="module")
def sparsify() -> Any:
    return pytest.importorskip("sparsify")


def rows(seed: int = 5) -> Tensor:
    return 2 * torch.randn(64, D_IN, generator=torch.Generator().manual_seed(seed)) + 1


def theirs_of(sparsify: Any, folder: Path, x: Tensor) -> tuple[Tensor, Tensor]:
    """Reconstruction and activations of sparsify's SAE in `folder`."""
    sae = sparsify.SparseCoder.load_from_disk(folder)
    with torch.no_grad():
        done = sae(x)
    return done.sae_out, torch.zeros(len(x), NUM_LATENTS).scatter(1, done.latent_indices, done.latent_acts)


def check_same(sparsify: Any, folder: Path, ours: SparseAutoencoder) -> None:
    recon, acts = theirs_of(sparsify, folder, rows())
    with torch.no_grad():
        assert_close(recon, ours(rows()), rtol=0, atol=1e-5)
        assert_close(acts, ours.encode(rows()), rtol=0, atol=1e-5)
    assert (acts > 0).any()


def test_an_exported_topk_is_the_same_in_sparsify(sparsify: Any, tmp_path: Path) -> None:
    folder = topk_folder(tmp_path / "topk")
    place = export_sae(folder, "sparsify", tmp_path / "out")
    assert place == tmp_path / "out" / "h.1"
    check_same(sparsify, place, load_sae(folder))
    assert list(sparsify.SparseCoder.load_many(str(tmp_path / "out"), local=True)) == ["h.1"]
    card = (place / "README.md").read_text()
    assert "in sparsify's format" in card and 'Sae.load_from_disk("h.1")' in card and "0.25" in card
    assert json.loads((place / "metrics.json").read_text()) == METRICS


def test_a_topk_that_does_not_subtract_its_bias_has_it_folded_in(sparsify: Any, tmp_path: Path) -> None:
    sae = randomised(TopK(D_IN, NUM_LATENTS, 4, subtracts_b_dec=False))
    save_sae(sae, tmp_path / "sae", FACTS)
    check_same(sparsify, export_sae(tmp_path / "sae", "sparsify", tmp_path / "out"), sae)


@pytest.mark.parametrize("has_skip", [False, True])
def test_a_transcoder_is_the_same_in_sparsify_and_back(has_skip: bool, sparsify: Any, tmp_path: Path) -> None:
    sae = TopK(D_IN, NUM_LATENTS, 4, subtracts_b_dec=False)
    if has_skip:
        sae.add_skip()
    randomised(sae)
    save_sae(sae, tmp_path / "sae", MLP)
    place = export_sae(tmp_path / "sae", "sparsify", tmp_path / "out")
    assert place.name == "h.1.mlp" and json.loads((place / "cfg.json").read_text())["transcode"] is True
    assert "in sparsify's format" in (place / "README.md").read_text()
    check_same(sparsify, place, sae)
    (back,) = import_saes(place, None, tmp_path / "back", NONE)
    assert read_facts(back).inputs == ("h.1.mlp:in",) and read_facts(back).targets == ("h.1.mlp",)
    assert torch.equal(load_sae(back)(rows()), sae(rows()))


def test_there_and_back_is_bit_for_bit_and_keeps_the_facts(tmp_path: Path) -> None:
    folder = topk_folder(tmp_path / "topk")
    export_sae(folder, "sparsify", tmp_path / "out")
    (back,) = import_saes(tmp_path / "out" / "h.1", None, tmp_path / "back", NONE)
    before, after = load_sae(folder).state_dict(), load_sae(back).state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    facts = read_facts(back)
    assert (facts.model_name, facts.context_tokens, facts.dataset) == (
        "openai-community/gpt2",
        64,
        "hf://me/text:train",
    )
    assert facts.targets == ("h.1",) and facts.headrace["tokens"] == 12345
    assert facts.headrace["imported_from"] == "sparsify"


@pytest.mark.parametrize("named", ["layers.10", "layers.10/seed1"])
def test_what_sparsify_saves_is_read(named: str, sparsify: Any, tmp_path: Path) -> None:
    config = sparsify.SparseCoderConfig(expansion_factor=3, k=5)
    theirs = randomised(sparsify.SparseCoder(D_IN, config))
    theirs.save_to_disk(tmp_path / "run" / named)
    theirs.save_to_disk(tmp_path / "run" / "layers.2")
    done = import_saes(tmp_path / "run", None, tmp_path / "ours", ImportOptions(model_name="meta-llama/Llama-3.2-1B"))
    assert done == [tmp_path / "ours" / one for one in (named, "layers.2")]
    ours = load_sae(done[0])
    assert ours.num_latents == NUM_LATENTS and read_facts(done[0]).inputs == ("layers.10",)
    check_same(sparsify, tmp_path / "run" / named, ours)
    assert "imported from sparsify" in (done[0] / "README.md").read_text()


def normalised_topk() -> TopK:
    sae = random_topk()
    sae.normalize = "layer_norm"
    return sae


@pytest.mark.parametrize(
    ("sae", "facts", "words"),
    [
        (normalised_topk(), FACTS, "no normalisation of each row, and this SAE has layer_norm"),
        (TopK(D_IN, NUM_LATENTS, 4), replace(FACTS, inputs=("a", "b"), targets=("a", "b")), "for one hookpoint each"),
        (Relu(D_IN, NUM_LATENTS), FACTS, "sparsify holds TopK SAEs and no Relu"),
        (TopK(D_IN, NUM_LATENTS, 4), replace(FACTS, targets=MLP.inputs, inputs=MLP.inputs), "outputs of modules only"),
        (TopK(D_IN, NUM_LATENTS, 4, D_IN + 8, False), MLP, "of the same width"),
        (TopK(D_IN, NUM_LATENTS, 4, None, False), replace(FACTS, inputs=MLP.inputs), "from a module's input to its"),
    ],
)
def test_what_sparsify_cannot_hold_has_a_reason(sae: SparseAutoencoder, facts: Any, words: str) -> None:
    assert words in (sparsify_format.refusal(sae, facts) or "")


def test_an_export_that_is_refused_says_why_and_writes_nothing(tmp_path: Path) -> None:
    save_sae(Relu(D_IN, NUM_LATENTS), tmp_path / "sae", FACTS)
    with pytest.raises(UserError, match="sae cannot be written in sparsify's format: sparsify holds TopK SAEs"):
        export_sae(tmp_path / "sae", "sparsify", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_input_of_a_layer_is_the_output_of_the_one_before(tmp_path: Path) -> None:
    at = ("transformer.h.8:in",)
    folder = topk_folder(tmp_path / "sae", replace(FACTS, inputs=at, targets=at))
    assert export_sae(folder, "sparsify", tmp_path / "out").name == "h.7"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"activation": "groupmax"}, "no SAE with activation groupmax"),
        ({"signed": True}, "no SAE with signed True"),
        ({"k": None}, "do not fit each other"),
        ({"skip_connection": True}, "skip_connection for transcoders only"),
    ],
)
def test_what_would_be_computed_wrongly_is_refused(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    place = export_sae(topk_folder(tmp_path / "sae"), "sparsify", tmp_path / "out")
    config = json.loads((place / "cfg.json").read_text())
    (place / "cfg.json").write_text(json.dumps({**config, **changes}))
    with pytest.raises(UserError, match=words):
        import_saes(place, "sparsify", tmp_path / "back", NONE)


def test_nothing_that_is_there_is_written_over(tmp_path: Path) -> None:
    folder = topk_folder(tmp_path / "sae")
    export_sae(folder, "sparsify", tmp_path / "out")
    with pytest.raises(UserError, match=r"out/h\.1 is there already"):
        export_sae(folder, "sparsify", tmp_path / "out")
    with pytest.raises(UserError, match="sae is there already"):
        import_saes(tmp_path / "out", None, folder, NONE)
