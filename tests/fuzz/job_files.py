"""Job files: bytes, YAML of every kind, values and keys, `key=value` on the command line."""

import os
import random
from pathlib import Path
from typing import Any

import yaml

from cluster.memory_plan import plan_memory
from cluster.placement import fit, wanted
from cluster.preparation import check_folder
from shared.job_file import dump_job, load_job, parse_job
from shared.registry_place import registry_address
from shared.stream_plan import StreamPlan
from tests.fuzz.mutation import HOSTILE, mutate_bytes, mutate_tree
from tests.fuzz.target import Target

TEXTS = (
    """
name: gpt2-sizes
seed: 0
model: {name: openai-community/gpt2, hookpoints: [transformer.h.8], dtype: auto}
corpus: {source: data/*.parquet, text_column: text, context_tokens: 128}
producers: {count: 1, gpus: 1, contexts_per_forward: 64}
stream: {lanes: 1, buffer_rows: 1_000_000, block_rows: 16384, log_bytes: 4GiB, spool_bytes: 32GiB}
trainers:
  - name: topk-{num_latents}-k{k}
    architecture: topk
    num_latents: [16384, 65536, 262144]
    k: [32, 64]
    batch_rows: 4096
    gpus: 1
tokens: 500_000_000
checkpoint: {every_blocks: 200, keep: 2}
output: runs/gpt2-sizes
registry: embedded
""",
    """
name: many
model: {name: m, hookpoints: [a, b, c], device: cuda, revision: main, tokenizer: t}
corpus: {source: [one.txt, 'hf://x:train'], tokens_column: ids, unit_contexts: 8, epochs: 2, exclude_tokens: [a]}
trainers:
  - {name: m, architecture: matryoshka, num_latents: 64, k: 4, hookpoint: a, group_fractions: [0.5, 0.5]}
  - {name: b, architecture: batch_topk, num_latents: 64, k: 4, hookpoint: b, adam_betas: [0.9, 0.99]}
  - {name: j, architecture: jumprelu, num_latents: 64, hookpoint: c, target_l0: 20}
  - {name: p, architecture: p_anneal, num_latents: 64, hookpoint: a, resample_at_fractions: [0.25, 0.5]}
  - {name: t, architecture: transcoder, num_latents: 64, k: 4, hookpoint: a, target_hookpoint: b}
  - {name: c, architecture: crosscoder, num_latents: 64, hookpoints: [a, b], lag_policy: detach}
  - {name: o, architecture: 'my.module:Mine', num_latents: 64, hookpoint: a, anything: 3}
tokens: 1000
evaluation: {holdout: 0.1, every_blocks: 3}
registry: rediss://user:secret@host:6379/0
""",
)
YAML_PIECES = (
    "a: &a [x, x, x, x, x, x, x, x, x, x]\nb: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a, *a]\n"
    "c: &c [*b, *b, *b, *b, *b, *b, *b, *b, *b, *b]\nd: &d [*c, *c, *c, *c, *c, *c, *c, *c, *c, *c]\n"
    "e: &e [*d, *d, *d, *d, *d, *d, *d, *d, *d, *d]\nf: &f [*e, *e, *e, *e, *e, *e, *e, *e, *e, *e]\n"
    "g: &g [*f, *f, *f, *f, *f, *f, *f, *f, *f, *f]\nh: &h [*g, *g, *g, *g, *g, *g, *g, *g, *g, *g]\nKEY: *h\n",
    "KEY: &r [*r]\n",
    "KEY: &r {a: *r}\n",
    "<<: {KEY: 3}\n",
    "<<: 3\n",
    "? [a, b]\n: 3\n",
    "? {a: b}\n: 3\n",
    "KEY: !!python/object/apply:os.system [id]\n",
    "KEY: !!binary aGVsbG8=\n",
    "KEY: !!set {a, b}\n",
    "KEY: !!omap [a: 1]\n",
    "KEY: !!timestamp 2001-13-45\n",
    "KEY: 2001-01-01\n",
    "KEY: 0x" + "f" * 5000 + "\n",
    "KEY: " + "9" * 5000 + "\n",
    "KEY: 1:2:3:4\n",
    "KEY: .nan\n",
    "KEY: " + "[" * 3000 + "\n",
    "KEY: " + "{a: " * 500 + "1" + "}" * 500 + "\n",
    "KEY: |\n  text\n",
    "---\nKEY: 1\n",
    "%YAML 9.9\n---\nKEY: 1\n",
    "KEY: *nobody\n",
    "1: 2\nnull: 3\ntrue: 4\n",
)
"""KEY is one of the job file's own."""
MANY = ("num_latents", "k", "lr", "batch_rows", "seed", "lr_warmup_fraction")
MANY_TRAINERS = 20
"""The pure Python of YAML takes seconds for a thousand."""
KEYS = ("name", "seed", "model", "corpus", "stream", "trainers", "tokens", "output", "registry", "evaluation", "new")
PATHS = ("tokens", "trainers.0.k", "trainers[0].name", "trainers.9.k", "a.b.c", "model", "stream.lanes.x", "[0]", "")


class JobFiles(Target):
    """`load_job` and all that is reckoned from a job before anything is opened."""

    name = "job files"

    def lay(self, draw: random.Random, folder: Path) -> None:
        (folder / "job.yaml").write_bytes(_damaged(draw, draw.choice(TEXTS)))

    def feed(self, draw: random.Random, folder: Path) -> None:
        overrides = tuple(_override(draw) for _ in range(draw.choice((0, 0, 0, 1, 2))))
        os.chdir(folder)
        job = load_job(Path("job.yaml"), overrides)
        if len(job.trainers) <= MANY_TRAINERS:
            text = dump_job(job)
            assert parse_job(text) == job, "does not read as it was written"
        StreamPlan.of(job)
        fit(wanted(job), 16.0, 1e9)
        plan_memory(job, dict.fromkeys(job.model.hookpoints, 64), 300, 10**6, 1000)
        check_folder(job, resume=draw.random() < 0.3)
        registry_address(job.registry, Path(job.output).resolve())


def _damaged(draw: random.Random, text: str) -> bytes:
    way = draw.random()
    if way < 0.35:
        return mutate_bytes(draw, text.encode())
    if way < 0.75:
        return yaml.safe_dump(mutate_tree(draw, yaml.safe_load(text)), sort_keys=False, allow_unicode=True).encode()
    if way < 0.80:
        return yaml.safe_dump(_multiplied(draw, yaml.safe_load(text))).encode()
    piece = draw.choice(YAML_PIECES).replace("KEY", draw.choice(KEYS))
    return (piece + text if draw.random() < 0.5 else text + piece).encode()


def _multiplied(draw: random.Random, raw: dict[str, Any]) -> dict[str, Any]:
    """A trainer with long lists under several keys."""
    for key in draw.sample(MANY, draw.randrange(1, len(MANY))):
        raw["trainers"][0][key] = [draw.randrange(1, 100) for _ in range(draw.choice((2, 40, 400)))]
    return raw


def _override(draw: random.Random) -> str:
    value = draw.choice(HOSTILE)
    return draw.choice((f"{draw.choice(PATHS)}={value}", str(value), f"{draw.choice(PATHS)}: 3"))
