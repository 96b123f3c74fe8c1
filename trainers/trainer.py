"""One SAE in training: reads blocks in order, and is a function of them and of its configuration alone.

Nothing here draws from a shared generator or looks at a clock, so trainers may be interleaved, stopped and
loaded again, and their weights come out bit for bit the same (on like hardware, for a fixed number of threads).
"""

import math
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from shared.digest import StreamDigest
from shared.errors import JobFailed
from shared.row_table import Rows
from shared.trainer_config import TrainerConfig
from trainers import gpu_kernels
from trainers.accumulation import Accumulation
from trainers.architectures import make_objective
from trainers.batches import Batches, to_float32
from trainers.checkpoint import open_trainer, restore_trainer, save_trainer
from trainers.ema import Ema
from trainers.firing import Firing
from trainers.fvu import BatchNumbers, Sums, Window
from trainers.row_norm import PER_ROW, normalised
from trainers.sae import SparseAutoencoder
from trainers.sae_facts import SaeFacts
from trainers.saelens_format import save_sae
from trainers.schedules import learning_rate

WINDOW_FRACTION = 1 / 20
"""Metrics are over the last this share of the token budget."""


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


class Step(NamedTuple):
    """What a batch gave."""

    number: int
    numbers: BatchNumbers


class Trainer:
    """Reads blocks 0, 1, 2 … and takes a step for every `accumulate` times `batch_rows` rows."""

    def __init__(
        self,
        config: TrainerConfig,
        widths: Mapping[str, int],
        seed: int,
        total_rows: int,
        device: str | torch.device = "cpu",
    ) -> None:
        """Weights at their start.

        Args:
            widths: of the hookpoints that a row is made of, in order: `config.columns`.
            seed: the job's, used where the trainer's configuration has none.
        """
        self.config = config
        self.widths = dict(widths)
        self.seed = seed if config.seed is None else config.seed
        self.total_rows = total_rows
        self.device = torch.device(device)
        self.scales: dict[str, float] = {}
        """Hookpoint -> what its activations are multiplied by; empty until fixed."""
        self.cursor = self.rows_read = self.rows_trained = self.steps = 0
        self.gaps: list[list[int]] = []
        """[first, end) of the blocks that were passed over though they held rows."""
        self.gap_rows = 0
        self.digest = StreamDigest()
        row_widths = tuple(self.widths.values())
        self.objective = make_objective(config, row_widths, self.seed).to(self.device)
        self.accumulation = Accumulation(self.objective, config.gradients_per_step)
        self.ema = None if config.ema_decay is None else Ema(self.objective, config.ema_decay).to(self.device)
        window_rows = max(1, int(total_rows * WINDOW_FRACTION))
        self.window = Window(window_rows, self.sae.d_out)
        self.firing = Firing(config.num_latents, config.dead_after_tokens, window_rows, self.device)
        self.batches = Batches(config.gradient_rows, row_widths, self.device)
        self.optimiser = torch.optim.Adam(
            self.objective.parameters(), betas=config.adam_betas, eps=self.objective.adam_eps, fused=True
        )

    @property
    def sae(self) -> SparseAutoencoder:
        """The SAE as it stands, for scaled rows; `exported` folds the scales in."""
        return self.objective.sae

    @property
    def fraction(self) -> float:
        """Of the token budget that was trained on, or passed over, when the present step began."""
        rows = self.rows_trained - int(self.accumulation.rows) + self.gap_rows
        return min(1.0, rows / self.total_rows)

    @property
    def lr(self) -> float:
        """Of the next step."""
        config, peak = self.config, self.objective.peak_lr * self.objective.lr_factor(self.fraction)
        warmup_fraction, decay_fraction = config.lr_warmup_fraction, config.lr_decay_fraction
        return learning_rate(self.fraction, peak, warmup_fraction, decay_fraction, config.lr_warmup_shape)

    def fix_scales(self, scales: Mapping[str, float]) -> None:
        """Says what each hookpoint's activations are multiplied by; before the first block, and never changed after."""
        assert not self.scales or self.scales == scales, "scales are fixed once"
        assert scales.keys() == self.widths.keys(), f"scales of {sorted(scales)}"
        assert all(math.isfinite(scale) and scale > 0 for scale in scales.values()), f"scales {scales}"
        self.scales = {hookpoint: scales[hookpoint] for hookpoint in self.widths}

    def read(self, block: int, rows: Rows) -> Report:
        """Trains on every batch that block `block`, the one at the cursor, fills; the metrics are of those.

        Raises:
            JobFailed: a loss is not finite.
        """
        assert block == self.cursor, f"block {block} came, {self.cursor} is next"
        columns, scales = [rows.activations[hookpoint] for hookpoint in self.widths], self._fixed_scales()
        if self.rows_read == 0:
            first = [to_float32(values).mul_(scale) for values, scale in zip(columns, scales, strict=True)]
            self.objective.start(normalised(torch.cat(first, dim=1).to(self.device), self.config.normalize)[0])
        with self._digesting(rows):
            sums = self._sums([self._step(batch) for batch in self.batches.add(columns, scales)])
        self.window.add(sums)
        self.cursor += 1
        self.rows_read += rows.num_rows
        return self._report(sums)

    def pass_over(self, block: int, gap_rows: int = 0) -> None:
        """Moves past block `block`: its lane ended before it, or it held `gap_rows` rows that are gone."""
        assert block == self.cursor, f"block {block} came, {self.cursor} is next"
        self.cursor += 1
        self.gap_rows += gap_rows
        if gap_rows and self.gaps and self.gaps[-1][1] == block:
            self.gaps[-1][1] = block + 1
        elif gap_rows:
            self.gaps.append([block, block + 1])

    def finish(self) -> Report | None:
        """Trains on the last batch, shorter than the others; None where no row waits."""
        batch = self.batches.flush(self._fixed_scales()) if self.rows_read else None
        if batch is None and self.accumulation.is_empty:
            return None
        sums = self._sums([] if batch is None else [self._step(batch)])
        if not self.accumulation.is_empty:
            self._update()
        self.window.add(sums)
        return self._report(sums)

    def report(self) -> Report:
        """How the trainer stands; metrics over the last `WINDOW_FRACTION` of the token budget."""
        return self._report(self.window.total())

    def save(self, folder: Path) -> None:
        """Writes the whole state as `folder`, durable when this returns."""
        save_trainer(self, folder)

    @classmethod
    def load(cls, folder: Path, config: TrainerConfig, device: str | torch.device = "cpu") -> "Trainer":
        """The trainer that was saved as `folder`, to go on as if it had never stopped.

        Raises:
            CheckpointError: a file is damaged, or the trainer was one that `config` does not describe.
        """
        facts, tensors = open_trainer(folder, config)
        trainer = cls(config, facts["widths"], facts["seed"], facts["total_rows"], device)
        restore_trainer(trainer, facts, tensors)
        return trainer

    def save_sae(self, folder: Path, facts: SaeFacts) -> None:
        """Writes the SAE as it stands, for raw rows, in SAELens' format."""
        save_sae(self.exported(), folder, facts, asdict(self.report()), self.firing.frequencies())

    def exported(self) -> SparseAutoencoder:
        """A copy of the SAE as it stands, for raw rows; of averaged weights, where the configuration asks for them."""
        objective = self.objective if self.ema is None else self.ema.averaged(self.objective)
        trained = objective.trained()
        columns = [torch.full((width,), self.scales[name]) for name, width in self.widths.items()]
        scales = torch.cat(columns).to(self.device)
        raw = trained.folded(scales[: trained.d_in], scales[-trained.d_out :])
        raw.normalize = self.config.normalize if self.config.normalize in PER_ROW else "none"
        return raw

    @contextmanager
    def _digesting(self, rows: Rows) -> Iterator[None]:
        """Takes `rows` into the digest: beside what a GPU does meanwhile, else before."""
        if self.device.type == "cpu":
            self.digest.update(rows)
            yield
            return
        with ThreadPoolExecutor(1) as pool:
            taken_in = pool.submit(self.digest.update, rows)
            yield
            taken_in.result()

    def _step(self, x: Tensor) -> Step:
        """Takes in a batch, and steps when enough have accumulated; a GPU may still be at it afterwards."""
        x = normalised(x, self.config.normalize)[0]
        with self._precision():
            result = self.objective.backward(x, self.firing, self.fraction)
        step = Step(self.steps, BatchNumbers.of(*result))
        if isinstance(loss := result.losses["loss"], float):
            self._check_loss(self.steps, loss)
        self.rows_trained += len(x)
        if self.accumulation.add(self.objective.parameters(), len(x)):
            self._update()
            self.objective.after_step(x, self.optimiser, self.fraction)
        return step

    def _sums(self, steps: list[Step]) -> Sums:
        """Of all `steps`; a GPU is waited for here, and its losses are looked at, once a block."""
        found = Sums.of_batches([step.numbers for step in steps])
        for step, sums in zip(steps, found, strict=True):
            self._check_loss(step.number, sums.losses["loss"])
        return sum(found, Sums.none(self.sae.d_out))

    def _check_loss(self, step: int, loss: float) -> None:
        if not math.isfinite(loss):
            raise JobFailed(f"trainer {self.config.name}: the loss of step {step} is {loss}")

    def _update(self) -> None:
        """One optimiser step by what has accumulated."""
        lr = self.lr
        self.accumulation.take(self.objective.parameters())
        self.objective.constrain_gradients()
        if self.config.grad_clip is not None:
            clip_gradients(list(self.objective.parameters()), self.config.grad_clip)
        self.optimiser.param_groups[0]["lr"] = lr
        self.optimiser.step()
        self.objective.constrain_weights()
        if self.ema is not None:
            self.ema.update(self.objective)
        self.steps += 1

    def _precision(self) -> AbstractContextManager[object]:
        if self.config.autocast == "none":
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)

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

    def _fixed_scales(self) -> list[float]:
        assert self.scales, "fix_scales comes before the first block"
        return list(self.scales.values())


def clip_gradients(parameters: list[torch.nn.Parameter], max_norm: float) -> None:
    """Scales all gradients so that their common norm is at most `max_norm`; one pass where it is already."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norm = torch.stack(torch._foreach_norm(gradients)).norm()
    if all(gpu_kernels.runs_on(gradient) and gradient.is_contiguous() for gradient in gradients):
        for gradient in gradients:
            gpu_kernels.scale_above(gradient, norm, max_norm)
    elif (found := norm.item()) > max_norm:
        torch._foreach_mul_(gradients, max_norm / found)
