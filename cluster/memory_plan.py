"""What a job needs of memory, reckoned before anything starts; what cannot fit is refused in a sentence.

The object store holds each lane's log, pushes under way and blocks that trainers hold; it must lie in /dev/shm whole,
because Ray silently goes to disk when it does not. Everything else is private memory of the actors.
"""

from dataclasses import dataclass

from shared.active_configs import ActiveConfig
from shared.config import Job
from shared.errors import UserError
from shared.lane import UNSPOOLED_KEPT, LaneSizes
from shared.quantity import format_bytes
from shared.trainer_config import TrainerConfig

PROCESS_BYTES = 400 * 2**20
"""A Python process with torch and Ray, before it holds anything of ours (measured: 350 MiB resident)."""
STORE_SLACK = 1.5
"""The store's allocator wanders and fragments."""
SMALLEST_STORE_BYTES = 128 * 2**20
AHEAD_FACTOR = 4
"""Address space for units ahead of the head, times their planned size; untouched pages cost nothing."""
BLOCKS_HELD = 4
"""By each trainer: read now, two ahead, and one in the making."""

LOGITS_HELD = 3
"""The clean ones of a batch, those with something in place, and what becomes of them in float32."""


@dataclass(frozen=True)
class Machine:
    """What there is."""

    memory_bytes: int
    shared_memory_bytes: int


@dataclass(frozen=True)
class MemoryPlan:
    """What a job needs, in bytes; GPUs' memory is not reckoned."""

    lane: LaneSizes
    lanes_bytes: int
    """Private memory of all lanes."""
    producers_bytes: int
    trainers_bytes: int
    store_bytes: int
    evaluator_bytes: int = 0

    @property
    def total_bytes(self) -> int:
        actors = self.lanes_bytes + self.producers_bytes + self.trainers_bytes + self.evaluator_bytes
        return actors + self.store_bytes

    @property
    def summary(self) -> str:
        """`1.2 GiB: lanes 0.3 GiB, producers …`."""
        parts = (
            ("lanes", self.lanes_bytes),
            ("producers", self.producers_bytes),
            ("trainers", self.trainers_bytes),
            *((("evaluator", self.evaluator_bytes),) if self.evaluator_bytes else ()),
            ("object store", self.store_bytes),
        )
        return f"{format_bytes(self.total_bytes)}: " + ", ".join(f"{name} {format_bytes(size)}" for name, size in parts)


def plan_memory(job: Job, widths: dict[str, int], row_bytes: int, weight_bytes: int, vocab_size: int = 0) -> MemoryPlan:
    """The memory of a job whose hookpoints are `widths` wide and whose model's weights take `weight_bytes`."""
    stream, producers = job.stream, job.producers
    chunk_rows = producers.contexts_per_forward * job.corpus.context_tokens
    unit_rows = job.corpus.unit_contexts * job.corpus.context_tokens
    ahead_rows = job.window_units * unit_rows
    lane = LaneSizes(
        stream.buffer_rows,
        chunk_rows,
        stream.buffer_rows + chunk_rows + AHEAD_FACTOR * ahead_rows,
        stream.log_bytes,
        stream.spool_bytes,
    )
    resident_rows = stream.buffer_rows + chunk_rows + ahead_rows + stream.block_rows
    block_bytes = stream.block_rows * row_bytes
    held = BLOCKS_HELD * block_bytes * len(job.trainers) + 2 * producers.count * chunk_rows * row_bytes
    unspooled = UNSPOOLED_KEPT * block_bytes if stream.spool_bytes else 0
    logs = stream.lanes * (max(stream.log_bytes, 2 * block_bytes) + unspooled)
    activations = chunk_rows * max(widths.values()) * 4 * 16
    return MemoryPlan(
        lane,
        stream.lanes * (resident_rows * row_bytes + PROCESS_BYTES),
        producers.count * (2 * weight_bytes + activations + unit_rows * row_bytes + PROCESS_BYTES),
        sum(trainer_bytes(trainer, *_widths(trainer, job, widths)) for trainer in job.trainers),
        max(SMALLEST_STORE_BYTES, int(STORE_SLACK * (logs + held))),
        evaluator_bytes(job, widths, weight_bytes, vocab_size),
    )


def _widths(trainer: TrainerConfig, job: Job, widths: dict[str, int]) -> tuple[int, int]:
    """d_in and d_out."""
    sides = trainer.inputs(job.model.hookpoints), trainer.targets(job.model.hookpoints)
    d_in, d_out = (sum(widths[hookpoint] for hookpoint in side) for side in sides)
    return d_in, d_out


def evaluator_bytes(job: Job, widths: dict[str, int], weight_bytes: int, vocab_size: int) -> int:
    """The model, all SAEs, one trainer's whole state while its SAE is read, and logits; 0 where none is asked for.

    Of an evaluator on a GPU, what passes through the machine's memory.
    """
    evaluation = job.evaluation
    if evaluation.every_blocks is None:
        return 0
    sizes = [(trainer, *_widths(trainer, job, widths)) for trainer in job.trainers]
    read = max(trainer_bytes(*one) for one in sizes) + 2 * weight_bytes
    if evaluation.gpus:
        return read
    logits = 4 * LOGITS_HELD * evaluation.contexts_per_forward * job.corpus.context_tokens * vocab_size
    return read + logits + sum(4 * trainer.num_latents * (d_in + d_out) for trainer, d_in, d_out in sizes)


def trainer_bytes(trainer: TrainerConfig, d_in: int, d_out: int | None = None) -> int:
    """Weights, gradients, Adam's two moments, and the pre-activations of a batch, in float32.

    Of a trainer on a GPU, what it saves: weights and moments pass through the machine's memory.
    """
    d_out = d_in if d_out is None else d_out
    parameters = trainer.num_latents * (d_in + d_out + 1) + d_out
    if trainer.architecture == "skip_transcoder":
        parameters += d_in * d_out
    if trainer.gpus:
        return 12 * parameters + PROCESS_BYTES
    extra = (4 if trainer.ema_decay is not None else 0) + (4 if trainer.gradients_per_step > 1 else 0)
    copies = 2 if isinstance(trainer, ActiveConfig) and trainer.counts_active else 4
    batch = 4 * trainer.gradient_rows * (copies * trainer.num_latents + 3 * (d_in + d_out))
    return (16 + extra) * parameters + batch + PROCESS_BYTES


def check_plan(plan: MemoryPlan, machine: Machine) -> None:
    """Raises UserError, naming the keys to lower, if `plan` does not fit into `machine`."""
    if plan.store_bytes > machine.shared_memory_bytes:
        raise UserError(
            f"the stream needs {format_bytes(plan.store_bytes)} of shared memory and /dev/shm has "
            f"{format_bytes(machine.shared_memory_bytes)}: lower stream.log_bytes or stream.block_rows"
        )
    if plan.total_bytes > machine.memory_bytes:
        raise UserError(
            f"the job needs {plan.summary}; this machine has {format_bytes(machine.memory_bytes)} free: "
            f"lower {_largest_key(plan)}"
        )


def _largest_key(plan: MemoryPlan) -> str:
    sizes = {
        "stream.buffer_rows": plan.lanes_bytes,
        "producers.count": plan.producers_bytes,
        "trainers' num_latents or their number": plan.trainers_bytes,
        "stream.log_bytes": plan.store_bytes,
        "evaluation.contexts_per_forward, or leave out evaluation.every_blocks": plan.evaluator_bytes,
    }
    return max(sizes, key=lambda key: sizes[key])
