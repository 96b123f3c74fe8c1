"""How long is one optimiser step of TopK, compared with SAELens' on the same rows?

Bound by the dense encoder product, 2 rows d_in num_latents floating-point operations, which both must do; beyond it
SAELens does four more dense products and dense passes, Headrace works on k latents a row. `of_product` is the share of
Headrace's step that the bare product would take. Ours goes through `Trainer.read`, digests and copies included;
theirs through `SAETrainer.step`, with dense activations (their default) and with sparse ones (which on a
CPU run only without their rescaling by decoder norms).

    python -m benchmarks.bench_trainer_step --threads 1 --num-latents 1024 8192
"""

import argparse
import itertools
import statistics
import time
import warnings
from collections.abc import Callable

import numpy as np
import torch

from benchmarks.measure import emit
from shared.row_table import Rows
from shared.trainer_config import TopKConfig
from trainers import Trainer

WARMUP_STEPS = 3
NUM_BLOCKS = 4


def our_step(blocks: list[np.ndarray], num_latents: int, k: int) -> Callable[[], object]:
    rows, d_in = blocks[0].shape
    config = TopKConfig(name="t", architecture="topk", num_latents=num_latents, k=k, batch_rows=rows)
    trainer = Trainer(config, {"h": d_in}, seed=0, total_rows=10**9)
    trainer.fix_scales({"h": 1.0})
    addresses = np.zeros((rows, 5), np.int32)
    numbers = itertools.count()

    def step() -> object:
        number = next(numbers)
        return trainer.read(number, Rows(addresses, {"h": blocks[number % NUM_BLOCKS]}))

    return step


def their_step(blocks: list[np.ndarray], num_latents: int, k: int, sparse: bool) -> Callable[[], object]:
    from sae_lens.config import SAETrainerConfig
    from sae_lens.saes.topk_sae import TopKTrainingSAE, TopKTrainingSAEConfig
    from sae_lens.training.sae_trainer import SAETrainer

    rows, d_in = blocks[0].shape
    options = {"use_sparse_activations": True, "rescale_acts_by_decoder_norm": False} if sparse else {}
    sae = TopKTrainingSAE(TopKTrainingSAEConfig(d_in=d_in, d_sae=num_latents, k=k, **options))
    config = SAETrainerConfig(total_training_samples=10**9, train_batch_size_samples=rows, lr_end=3e-5)
    trainer = SAETrainer(config, sae, data_provider=iter(()))
    batches = itertools.cycle([torch.from_numpy(block) for block in blocks])
    return lambda: trainer.step(next(batches))


def bare_product(blocks: list[np.ndarray], num_latents: int) -> Callable[[], object]:
    x = torch.from_numpy(blocks[0])
    weights = torch.randn(num_latents, x.shape[1])
    out = torch.empty(len(x), num_latents)
    return lambda: torch.mm(x, weights.T, out=out)


def measured(steps: dict[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Milliseconds of each step, taken in turn: A B A B …"""
    for step in steps.values():
        for _ in range(WARMUP_STEPS):
            step()
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(repeats):
        for name, step in steps.items():
            begin = time.perf_counter()
            step()
            times[name].append(1e3 * (time.perf_counter() - begin))
    return times


def compared(arguments: argparse.Namespace, num_latents: int) -> dict[str, float]:
    """Medians, and ratios of them to ours, for one size."""
    generator = np.random.default_rng(0)
    shape = (arguments.batch_rows, arguments.d_in)
    blocks = [generator.standard_normal(shape, dtype=np.float32) for _ in range(NUM_BLOCKS)]
    steps = {
        "headrace": our_step(blocks, num_latents, arguments.k),
        "saelens_dense": their_step(blocks, num_latents, arguments.k, sparse=False),
        "saelens_sparse": their_step(blocks, num_latents, arguments.k, sparse=True),
        "product": bare_product(blocks, num_latents),
    }
    times = measured(steps, arguments.repeats)
    medians = {name: statistics.median(values) for name, values in times.items()}
    result: dict[str, float] = {"num_latents": num_latents}
    for name, values in times.items():
        result |= {f"{name}_ms": medians[name], f"{name}_min_ms": min(values), f"{name}_max_ms": max(values)}
    result["ratio_dense"] = medians["saelens_dense"] / medians["headrace"]
    result["ratio_sparse"] = medians["saelens_sparse"] / medians["headrace"]
    result["of_product"] = medians["product"] / medians["headrace"]
    return {name: round(value, 3) for name, value in result.items()}


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--num-latents", type=int, nargs="+", default=[1024, 2048, 4096, 8192])
    parser.add_argument("--d-in", type=int, default=256)
    parser.add_argument("--k", type=int, default=32)
    parser.add_argument("--batch-rows", type=int, default=2048)
    parser.add_argument("--repeats", type=int, default=9)
    return parser.parse_args()


def main() -> None:
    arguments = parsed()
    warnings.simplefilter("ignore")
    torch.set_num_threads(arguments.threads)
    results = []
    for num_latents in arguments.num_latents:
        results.append(compared(arguments, num_latents))
        print(", ".join(f"{name} {value}" for name, value in results[-1].items()), flush=True)
    emit("trainer_step", vars(arguments), results)


if __name__ == "__main__":
    main()
