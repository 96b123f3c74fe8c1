"""Nearest directions and promoted tokens against what a full matrix says."""

import numpy as np
import pytest
import torch
from torch import nn

from features import logit_lens as lens_module
from features import nearest as nearest_module
from features.logit_lens import final_norm, logit_lens, unembedding_of
from features.nearest import nearest


@pytest.mark.parametrize("block", [1, 2**25])
def test_the_nearest_are_those_of_the_whole_matrix(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(nearest_module, "BLOCK_VALUES", block)
    draw = torch.Generator().manual_seed(0)
    ours, others = torch.randn(9, 6, generator=draw), torch.randn(7, 6, generator=draw)
    cosines = torch.nn.functional.cosine_similarity(ours[:, None], others[None], dim=2)
    found = nearest(ours, others, 3)
    np.testing.assert_array_equal(found.ids, torch.topk(cosines, 3).indices.numpy())
    np.testing.assert_allclose(found.cosines, torch.topk(cosines, 3).values.numpy(), rtol=1e-5)
    own = nearest(ours, count=20)
    assert own.ids.shape == (9, 8) and not (own.ids == np.arange(9)[:, None]).any()


@pytest.mark.parametrize("block", [1, 2**25])
def test_promoted_tokens_are_those_behind_the_final_norm_without_its_bias(
    monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr(lens_module, "BLOCK_VALUES", block)
    draw = torch.Generator().manual_seed(0)
    directions, unembedding = torch.randn(5, 6, generator=draw), torch.randn(11, 6, generator=draw)
    norm = nn.LayerNorm(6, eps=0)
    with torch.no_grad():
        norm.weight.normal_(generator=draw)
        norm.bias.normal_(generator=draw)
        centred = directions - directions.mean(1, keepdim=True)
        logits = (centred / centred.std(1, correction=0, keepdim=True) * norm.weight) @ unembedding.T
    found = logit_lens(directions, unembedding, norm, 4)
    np.testing.assert_array_equal(found.promoted_ids, torch.topk(logits, 4).indices.numpy())
    np.testing.assert_allclose(found.suppressed_values, -torch.topk(-logits, 4).values.numpy(), rtol=1e-4)


def test_norm_and_unembedding_are_found_in_models_of_transformers() -> None:
    from transformers import GPT2Config, GPT2LMHeadModel, GPT2Model, LlamaConfig, LlamaForCausalLM

    special = {"vocab_size": 10, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
    gpt2 = GPT2LMHeadModel(GPT2Config(n_embd=8, n_layer=1, n_head=2, **special))
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    llama = LlamaForCausalLM(LlamaConfig(**sizes, **special))
    assert final_norm(gpt2) is gpt2.transformer.ln_f and final_norm(llama) is llama.model.norm
    assert unembedding_of(gpt2) is gpt2.lm_head.weight and unembedding_of(GPT2Model(gpt2.config)) is None
