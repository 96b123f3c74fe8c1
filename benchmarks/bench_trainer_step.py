"""How long is one optimiser step of TopK, compared with SAELens' and sparsify's on the same rows?

Bound by the dense encoder product, 2 rows d_in num_latents floating-point operations, which all must do; beyond it
SAELens does four more dense products and dense passes, Headrace works on k latents a row. `of_product` is the share of
Headrace's step that the bare product would take. Ours goes through `Trainer.read`: digests, and copies from the host's
memory included; theirs get rows that lie on the device already. SAELens is measured with dense activations (its
default) and with sparse ones (which run only without their rescaling by decoder norms); sparsify, which needs a GPU,
with Adam, as the others, and with its default, signed gradients.

    python -m benchmarks.bench_trainer_step --threads 1 --num-latents 1024 8192
    python -m benchmarks.bench_trainer_step --device cuda --autocast bfloat16 --d-in 768 --num-latents 16384 65536 \
        --batch-rows 4096 --batches-per-block 4 --profile
"""

import argparse
import itertools
import statistics
import time
import warnings
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from benchmarks.measure import emit
from shared.active_configs import TopKConfig
from shared.row_table import Rows
from trainers import Trainer

WARMUP_STEPS = 3
NUM_BLOCKS = 4
Step = Callable[[], object]


def our_steps(blocks: list[np.ndarray], batch_rows: int, num_latents: int, k: int, device: str, autocast: str) -> Step:
    """As many steps as a block has batches."""
    rows, d_in = blocks[0].shape
    config = TopKConfig.model_validate(
        {"name": "t", "architecture": "topk", "num_latents": num_latents, "k": k}
        | {"batch_rows": batch_rows, "autocast": autocast}
    )
    trainer = Trainer(config, {"h": d_in}, seed=0, total_rows=10**9, device=device)
    trainer.fix_scales({"h": 1.0})
    addresses = np.zeros((rows, 5), np.int32)
    streamed = blocks if autocast == "none" else [as_bfloat16(block) for block in blocks]
    numbers = itertools.count()

    def step() -> object:
        number = next(numbers)
        return trainer.read(number, Rows(addresses, {"h": streamed[number % NUM_BLOCKS]}))

    return step


def as_bfloat16(block: np.ndarray) -> np.ndarray:
    """As a producer with a GPU streams it."""
    return torch.from_numpy(block).bfloat16().view(torch.uint16).numpy()


def saelens_step(batches: list[Tensor], num_latents: int, k: int, autocast: bool, sparse: bool) -> Step:
    from sae_lens.config import SAETrainerConfig
    from sae_lens.saes.topk_sae import TopKTrainingSAE, TopKTrainingSAEConfig
    from sae_lens.training.sae_trainer import SAETrainer

    (rows, d_in), device = batches[0].shape, batches[0].device
    options = {"use_sparse_activations": True, "rescale_acts_by_decoder_norm": False} if sparse else {}
    sae = TopKTrainingSAE(TopKTrainingSAEConfig(d_in=d_in, d_sae=num_latents, k=k, device=str(device), **options))
    config = SAETrainerConfig(
        total_training_samples=10**9,
        train_batch_size_samples=rows,
        lr_end=3e-5,
        device=str(device),
        autocast=autocast,
    )
    trainer = SAETrainer(config, sae, data_provider=iter(()))
    stream = itertools.cycle(batches)
    return lambda: trainer.step(next(stream))


def sparsify_step(batches: list[Tensor], num_latents: int, k: int, optimizer: str) -> Step:
    """What its `Trainer.fit` does with a batch of one SAE, in its order."""
    from schedulefree import ScheduleFreeWrapper
    from sparsify import SaeConfig, SparseCoder
    from sparsify.sign_sgd import SignSGD

    (rows, d_in), device = batches[0].shape, batches[0].device
    sae = SparseCoder(d_in, SaeConfig(num_latents=num_latents, k=k), device, dtype=torch.float32)
    if optimizer == "adam":
        optimiser = torch.optim.Adam(sae.parameters(), lr=2e-4)
    else:
        optimiser = ScheduleFreeWrapper(SignSGD(sae.parameters(), lr=5e-3), momentum=0.95)
        optimiser.train()
    since_fired = torch.zeros(num_latents, dtype=torch.int64, device=device)
    did_fire = torch.zeros(num_latents, dtype=torch.bool, device=device)
    stream = itertools.cycle(batches)

    def step() -> float:
        batch = next(stream)
        sae.set_decoder_norm_to_unit_norm()
        found = sae(batch, batch, total_variance=(batch - batch.mean(0)).pow(2).sum())
        did_fire[found.latent_indices.flatten()] = True
        fvu = float(found.fvu.detach())
        found.fvu.backward()
        sae.remove_gradient_parallel_to_decoder_directions()
        optimiser.step()
        optimiser.zero_grad()
        since_fired.add_(rows)
        since_fired[did_fire] = 0
        did_fire.zero_()
        return fvu

    return step


def bare_product(batches: list[Tensor], num_latents: int, autocast: bool) -> Step:
    dtype = torch.bfloat16 if autocast else torch.float32
    x = batches[0].to(dtype)
    weights = torch.randn(num_latents, x.shape[1], dtype=dtype, device=x.device)
    out = torch.empty(len(x), num_latents, dtype=dtype, device=x.device)
    return lambda: torch.mm(x, weights.T, out=out)


def steps_of(arguments: argparse.Namespace, num_latents: int, d_in: int) -> dict[str, Step]:
    """What is compared, for one size."""
    generator = np.random.default_rng(0)
    batch_rows, per_block = arguments.batch_rows, arguments.batches_per_block
    shape = (batch_rows * per_block, d_in)
    blocks = [generator.standard_normal(shape, dtype=np.float32) for _ in range(NUM_BLOCKS)]
    batches = [batch for block in blocks for batch in torch.from_numpy(block).to(arguments.device).split(batch_rows)]
    halves, k = arguments.autocast != "none", arguments.k
    steps = {
        "saelens_dense": saelens_step(batches, num_latents, k, halves, sparse=False),
        "saelens_sparse": saelens_step(batches, num_latents, k, halves, sparse=True),
    }
    if arguments.device == "cuda":
        steps |= {f"sparsify_{name}": sparsify_step(batches, num_latents, k, name) for name in ("adam", "signum")}
    steps["product"] = bare_product(batches, num_latents, halves)
    ours = our_steps(blocks, batch_rows, num_latents, k, arguments.device, arguments.autocast)
    return {"headrace": ours} | {name: several(step, per_block) for name, step in steps.items()}


def several(step: Step, times: int) -> Step:
    def steps() -> None:
        for _ in range(times):
            step()

    return steps


def measured(steps: dict[str, Step], repeats: int, device: str, per_turn: int) -> dict[str, list[float]]:
    """Milliseconds of each step, `per_turn` of them in turn: A B A B …"""
    wait: Callable[[], None] = torch.cuda.synchronize if device == "cuda" else lambda: None
    for step in steps.values():
        for _ in range(WARMUP_STEPS):
            step()
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(repeats):
        for name, step in steps.items():
            wait()
            begin = time.perf_counter()
            step()
            wait()
            times[name].append(1e3 * (time.perf_counter() - begin) / per_turn)
    return times


def compared(arguments: argparse.Namespace, num_latents: int, d_in: int) -> dict[str, float]:
    """Medians, and ratios of them to ours, for one size."""
    steps = steps_of(arguments, num_latents, d_in)
    times = measured(steps, arguments.repeats, arguments.device, arguments.batches_per_block)
    medians = {name: statistics.median(values) for name, values in times.items()}
    result: dict[str, float] = {"num_latents": num_latents, "d_in": d_in}
    for name, values in times.items():
        result |= {f"{name}_ms": medians[name], f"{name}_min_ms": min(values), f"{name}_max_ms": max(values)}
    for name in medians.keys() - {"headrace", "product"}:
        result[f"ratio_{name.removeprefix('saelens_')}"] = medians[name] / medians["headrace"]
    result["of_product"] = medians["product"] / medians["headrace"]
    result["product_tflop_per_s"] = 2e-9 * arguments.batch_rows * d_in * num_latents / medians["product"]
    if arguments.profile:
        print(profiled(steps["headrace"], arguments.device))
    return {name: round(value, 3) for name, value in result.items()}


def profiled(step: Step, device: str, num_steps: int = 10) -> str:
    """What a step's time goes to, kernel by kernel; times are of `num_steps`."""
    with torch.profiler.profile() as profile:
        for _ in range(num_steps):
            step()
    order = "self_cuda_time_total" if device == "cuda" else "self_cpu_time_total"
    table: str = profile.key_averages().table(sort_by=order, row_limit=30, max_name_column_width=60)
    return table


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--autocast", choices=("none", "bfloat16"), default="none")
    parser.add_argument("--num-latents", type=int, nargs="+", default=[1024, 2048, 4096, 8192])
    parser.add_argument("--d-in", type=int, nargs="+", default=[256])
    parser.add_argument("--k", type=int, default=32)
    parser.add_argument("--batch-rows", type=int, default=2048)
    parser.add_argument("--batches-per-block", type=int, default=1, help="steps that are taken at a time")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--profile", action="store_true", help="print what our step's time goes to")
    return parser.parse_args()


def main() -> None:
    arguments = parsed()
    warnings.simplefilter("ignore")
    torch.set_num_threads(arguments.threads)
    results = []
    for d_in, num_latents in itertools.product(arguments.d_in, arguments.num_latents):
        results.append(compared(arguments, num_latents, d_in))
        print(", ".join(f"{name} {value}" for name, value in results[-1].items()), flush=True)
    emit("trainer_step", vars(arguments), results)


if __name__ == "__main__":
    main()
