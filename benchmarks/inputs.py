"""What the benchmarks feed to both sides: a GPT-2 of random weights, and contexts of random tokens, both by seed.

Neither values nor meaning change the time that a forward or a step takes, so nothing need be downloaded. Tokens are
drawn as often as words are, the n-th most frequent one n times less often than the first.
"""

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from benchmarks.measure import ROOT

TOKENIZER = ROOT / "examples" / "demo_lm" / "model"
VOCAB_SIZE = 4096
CONTEXT_TOKENS = 128
HOOKPOINT = "transformer.h.3"
"""The output of the fourth block."""
NUM_LAYERS = 6
CONTEXTS, DOCUMENTS = "input_ids", "document"
"""Columns of the same tokens: contexts that end with the end-of-text token, and documents without it."""
SEED = 0
END_OF_TEXT = 0


def write_model(folder: Path, width: int, num_layers: int = NUM_LAYERS) -> Path:
    """A GPT-2 folder with the demo's tokenizer."""
    from transformers import GPT2Config, GPT2LMHeadModel
    from transformers.utils import logging

    logging.disable_progress_bar()
    config = GPT2Config(
        vocab_size=VOCAB_SIZE,
        n_positions=2 * CONTEXT_TOKENS,
        n_embd=width,
        n_layer=num_layers,
        n_head=width // 64,
        bos_token_id=END_OF_TEXT,
        eos_token_id=END_OF_TEXT,
    )
    torch.manual_seed(SEED)
    GPT2LMHeadModel(config).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(TOKENIZER / name, folder)
    return folder


def write_contexts(path: Path, num_contexts: int) -> Path:
    """A Parquet file of `num_contexts` tokenised contexts, one a row.

    A reader that puts an end-of-text token between documents gets the contexts of one that reads them as they are.
    """
    share = 1 / np.arange(1, VOCAB_SIZE)
    generator = np.random.default_rng(SEED)
    tokens = 1 + generator.choice(VOCAB_SIZE - 1, (num_contexts, CONTEXT_TOKENS), p=share / share.sum())
    tokens[:, -1] = END_OF_TEXT
    pq.write_table(pa.table({CONTEXTS: _lists(tokens), DOCUMENTS: _lists(tokens[:, :-1])}), path)
    return path


def _lists(tokens: np.ndarray) -> pa.Array:
    values = pa.array(tokens.reshape(-1).astype(np.int64))
    return pa.FixedSizeListArray.from_arrays(values, tokens.shape[1]).cast(pa.list_(pa.int64()))
