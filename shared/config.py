"""The job file's model: every key, its default and its unit. Frozen; imports no torch, ray or transformers.

What the job file says, together with the corpus, fixes the stream and every trainer's weights; nothing here is
read from the machine. `shared.job_file` reads YAML into these classes and words the errors.
"""

import os
import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from shared.config_types import (
    AtLeastZero,
    Bytes,
    Gpus,
    Name,
    Number,
    Positive,
    Section,
    Seed,
    Text,
    Whole,
    on_one_line,
)
from shared.registry_secret import check_url
from shared.trainer_configs import AnyTrainer

SECRET_IN_URL = re.compile(r"^\w+://[^/?]*@|[?&](?:secret_key|access_key|session_token)=")
"""Where Arrow's file systems take credentials from a URL."""


class ModelConfig(Section):
    name: Text
    """A Hugging Face id or a folder."""
    hookpoints: Annotated[tuple[Text, ...], Field(min_length=1)]
    """Module names: the module's output; `NAME:in` for its input."""
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = "auto"
    """Of the model's weights and of the stream's rows; auto: bfloat16 on a GPU that has it, else float32."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto: cuda when the producer was given a GPU, else cpu."""
    revision: Text | None = None
    """A branch, tag or commit on the hub."""
    tokenizer: Text | None = None
    """A tokenizer's id or folder, where it is not the model's own."""
    trust_remote_code: bool = False
    """Run code that comes with the model. Only for models that you trust as you trust a program."""

    @model_validator(mode="after")
    def _hookpoints_differ(self) -> "ModelConfig":
        if len(set(self.hookpoints)) != len(self.hookpoints):
            raise ValueError("hookpoints must differ from each other")
        return self


class CorpusConfig(Section):
    source: Text | Annotated[tuple[Text, ...], Field(min_length=1)]
    """Paths, globs, folders of .parquet .jsonl .txt .arrow; `s3://` or `gs://` URLs, `hf://dataset:split`, `stdlib`."""
    text_column: Text = "text"
    """The column or JSON key that holds the text."""
    tokens_column: Text | None = None
    """The column that holds token ids, for a corpus that is tokenised already; text_column is then not read."""
    context_tokens: Annotated[Whole, Field(ge=2)] = 128
    """Tokens in a context, special tokens included."""
    unit_contexts: Positive = 256
    """About how many contexts make a unit, the slice of the corpus that one producer leases at a time."""
    epochs: Annotated[Whole, Field(ge=1, le=1000)] = 1
    """How often the corpus may be read before the stream ends; each time in another order."""
    prepend_bos: bool = True
    """Begin each context with the tokenizer's BOS token, where it has one and does not add special tokens itself."""
    exclude_special_tokens: bool = True
    """Leave the tokenizer's special tokens (BOS, EOS, CLS …) out of the training rows; the model still sees them."""
    exclude_tokens: tuple[str, ...] = ()
    """Further tokens, as the vocabulary writes them, to leave out of the training rows."""

    @field_validator("source")
    @classmethod
    def _names_no_secret(cls, source: str | tuple[str, ...]) -> str | tuple[str, ...]:
        if any(SECRET_IN_URL.search(one) for one in ((source,) if isinstance(source, str) else source)):
            raise ValueError(
                "must hold no key, which job.yaml and logs would show: give it as AWS_ACCESS_KEY_ID and "
                "AWS_SECRET_ACCESS_KEY, or in its usual file"
            )
        return source


class ProducersConfig(Section):
    count: Positive = 1
    """Producer actors."""
    gpus: Gpus = 0
    """GPUs for each producer."""
    cpus: AtLeastZero = 1
    """CPUs that Ray reserves for each producer."""
    threads: Positive = 1
    """Threads of each producer's torch; part of the job, since it changes rounding."""
    contexts_per_forward: Positive = 64
    """Contexts in one forward pass."""


class StreamConfig(Section):
    lanes: Positive = 1
    """Shuffling buffers; unit u goes to lane u mod lanes."""
    buffer_rows: Positive = 262_144
    """Rows that each lane's reservoir mixes."""
    block_rows: Positive = 8192
    """Rows in a block, the piece that trainers fetch."""
    log_bytes: Bytes = 2**30
    """Bytes of blocks that each lane keeps for trainers that lag; a full log stops the lane."""
    spool_bytes: Bytes = 0
    """Bytes of blocks that each lane puts on disk, in the run folder, before its log counts as full."""
    window_units: Positive | None = None
    """Units of one lane that may be in work at once; default: two for each producer of the lane, and one."""

    @model_validator(mode="after")
    def _block_fits(self) -> "StreamConfig":
        if self.block_rows > self.buffer_rows:
            raise ValueError(f"block_rows ({self.block_rows}) must be at most buffer_rows ({self.buffer_rows})")
        return self


class CheckpointConfig(Section):
    every_blocks: Positive = 100
    """Blocks between two barriers."""
    keep: Positive = 2
    """Complete checkpoints that stay on disk."""
    stop_within_s: Annotated[Number, Field(gt=0)] = 100.0
    """Seconds that a stop leaves all to come to one block and save it; then the last complete checkpoint has to do.

    Less than the 120 s after which `ray job stop`, as `headrace submit` sets it, kills everything.
    """


LARGEST_HOLDOUT = 0.5


class EvaluationConfig(Section):
    """What no trainer reads, and what SAEs are measured on."""

    holdout: Annotated[Number, Field(ge=0, le=LARGEST_HOLDOUT)] = 0.01
    """Share of the corpus that is kept out of every epoch; the seed fixes which."""
    contexts: Positive = 1024
    """Held-out contexts that an evaluation is over, if there are so many."""
    contexts_per_forward: Positive = 16
    """Contexts in one forward pass; here it computes logits, one for each token and word of the vocabulary."""
    every_blocks: Positive | None = None
    """While the job runs, evaluate a checkpoint each time so many blocks have passed; null: never."""
    gpus: Gpus = 0
    """GPUs for the actor that evaluates while the job runs."""
    cpus: AtLeastZero = 1
    """CPUs that Ray reserves for it."""
    threads: Positive = 1
    """Threads of its torch."""

    @model_validator(mode="after")
    def _there_is_text(self) -> "EvaluationConfig":
        if self.every_blocks is not None and self.holdout == 0:
            raise ValueError("every_blocks needs text to evaluate on: set evaluation.holdout above 0")
        return self


class Job(Section):
    """One job file, whole and checked."""

    name: Name
    seed: Seed = 0
    """Fixes the order of the stream and the trainers' initial weights."""
    model: ModelConfig
    corpus: CorpusConfig
    producers: ProducersConfig = ProducersConfig()
    stream: StreamConfig = StreamConfig()
    trainers: Annotated[tuple[AnyTrainer, ...], Field(min_length=1)]
    tokens: Positive
    """Rows that every trainer reads."""
    checkpoint: CheckpointConfig = CheckpointConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    output: Text
    """The run folder; default runs/<name>."""
    registry: Annotated[
        str,
        AfterValidator(on_one_line),
        Field(pattern=r"^(embedded|(redis|rediss|unix)://.+)$"),
        AfterValidator(check_url),
    ] = "embedded"
    """embedded, or the URL of a Redis server."""

    @model_validator(mode="before")
    @classmethod
    def _default_output(cls, values: object) -> object:
        if not isinstance(values, dict):
            return values
        output = values.get("output")
        if output is None and "name" in values:
            return {**values, "output": f"runs/{values['name']}"}
        return {**values, "output": os.path.expanduser(output)} if isinstance(output, str) else values

    @model_validator(mode="after")
    def _parts_fit(self) -> "Job":
        names = [trainer.name for trainer in self.trainers]
        for index, trainer in enumerate(self.trainers):
            if trainer.name in names[:index]:
                raise ValueError(
                    f"trainers[{index}].name {trainer.name!r} is taken; "
                    "put what varies into it, such as topk-{num_latents}-k{k}"
                )
            misplaced = trainer.misplaced(self.model.hookpoints)
            if misplaced:
                raise ValueError(f"trainers[{index}].{misplaced}")
        if "://" in self.output:
            raise ValueError(f"output must be a folder of this machine's file system, got {self.output!r}")
        return self

    @property
    def window_units(self) -> int:
        """Units of one lane that may be in work at once."""
        return self.stream.window_units or -(-2 * self.producers.count // self.stream.lanes) + 1

    @property
    def num_blocks(self) -> int:
        """Blocks in a stream that the corpus does not end early."""
        return -(-self.tokens // self.stream.block_rows)
