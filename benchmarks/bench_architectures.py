"""Which architecture finds the true features best, of those that reconstruct equally many active latents?

Bound by what the loss asks for, not by the machine: a figure here means the same anywhere (for the same threads, to the
bit). All architectures read one stream of rows with known features (`benchmarks.synthetic`), and are measured on other
rows of it: F1 and MCC say what was found, FVU and L0 what it costs. Sparsity is set to the truth's; where a penalty
steers it, several are trained and the one that comes nearest is shown with its penalty. The best FVU need not be the
best dictionary: that is what to look at.

    python -m benchmarks.bench_architectures --rows 400000 --markdown table.md
"""

import argparse
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.contenders import CONTENDERS, Contender
from benchmarks.learning import learn, recovered
from benchmarks.measure import emit
from benchmarks.recovery import Recovery, measure
from benchmarks.synthetic import Truth, all_at_once, correlated, hierarchical, independent, zipf
from shared.trainer_config import TrainerConfig
from trainers.topk import TopK

MEASURED_ROWS = 20_000
SHARED = {"batch_rows": 512, "lr": 5e-3, "lr_decay_fraction": 0.2, "dead_after_tokens": 50_000}
"""Of all contenders, where they do not say otherwise."""
RANDOM = "a random dictionary"
MORE_TRUTHS = 7
"""Seed of the second hookpoint's directions."""

TRUTHS = {
    "independent": lambda: (independent("independent", 128, 32, 3.0), 128),
    "zipf": lambda: (zipf(128, 32, 3.0), 128),
    "hierarchical": lambda: (hierarchical(126, 32, 4.0), 126),
    "correlated": lambda: (correlated(128, 32, 3.0), 128),
    "all at once": lambda: (all_at_once(1024, 64), 256),
}
"""Generator -> the truth, and the latents that are to find it. The last is SynthSAEBench's (16,384 features in 768
dimensions, 4,096 latents) with a sixteenth of its features: 4 times as many as latents, 16 times as dimensions."""


def compete(truth: Truth, num_latents: int, rows: int) -> list[dict[str, Any]]:
    """One row of the table for each contender, all trained on one stream."""
    sites = {"h": truth, "g": truth.elsewhere(MORE_TRUTHS)}
    active = truth.active
    families = [contender.configs(num_latents, active, SHARED) for contender in CONTENDERS]
    configs = [config for family in families for config in family]
    saes = learn(configs, sites, rows)
    results = {id(c): recovered(sae, c, sites, MEASURED_ROWS) for c, sae in zip(configs, saes, strict=True)}
    table = []
    for contender, family in zip(CONTENDERS, families, strict=True):
        best = min(family, key=lambda config: abs(results[id(config)].l0 - active))
        table.append(_row(contender, best, results[id(best)]))
    return [*table, _control(truth, num_latents)]


def _control(truth: Truth, num_latents: int) -> dict[str, Any]:
    """The row of a dictionary that nobody trained, with the truth's sparsity."""
    random = TopK(truth.d_in, num_latents, max(1, round(truth.active)))
    with torch.no_grad():
        random.W_dec.normal_(generator=torch.Generator().manual_seed(0))
        random.W_dec.div_(random.W_dec.norm(dim=1, keepdim=True))
        random.W_enc.copy_(random.W_dec)
    return _figures(RANDOM, measure(random, [truth], [truth], MEASURED_ROWS))


def _row(contender: Contender, config: TrainerConfig, found: Recovery) -> dict[str, Any]:
    penalty = {} if contender.penalty is None else {contender.penalty: getattr(config, contender.penalty)}
    return {**_figures(contender.name, found), **penalty}


def _figures(name: str, found: Recovery) -> dict[str, Any]:
    return {
        "architecture": name,
        "f1": found.firing.f1,
        "mcc": found.directions.mcc,
        "mmcs": found.directions.mmcs,
        "uniqueness": found.directions.uniqueness,
        "fvu": found.fvu,
        "l0": found.l0,
        "true_l0": found.true_l0,
    }


def markdown(tables: dict[str, list[dict[str, Any]]]) -> str:
    """The tables as they stand in results/, best F1 first."""
    parts = []
    for name, table in tables.items():
        lines = [f"### {name}: {table[0]['true_l0']:.2f} features fire", ""]
        lines += ["| architecture | F1 | MCC | MMCS | uniqueness | FVU | L0 |", "|---|---|---|---|---|---|---|"]
        for row in sorted(table, key=lambda one: -one["f1"]):
            figures = " | ".join(f"{row[key]:.3f}" for key in ("f1", "mcc", "mmcs", "uniqueness", "fvu"))
            lines.append(f"| {row['architecture']} | {figures} | {row['l0']:.2f} |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--truths", nargs="+", choices=list(TRUTHS), default=list(TRUTHS))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--markdown", type=Path, help="a file to write the tables to")
    return parser.parse_args()


def main() -> None:
    arguments = parsed()
    torch.set_num_threads(arguments.threads)
    tables = {}
    for name in arguments.truths:
        begun = time.perf_counter()
        tables[name] = compete(*TRUTHS[name](), arguments.rows)
        print(markdown({name: tables[name]}) + f"{time.perf_counter() - begun:.0f} s\n", flush=True)
    if arguments.markdown:
        arguments.markdown.write_text(markdown(tables), encoding="utf-8")
    emit("architectures", vars(arguments), tables)


if __name__ == "__main__":
    main()
