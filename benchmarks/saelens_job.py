"""SAELens' multi-SAE runner on what `bench_job` prepared, in a process of its own; its last line says how it went.

Nothing of theirs is changed but for a clock that is read after every step. What they offer that costs time here is
off (wandb, evaluation, checkpoints); the corpus is tokenised already, so their loader has no tokeniser to run.
"""

import json
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from sae_lens import LoggingConfig
from sae_lens.multi_sae_training_runner import MultiSAETrainingRunner, MultiSAETrainingRunnerConfig
from sae_lens.saes.topk_sae import TopKTrainingSAEConfig
from sae_lens.training.multi_sae_trainer import MultiSAETrainer

from benchmarks.inputs import CONTEXT_TOKENS, CONTEXTS, HOOKPOINT


def main() -> None:
    warnings.simplefilter("ignore")
    settings = json.loads(sys.argv[1])
    if settings["threads"]:
        torch.set_num_threads(settings["threads"])
    clock: list[float] = []
    _watch_steps(clock)
    dataset = Dataset.from_parquet(settings["contexts"], columns=[CONTEXTS])
    MultiSAETrainingRunner(_configuration(settings), override_dataset=dataset).run()
    rows = settings["batch_rows"] * (len(clock) - 1)
    print(json.dumps({"rows": rows, "begin_s": clock[0], "end_s": clock[-1]}))


def _watch_steps(clock: list[float]) -> None:
    """Appends the time at which each step of all SAEs ended."""
    update = MultiSAETrainer._update_pbar

    def noted(self: MultiSAETrainer, *arguments: Any, **options: Any) -> None:
        clock.append(time.time())
        update(self, *arguments, **options)

    MultiSAETrainer._update_pbar = noted


def _configuration(settings: dict[str, Any]) -> MultiSAETrainingRunnerConfig:
    sparse = {"use_sparse_activations": True, "rescale_acts_by_decoder_norm": False} if settings["sparse"] else {}
    saes = {
        f"topk-{size}": TopKTrainingSAEConfig(d_in=settings["d_in"], d_sae=size, k=settings["k"], **sparse)
        for size in settings["num_latents"]
    }
    return MultiSAETrainingRunnerConfig(
        saes=saes,
        hook_names=HOOKPOINT,
        model_name=settings["model"],
        model_class_name="AutoModelForCausalLM",
        streaming=False,
        context_size=CONTEXT_TOKENS,
        n_batches_in_buffer=settings["buffer_rows"] // CONTEXT_TOKENS,
        store_batch_size_prompts=settings["contexts_per_forward"],
        train_batch_size_tokens=settings["batch_rows"],
        training_tokens=settings["tokens"],
        prefetch_llm_batches=settings["prefetch"],
        lr_end=3e-5,
        logger=LoggingConfig(log_to_wandb=False),
        checkpoint_path=None,
        output_path=str(Path(settings["output"])),
    )


if __name__ == "__main__":
    main()
