"""Does every architecture find a dictionary that is known? Gates on five generators, on seeds that chose nothing.

Bound by what the losses ask for, not by the machine: one thread's figures agree to about a hundredth anywhere. The
gates are those of the field's references. As many features as dimensions, so that they lie apart: mean greatest cosine
(MMCS) and MCC above 0.95. Four times as many: MMCS above 0.9, whether they fire alike and on their own, by Zipf's law,
or correlated, or in trees. A dictionary drawn at random reaches neither. Keys were chosen on truths of seeds 0 and 1,
those of `gated` in the first gate on 10 to 12 too.

Of features in trees a loss asks for chains, one latent for a feature with all that it never fires without: that is
sparser than one for each. So latents are held against chains there; against features alone none comes near 0.9.

    python -m benchmarks.bench_recovery --seeds 2 3 4 --markdown gates.md
"""

import argparse
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from benchmarks.learning import learn, recovered
from benchmarks.measure import emit
from benchmarks.recovery import Recovery, compare_directions
from benchmarks.synthetic import Truth, correlated, exact, hierarchical, zipf
from shared.trainer_config import TrainerConfig
from shared.trainer_configs import TRAINER_CONFIGS

ELSEWHERE = 5
"""Added to a truth's seed: the seed of the second hookpoint's directions."""
MEASURED_ROWS = 10_000
BATCH_ROWS = 256

Keys = dict[str, Any]
TOPK: Keys = {"k": 2, "lr": 1e-2, "dead_after_tokens": 20_000, "lr_decay_fraction": 0.2}
EAGER: Keys = {"dead_after_tokens": 5_000, "auxk": 16, "k_anneal_fraction": 0.5, "k_anneal_from": 8}
BETWEEN: Keys = {"hookpoint": "h", "target_hookpoint": "g"}
L1: Keys = {"activation": "relu_l1", "l1_coefficient": 0.5, "lr": 1e-2}
KEYS: dict[str, Keys] = {
    "topk": TOPK,
    "multi_topk": TOPK,
    "batch_topk": TOPK | EAGER,
    "matryoshka": TOPK | EAGER | {"group_fractions": (0.75, 0.25)},
    "relu_l1": {"l1_coefficient": 2.0, "lr": 1e-2},
    "relu_l1_2023": {"l1_coefficient": 0.3, "lr": 1e-2},
    "gated": {"l1_coefficient": 0.6, "lr": 1e-2},
    "p_anneal": {"l1_coefficient": 0.35, "lr": 1e-2},
    "kl": {"lr": 3e-2, "lr_decay_fraction": 0.3, "rho": 0.02, "weight_decay": 1e-3},
    "jumprelu": {
        "target_l0": 2.0,
        "l0_coefficient": 0.3,
        "threshold_init": 0.1,
        "bandwidth": 0.1,
        "l0_warmup_fraction": 0.9,
        "lr": 2e-2,
        "lr_decay_fraction": 0.5,
    },
    "jumprelu_tanh": {"sparsity_coefficient": 0.7, "lr": 5e-3, "accumulate": 1},
    "transcoder, topk": BETWEEN | TOPK,
    "transcoder, relu_l1": BETWEEN | L1,
    "skip_transcoder, topk": BETWEEN | TOPK,
    "skip_transcoder, relu_l1": BETWEEN | L1,
    "crosscoder, topk": {"activation": "topk"} | TOPK,
    "crosscoder, relu_l1": {"l1_coefficient": 1.0, "lr": 1e-2},
}
"""Of each architecture, for two features on a row and activations scaled as is its default."""
REVIVED: Keys = {
    "resample_at_fractions": tuple(one / 20 for one in range(1, 17)),
    "resample_window_fraction": 0.02,
    "resample_rows_fraction": 0.01,
}
"""Latents without a feature are given one, often."""
APART_KEYS: dict[str, Keys] = {
    "multi_topk": EAGER,
    "crosscoder, topk": EAGER,
    "relu_l1": {"l1_coefficient": 1.0},
    "relu_l1_2023": {"l1_coefficient": 0.07},
    "gated": {"l1_warmup_fraction": 0.0, "lr_decay_fraction": 0.2} | REVIVED,
    "p_anneal": {"l1_coefficient": 0.05},
    "kl": {"rho": 1 / 32, "lr": 1e-1},
    "jumprelu": {"target_l0": None, "l0_coefficient": 0.02},
    "jumprelu_tanh": {"sparsity_coefficient": 2.5, "lr": 2e-2},
}
"""Where features lie apart penalties may be lower; a latent that loses its feature finds no other: large steps help, or
resampling."""
NOT_APART = frozenset({"skip_transcoder, topk", "skip_transcoder, relu_l1"})
"""Where no two features share a dimension one hookpoint is a linear map of the other, and a skip takes it whole."""
UNEVEN_KEYS: dict[str, Keys] = {"jumprelu": {"l0_coefficient": 0.1}}
TREE_KEYS: dict[str, Keys] = {
    "batch_topk": {"k": 1, "k_anneal_from": 4},
    "matryoshka": {"k": 1, "k_anneal_fraction": 0.0},
    "relu_l1": {"l1_coefficient": 4.0},
    "relu_l1_2023": {"l1_coefficient": 0.6},
    "gated": {"l1_coefficient": 1.2},
    "p_anneal": {"l1_coefficient": 0.7},
    "kl": {"rho": 0.007},
    "jumprelu": {"target_l0": 1.0, "l0_coefficient": 1.0},
    "jumprelu_tanh": {"sparsity_coefficient": 1.5, "lr": 1e-2},
    "transcoder, relu_l1": {"l1_coefficient": 2.0},
    "skip_transcoder, topk": {"k": 1},
    "skip_transcoder, relu_l1": {"l1_coefficient": 1.0},
    "crosscoder, relu_l1": {"l1_coefficient": 2.0},
}
"""A row shows fewer chains than features."""


class Gate(NamedTuple):
    """A generator, and what an architecture must reach on it."""

    truth: Callable[[int], Truth]
    """Of a seed."""
    rows: int
    mmcs: float
    mcc: float
    keys: Mapping[str, Keys] = {}
    together: bool = False
    """Directions are those of features together with their ancestors."""

    def is_passed(self, found: Recovery) -> bool:
        return found.directions.mmcs > self.mmcs and found.directions.mcc > self.mcc


GATES = {
    "apart": Gate(lambda seed: exact("apart", 64, 64, 2, seed), 300_000, 0.95, 0.95, APART_KEYS),
    "superposed": Gate(lambda seed: exact("superposed", 96, 24, 2, seed), 200_000, 0.9, 0.0),
    "zipf": Gate(lambda seed: zipf(96, 24, 2.0, seed), 400_000, 0.9, 0.0, UNEVEN_KEYS),
    "correlated": Gate(lambda seed: correlated(96, 24, 2.0, seed), 400_000, 0.9, 0.0, UNEVEN_KEYS),
    "hierarchical": Gate(lambda seed: hierarchical(98, 24, 3.0, seed), 300_000, 0.9, 0.0, TREE_KEYS, together=True),
}


def contestants(gate: str) -> list[str]:
    """The architectures, with their activations, that the gate is for."""
    return [name for name in KEYS if not (gate == "apart" and name in NOT_APART)]


def found(architecture: str, gate: str, seed: int, rows: int | None = None) -> Recovery:
    """What `architecture` finds of the gate's truth of `seed`, after the gate's rows or so many."""
    truth, name = GATES[gate].truth(seed), architecture.partition(",")[0]
    whole = {"name": "t", "architecture": name, "num_latents": truth.num_features, "batch_rows": BATCH_ROWS}
    keys = KEYS[architecture] | GATES[gate].keys.get(architecture, {})
    config: TrainerConfig = TRAINER_CONFIGS[name].model_validate(whole | keys)
    sites = {"h": truth, "g": truth.elsewhere(seed + ELSEWHERE)} if "coder" in name else {"h": truth}
    (sae,) = learn([config], sites, rows or GATES[gate].rows)
    return recovered(sae, config, sites, MEASURED_ROWS, GATES[gate].together)


def of_random(gate: str, seed: int) -> tuple[float, float]:
    """MMCS and MCC of a dictionary that nobody trained."""
    known = GATES[gate].truth(seed)
    truth = torch.from_numpy(known.chains if GATES[gate].together else known.directions)
    directions = compare_directions(torch.randn(truth.shape, generator=torch.Generator().manual_seed(seed)), truth)
    return directions.mmcs, directions.mcc


def markdown(tables: dict[str, dict[str, list[Recovery]]], seeds: list[int]) -> str:
    """A table for each gate: means over the seeds, and the least MMCS."""
    parts = []
    for gate, table in tables.items():
        lines = ["| architecture | MMCS (least) | MCC | F1 | FVU | L0 | passed |", "|---|---|---|---|---|---|---|"]
        lines += [_line(name, GATES[gate], table[name]) for name in sorted(table, key=lambda one: -_mmcs(table[one]))]
        random = [of_random(gate, seed) for seed in seeds]
        mmcs, mcc = (sum(one) / len(random) for one in zip(*random, strict=True))
        lines.append(f"| a random dictionary | {mmcs:.3f} | {mcc:.3f} | | | | no |")
        parts.append("\n".join([f"### {gate}", "", *lines]))
    return "\n\n".join(parts) + "\n"


def _line(name: str, gate: Gate, some: list[Recovery]) -> str:
    least, passed = min(one.directions.mmcs for one in some), sum(gate.is_passed(one) for one in some)
    means = [_mean([one.directions.mcc for one in some]), _mean([one.firing.f1 for one in some])]
    means += [_mean([one.fvu for one in some])]
    figures = " | ".join(f"{value:.3f}" for value in means)
    return (
        f"| {name} | {_mmcs(some):.3f} ({least:.3f}) | {figures} | {_mean([one.l0 for one in some]):.2f} "
        f"| {passed} of {len(some)} |"
    )


def _mmcs(some: list[Recovery]) -> float:
    return _mean([one.directions.mmcs for one in some])


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[2, 3, 4])
    parser.add_argument("--gates", nargs="+", choices=list(GATES), default=list(GATES))
    parser.add_argument("--markdown", type=Path, help="a file to write the tables to")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    tables: dict[str, dict[str, list[Recovery]]] = {}
    for gate in arguments.gates:
        begun = time.perf_counter()
        names = contestants(gate)
        tables[gate] = {name: [found(name, gate, seed) for seed in arguments.seeds] for name in names}
        print(markdown({gate: tables[gate]}, arguments.seeds) + f"{time.perf_counter() - begun:.0f} s\n", flush=True)
    if arguments.markdown:
        arguments.markdown.write_text(markdown(tables, arguments.seeds), encoding="utf-8")
    least = {
        gate: {name: min(one.directions.mmcs for one in some) for name, some in table.items()}
        for gate, table in tables.items()
    }
    emit("recovery", vars(arguments), least)


if __name__ == "__main__":
    main()
