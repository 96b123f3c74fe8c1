"""Language models of a few thousand parameters with tokenizers of their own, made in a second, for tests.

Each function writes a folder that `transformers` loads, with weights that the seed fixes.
"""

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    BertConfig,
    BertForMaskedLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

LINES = (
    "The headrace carries water from the weir to the wheels of the mill.",
    "A wheel turns when water falls, and many wheels turn on one stream.",
    "Nothing is dropped: what the gate lets in, the tailrace gives back.",
    "def flow(gate, wheels):\n    return [wheel.turn(gate) for wheel in wheels]\n",
)
"""What the tokenizers are trained on; `text(seed)` makes more of the same kind."""
VOCAB_SIZE = 320


def text(num_words: int, seed: int = 0) -> str:
    """`num_words` words in a random order that the seed fixes."""
    words = " ".join(LINES).split()
    generator = torch.Generator().manual_seed(seed)
    return " ".join(words[i] for i in torch.randint(len(words), (num_words,), generator=generator).tolist())


def tiny_gpt2(folder: Path, **changes: object) -> Path:
    """GPT-2: 3 layers of width 16, 64 positions, one special token that it does not add itself."""
    options = {"n_embd": 16, "n_layer": 3, "n_head": 2, "n_positions": 64, "bos_token_id": 0, "eos_token_id": 0}
    config = GPT2Config(**{**options, "vocab_size": VOCAB_SIZE, **changes})
    return _save(folder, GPT2LMHeadModel, config, _byte_level_tokenizer("<|endoftext|>"))


def tiny_llama(folder: Path, **changes: object) -> Path:
    """Llama: 3 layers of width 16, 64 positions; the tokenizer begins each text with <s>."""
    options = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2}
    special = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": None}
    config = LlamaConfig(**{**options, **special, "max_position_embeddings": 64, "vocab_size": VOCAB_SIZE, **changes})
    tokenizer = _byte_level_tokenizer("<s>", "</s>")
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 0)]
    )
    return _save(folder, LlamaForCausalLM, config, tokenizer)


def tiny_bert(folder: Path, **changes: object) -> Path:
    """BERT: 3 layers of width 16, 64 positions, [CLS] text [SEP]."""
    options = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2}
    config = BertConfig(**{**options, "max_position_embeddings": 64, "vocab_size": VOCAB_SIZE, **changes})
    return _save(folder, BertForMaskedLM, config, _word_piece_tokenizer())


def _save(folder: Path, kind: type, config: object, tokenizer: PreTrainedTokenizerFast) -> Path:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model: PreTrainedModel = kind(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _byte_level_tokenizer(bos: str, eos: str | None = None) -> PreTrainedTokenizerFast:
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    special = [bos] if eos is None else [bos, eos]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator(LINES, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token=bos, eos_token=eos or bos)


def _word_piece_tokenizer() -> PreTrainedTokenizerFast:
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    backend = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    backend.normalizer = normalizers.Lowercase()
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.train_from_iterator(
        LINES, trainers.WordPieceTrainer(vocab_size=VOCAB_SIZE, special_tokens=special, show_progress=False)
    )
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return PreTrainedTokenizerFast(tokenizer_object=backend, mask_token="[MASK]", **names)
