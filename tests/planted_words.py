"""A run whose model and SAE are built by hand, so that it is known what each latent means and does.

Each word belongs to a kind, each kind has a direction, and a token's vector is its kind's direction, one that all
tokens have, and a little of its own. The blocks add nothing, so what stands at a token predicts words of the same kind,
and without the kind's direction any word. Latent i of the SAE reads and writes the direction of kind i; the others are
never active.
"""

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from cluster.collect_run import collect_run
from features.settings import CollectionSettings
from shared.config import Job
from shared.job_file import dump_job
from trainers import SaeFacts
from trainers.relu import Relu
from trainers.saelens_format import save_sae

LISTED = """\
filler: the of and to in that was with from this have which were their there been when more
animals: cat dog horse cow sheep goat lion tiger
colours: red green blue yellow black white purple orange
numbers: one two three four five six seven eight
metals: iron copper gold silver tin lead zinc nickel"""
KINDS = {kind: words.split() for kind, _, words in (line.partition(": ") for line in LISTED.splitlines())}
FILLER = 0
NAMES = list(KINDS)
WORDS = [word for words in KINDS.values() for word in words]
WIDTH, NUM_LATENTS = 16, 12
HOOKPOINT = "transformer.h.0"
SAE = "planted"
LENGTH = 6.0
"""Of a kind's direction in a token's vector."""
SHARED = 3.0
"""Of the direction that all tokens have."""
THRESHOLD = 0.1


def planted_job(folder: Path) -> Job:
    """The job of a run that `plant` makes in `folder`."""
    raw = {
        "name": "planted",
        "model": {"name": str(folder / "model"), "hookpoints": [HOOKPOINT]},
        "corpus": {"source": str(folder / "texts"), "context_tokens": 32, "unit_contexts": 16},
        "trainers": [{"name": SAE, "architecture": "relu_l1", "num_latents": NUM_LATENTS}],
        "tokens": 1000,
        "output": str(folder / "run"),
    }
    return Job.model_validate(raw)


def plant(folder: Path, num_documents: int = 240) -> tuple[Path, Job]:
    """The run folder with its SAE, and the job; `folder/texts` is what to collect from."""
    *kinds, shared = _directions()
    directions = torch.stack(kinds)
    _plant_model(folder / "model", directions, SHARED * shared)
    (folder / "texts").mkdir()
    for number in range(num_documents):
        (folder / "texts" / f"{number:03}.txt").write_text(planted_text(number))
    job = planted_job(folder)
    run = Path(job.output)
    run.mkdir()
    (run / "job.yaml").write_text(dump_job(job))
    facts = SaeFacts(job.model.name, (HOOKPOINT,), (HOOKPOINT,), 32, "planted", headrace={"dtype": "float32"})
    save_sae(planted_sae(directions), run / "saes" / SAE, facts)
    return run, job


def plant_and_collect(folder: Path) -> Path:
    """The run folder with the features of its SAE too."""
    run, job = plant(folder)
    collect_run(run, job, [], 100_000, CollectionSettings(32, 4, 100, 32, 0), str(folder / "texts"))
    return run


def planted_text(seed: int, num_words: int = 31) -> str:
    """Words of one or two kinds among filler."""
    generator = torch.Generator().manual_seed(seed)
    kinds = torch.randperm(len(NAMES) - 1, generator=generator)[: 1 + seed % 2] + 1
    words = []
    for _ in range(num_words):
        is_filler = torch.rand((), generator=generator) < 0.85
        kind = FILLER if is_filler else int(kinds[torch.randint(len(kinds), (), generator=generator)])
        listed = KINDS[NAMES[kind]]
        words.append(listed[torch.randint(len(listed), (), generator=generator)])
    return " " + " ".join(words)


def planted_sae(directions: Tensor) -> Relu:
    sae = Relu(WIDTH, NUM_LATENTS)
    with torch.no_grad():
        sae.W_enc[: len(NAMES)] = sae.W_dec[: len(NAMES)] = directions
        sae.b_enc.fill_(-1e3)
        sae.b_enc[: len(NAMES)] = -THRESHOLD
    return sae


def _directions() -> Tensor:
    """[kinds + 1, WIDTH], orthonormal, and orthogonal to what a layer norm takes out."""
    drawn = torch.randn(WIDTH, len(NAMES) + 2, generator=torch.Generator().manual_seed(0))
    drawn[:, 0] = 1
    return torch.linalg.qr(drawn)[0].T[1:]


def _plant_model(folder: Path, directions: Tensor, shared: Tensor) -> None:
    vocabulary = {"<|endoftext|>": 0, **{f"Ġ{word}": number for number, word in enumerate(WORDS, 1)}}
    config = GPT2Config(
        n_embd=WIDTH, n_layer=2, n_head=2, n_positions=64, vocab_size=len(vocabulary), bos_token_id=0, eos_token_id=0
    )
    model = GPT2LMHeadModel(config)
    generator = torch.Generator().manual_seed(1)
    kinds = torch.tensor([kind for kind, words in enumerate(KINDS.values()) for _ in words])
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "c_proj" in name or "wpe" in name:
                parameter.zero_()
        own = torch.randn(len(WORDS), WIDTH, generator=generator)
        own -= own @ directions.T @ directions + own.mean(1, keepdim=True)
        wte = model.get_input_embeddings().weight
        wte[0] = 0
        strengths = LENGTH * (0.6 + 0.4 * torch.rand(len(WORDS), 1, generator=generator))
        wte[1:] = strengths * directions[kinds] + shared + 0.02 * own
    model.save_pretrained(folder)
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<|endoftext|>"))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<|endoftext|>", eos_token="<|endoftext|>"
    ).save_pretrained(folder)
