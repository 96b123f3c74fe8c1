"""One SAE in training: reads blocks in order, and is a function of them and of its configuration alone.

Nothing here draws from a shared generator or looks at a clock, so trainers may be interleaved, stopped and
loaded again, and their weights come out bit for bit the same (on like hardware, for a fixed number of threads).
"""

import math
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from shared.config import AnyTrainer
from shared.digest import StreamDigest
from shared.errors import JobFailed
from shared.row_table import Rows
from trainers.architectures import make_objective
from trainers.batches import Batches, to_float32
from trainers.checkpoint import open_trainer, restore_trainer, save_trainer
from trainers.firing import Firing
from trainers.fvu import Sums, Window
from trainers.sae import SparseAutoencoder
from trainers.saelens_format import SaeFacts, save_sae
from trainers.schedules import learning_rate

WINDOW_FRACTION = 1 / 20
"""Metrics are over the last this share of the token budget."""
ADAM_BETAS = (0.9, 0.999)


@dataclass(frozen=True)
class Report:
    """How a trainer stands; metrics are over some rows, None where there were none."""

    tokens: int
    """Rows read."""
    steps: int
    cursor: int
    """The next block to read."""
    fvu: float | None
    l0: float | None
    dead_fraction: float
    losses: dict[str, float]
    lr: float


class Trainer:
    """Reads blocks 0, 1, 2 … and takes a step for every `batch_rows` rows."""

    def __init__(
        self, config: AnyTrainer, d_in: int, seed: int, total_rows: int, device: str | torch.device = "cpu"
    ) -> None:
        """Weights at their start; `seed` is the job's, used where the trainer's configuration has none."""
        self.config = config
        self.d_in = d_in
        self.seed = seed if config.seed is None else config.seed
        self.total_rows = total_rows
        self.device = torch.device(device)
        self.scale: float | None = None
        self.cursor = self.rows_read = self.rows_trained = self.steps = 0
        self.digest = StreamDigest()
        self.objective = make_objective(config, d_in, self.seed).to(self.device)
        window_rows = max(1, int(total_rows * WINDOW_FRACTION))
        self.window = Window(window_rows, d_in)
        self.firing = Firing(config.num_latents, config.dead_after_tokens, window_rows).to(self.device)
        self.batches = Batches(config.batch_rows, d_in, self.device)
        self.optimiser = torch.optim.Adam(
            self.objective.parameters(), betas=ADAM_BETAS, eps=self.objective.adam_eps, fused=True
        )

    @property
    def sae(self) -> SparseAutoencoder:
        """The SAE as it stands, for scaled rows; `save_sae` folds the scale in."""
        return self.objective.sae

    @property
    def fraction(self) -> float:
        """Of the token budget that was trained on."""
        return min(1.0, self.rows_trained / self.total_rows)

    @property
    def lr(self) -> float:
        """Of the next step."""
        objective = self.objective
        return learning_rate(
            self.fraction, objective.peak_lr, self.config.lr_warmup_fraction, objective.lr_decay_fraction
        )

    def fix_scale(self, scale: float) -> None:
        """Says what every row is multiplied by; before the first block, and never changed after."""
        assert self.scale is None or self.scale == scale, "the scale is fixed once"
        assert math.isfinite(scale) and scale > 0, f"scale {scale}"
        self.scale = scale

    def read(self, block: int, rows: Rows, hookpoint: str) -> Report:
        """Trains on every batch that block `block`, the one at the cursor, fills; the metrics are of those.

        Raises:
            JobFailed: a loss is not finite.
        """
        assert block == self.cursor, f"block {block} came, {self.cursor} is next"
        values, scale = rows.activations[hookpoint], self._fixed_scale()
        if block == 0:
            self.objective.start(to_float32(values).to(self.device).mul_(scale))
        sums = Sums.none(self.d_in)
        for batch in self.batches.add(values, scale):
            sums += self._step(batch)
        self.window.add(sums)
        self.digest.update(rows)
        self.cursor += 1
        self.rows_read += rows.num_rows
        return self._report(sums)

    def pass_over(self, block: int) -> None:
        """Moves past block `block`, which its lane ended before: the corpus had no rows for it."""
        assert block == self.cursor, f"block {block} came, {self.cursor} is next"
        self.cursor += 1

    def finish(self) -> Report | None:
        """Trains on the last batch, shorter than the others; None where no row waits."""
        batch = self.batches.flush(self._fixed_scale()) if self.rows_read else None
        if batch is None:
            return None
        sums = self._step(batch)
        self.window.add(sums)
        return self._report(sums)

    def report(self) -> Report:
        """How the trainer stands; metrics over the last `WINDOW_FRACTION` of the token budget."""
        return self._report(self.window.total())

    def save(self, folder: Path) -> None:
        """Writes the whole state as `folder`, durable when this returns."""
        save_trainer(self, folder)

    @classmethod
    def load(cls, folder: Path, config: AnyTrainer, device: str | torch.device = "cpu") -> "Trainer":
        """The trainer that was saved as `folder`, to go on as if it had never stopped.

        Raises:
            CheckpointError: a file is damaged, or the trainer was one that `config` does not describe.
        """
        facts, tensors = open_trainer(folder, config)
        trainer = cls(config, facts["d_in"], facts["seed"], facts["total_rows"], device)
        restore_trainer(trainer, facts, tensors)
        return trainer

    def save_sae(self, folder: Path, facts: SaeFacts) -> None:
        """Writes the SAE as it stands, for raw rows, in SAELens' format."""
        frequencies = self.firing.frequencies()
        save_sae(self.sae, self._fixed_scale(), folder, facts, asdict(self.report()), frequencies)

    def _step(self, x: Tensor) -> Sums:
        result = self.objective.backward(x, self.firing, self.fraction)
        if not math.isfinite(result.losses["loss"]):
            raise JobFailed(f"trainer {self.config.name}: the loss of step {self.steps} is {result.losses['loss']}")
        self.objective.constrain_gradients()
        if self.config.grad_clip is not None:
            clip_gradients(list(self.objective.parameters()), self.config.grad_clip)
        self.optimiser.param_groups[0]["lr"] = self.lr
        self.optimiser.step()
        self.objective.constrain_weights()
        self.rows_trained += len(x)
        self.steps += 1
        return Sums.of(x, result.error, result.l0, result.losses)

    def _report(self, sums: Sums) -> Report:
        return Report(
            tokens=self.rows_read,
            steps=self.steps,
            cursor=self.cursor,
            fvu=sums.fvu,
            l0=sums.l0,
            dead_fraction=self.firing.dead_fraction,
            losses=sums.mean_losses,
            lr=self.lr,
        )

    def _fixed_scale(self) -> float:
        assert self.scale is not None, "fix_scale comes before the first block"
        return self.scale


def clip_gradients(parameters: list[torch.nn.Parameter], max_norm: float) -> None:
    """Scales all gradients so that their common norm is at most `max_norm`; one pass where it is already."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norm = torch.stack([torch.linalg.vector_norm(gradient) for gradient in gradients]).norm().item()
    if norm > max_norm:
        torch._foreach_mul_(gradients, max_norm / norm)
