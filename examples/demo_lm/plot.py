"""Draw loss.png from loss.csv and training.json (needs matplotlib, which Headrace itself does not).

python examples/demo_lm/plot.py
"""

from __future__ import annotations

import csv
import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

FOLDER = Path(__file__).parent


def read_losses(path: Path) -> dict[str, list[float]]:
    with path.open() as file:
        rows = list(csv.DictReader(file))
    return {name: [float(row[name]) for row in rows] for name in rows[0]}


def main() -> None:
    losses = read_losses(FOLDER / "loss.csv")
    facts = json.loads((FOLDER / "training.json").read_text())
    figure, axes = pyplot.subplots(figsize=(7, 4), dpi=110, layout="constrained")
    axes.plot(losses["step"], losses["train_loss"], color="#9db8d2", label="train, mean since the point before")
    axes.plot(
        losses["step"], losses["held_out_loss"], color="#1f4e79", marker="o", markersize=3, label="held-out files"
    )
    for name, style in (("unigram", ":"), ("bigram", "--")):
        axes.axhline(facts[f"{name}_loss"], color="#888888", linestyle=style, label=f"{name} model, held-out files")
    axes.set(xlabel="step", ylabel="loss (nats per token)", xlim=(0, None))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="upper right", bbox_to_anchor=(1, 0.93))
    figure.savefig(FOLDER / "loss.png", metadata={"Software": None})


if __name__ == "__main__":
    main()
