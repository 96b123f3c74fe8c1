"""What does a producer cost beside the model's own forward?

Bound by the forward to the hooked block, which both sides must do. Beyond it a producer reads its units, tokenises and
packs them, copies the rows out, checks that they are finite, makes addresses and an Arrow table, and ends the forward
by an exception in a hook. The bare loop runs a model that was cut after the hooked block over batches that lie ready in
memory, and keeps nothing. `of_bare` is the ratio, 1 if a producer cost nothing.

Both sides are timed by the processor time of all their threads, so that other programs count little: reading and
tokenising are added to the forward as on a machine whose cores are all busy. Where a core is free they run beside it,
and a producer does better than `of_bare`. Keep `--threads` at 1: threads of torch that wait count as busy.
`text` reads the standard library, `tokens` a file that is tokenised already.

    python -m benchmarks.bench_producer --width 256 768
"""

import argparse
import itertools
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import yaml

from benchmarks.inputs import CONTEXT_TOKENS, DOCUMENTS, HOOKPOINT, write_contexts, write_model
from benchmarks.measure import Spread, emit, in_turn, ratio
from producers.producer import Producer
from shared.job_file import parse_job

NUM_BLOCKS = 4
"""Blocks that HOOKPOINT needs."""
UNIT_FORWARDS = 4


def producer_side(model: Path, source: dict[str, Any], arguments: argparse.Namespace) -> Callable[[], float]:
    """Rows a processor-second of `Producer.chunks` over some units, always other ones."""
    producer = Producer(_job(model, source, arguments))
    units = itertools.cycle(range(producer.corpus.num_units))

    def side() -> float:
        wanted = list(itertools.islice(units, arguments.units))
        begun = time.process_time()
        rows = sum(chunk.table.num_rows for chunk in producer.chunks(wanted))
        return rows / (time.process_time() - begun)

    return side


def bare_side(model: Path, arguments: argparse.Namespace) -> Callable[[], float]:
    """Rows a processor-second of the cut model alone."""
    from transformers import GPT2Model

    bare = GPT2Model.from_pretrained(model, dtype=torch.float32).eval()
    bare.h, bare.ln_f = bare.h[:NUM_BLOCKS], torch.nn.Identity()
    shape = (arguments.contexts_per_forward, CONTEXT_TOKENS)
    batches = [torch.randint(0, bare.config.vocab_size, shape) for _ in range(arguments.units * UNIT_FORWARDS)]

    @torch.inference_mode()
    def side() -> float:
        begun = time.process_time()
        for batch in batches:
            bare(input_ids=batch, use_cache=False)
        return len(batches) * batches[0].numel() / (time.process_time() - begun)

    return side


def _job(model: Path, source: dict[str, Any], arguments: argparse.Namespace) -> Any:
    contexts = arguments.contexts_per_forward
    corpus = {"context_tokens": CONTEXT_TOKENS, "unit_contexts": UNIT_FORWARDS * contexts, **source}
    job = {
        "name": "bench",
        "model": {"name": str(model), "hookpoints": [HOOKPOINT], "dtype": "float32", "device": "cpu"},
        "corpus": {**corpus, "prepend_bos": False, "exclude_special_tokens": False},
        "producers": {"contexts_per_forward": contexts, "threads": arguments.threads},
        "trainers": [{"name": "t", "architecture": "topk", "num_latents": 64, "k": 8}],
        "tokens": 10**9,
    }
    return parse_job(yaml.safe_dump(job))


def compared(width: int, folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """One width: rows a processor-second of each side, and each producer's share of the bare loop's."""
    model = write_model(folder / f"model-{width}", width)
    num_contexts = arguments.contexts_per_forward * UNIT_FORWARDS * arguments.units * 2
    contexts = write_contexts(folder / f"contexts-{width}.parquet", num_contexts)
    sources = {"tokens": {"source": str(contexts), "tokens_column": DOCUMENTS}, "text": {"source": "stdlib"}}
    sides = {name: producer_side(model, source, arguments) for name, source in sources.items()}
    rates = in_turn({**sides, "bare": bare_side(model, arguments)}, arguments.rounds, warmups=1)
    shares = {f"{name}_of_bare": ratio(rates[name], rates["bare"]) for name in sources}
    return {"width": width, "rows_per_s": {name: Spread.of(values) for name, values in rates.items()}, **shares}


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--width", type=int, nargs="+", default=[256, 768])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--contexts-per-forward", type=int, default=16)
    parser.add_argument("--units", type=int, default=1, help="units of four forwards in one turn of a side")
    parser.add_argument("--rounds", type=int, default=5)
    return parser.parse_args()


def main() -> None:
    os.environ["HF_HUB_OFFLINE"] = "1"
    arguments = parsed()
    torch.set_num_threads(arguments.threads)
    results = []
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder:
        for width in arguments.width:
            results.append(compared(width, Path(folder), arguments))
            shown = "   ".join(f"{name} {results[-1][f'{name}_of_bare']}" for name in ("tokens", "text"))
            print(f"width {width}: of the bare loop: {shown}", flush=True)
    emit("producer", vars(arguments), results)


if __name__ == "__main__":
    main()
