"""A run folder as a job leaves it, made in this process: two SAEs of a tiny model's rows, and their checkpoint."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from tiny_models import text, tiny_gpt2

from cluster.checkpoints import part_name
from producers.corpus import Corpus
from producers.producer import Producer
from shared.config import Job
from shared.job_file import dump_job
from shared.row_table import Rows
from trainers import SaeFacts, Trainer, activation_scale
from trainers.batches import to_float32

HOOKPOINT = "transformer.h.1"
BLOCK = 2
"""Of the checkpoint."""
STREAM = 7
"""The job's number of the stream that it was saved in."""


def make_job(folder: Path, **evaluation: object) -> Job:
    """A job on a new tiny model and corpus, a fifth of it held out."""
    (folder / "texts").mkdir(parents=True)
    for number in range(30):
        (folder / "texts" / f"{number}.txt").write_text(text(120, seed=number))
    raw = {
        "name": "tiny",
        "model": {"name": str(tiny_gpt2(folder / "model", initializer_range=0.4)), "hookpoints": [HOOKPOINT]},
        "corpus": {"source": str(folder / "texts"), "context_tokens": 32, "unit_contexts": 16},
        "trainers": [
            {"name": name, "architecture": "topk", "num_latents": latents, "k": 4, "batch_rows": 64, "lr": 0.01}
            for name, latents in (("wide", 64), ("narrow", 24))
        ],
        "tokens": 4000,
        "evaluation": {"holdout": 0.2, "contexts_per_forward": 8, **evaluation},
        "output": str(folder / "run"),
    }
    return Job.model_validate(raw)


def train_run(job: Job, finished: bool = True) -> Path:
    """The run folder of `job`, with its SAEs; not finished, with a checkpoint alone."""
    corpus = Corpus.open(job.corpus, job.seed, job.evaluation.holdout)
    rows = _rows(job, corpus)
    folder = Path(job.output)
    folder.mkdir(exist_ok=True)
    (folder / "job.yaml").write_text(dump_job(job))
    for config in job.trainers:
        values = torch.from_numpy(rows.activations[HOOKPOINT])
        trainer = Trainer(config, {HOOKPOINT: values.shape[1]}, job.seed, job.tokens)
        trainer.fix_scales({HOOKPOINT: activation_scale(to_float32(values.numpy()), config.normalize)})
        for block in range(BLOCK):
            trainer.read(block, rows.slice(block * 2000, block * 2000 + 2000))
        if finished:
            trainer.save_sae(folder / "saes" / config.name, _facts(job, corpus))
        trainer.save(folder / "checkpoints" / str(BLOCK) / part_name(f"trainer-{config.name}", STREAM))
    manifest = {"fingerprint": corpus.fingerprint, "stream": STREAM}
    (folder / "checkpoints" / str(BLOCK) / "manifest.json").write_text(json.dumps(manifest))
    return folder


def _rows(job: Job, corpus: Corpus) -> Rows:
    producer = Producer(job, corpus)
    parts = [producer.row_format.rows(chunk.table) for chunk in producer.chunks(range(corpus.num_units))]
    addresses = np.concatenate([one.addresses for one in parts])
    return Rows(addresses, {HOOKPOINT: np.concatenate([one.activations[HOOKPOINT] for one in parts])})


def _facts(job: Job, corpus: Corpus) -> SaeFacts:
    facts = SaeFacts(job.model.name, (HOOKPOINT,), (HOOKPOINT,), job.corpus.context_tokens, "texts")
    told = {"corpus_fingerprint": corpus.fingerprint, "held_out_contexts": corpus.held_out_contexts, "dtype": "float32"}
    return replace(facts, headrace=told)
