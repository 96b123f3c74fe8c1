"""What a run's model and SAEs make of prompts: activations at each token, and what is predicted without a latent."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from cluster.encoding import side_by_side
from cluster.evaluation import Subject
from cluster.workbench import Workbench
from features.effects import ablation, effects_of
from producers.held_out import ContextBatch
from producers.pretrained import load_config, max_positions
from shared.errors import UserError

PROMPTS_AT_ONCE = 16


class Prompt(NamedTuple):
    """One prompt, or a piece of one; n of its tokens are rows: not BOS and the like."""

    tokens: np.ndarray
    """int64 [n]"""
    acts: np.ndarray
    """float32 [n, L]"""
    x: np.ndarray
    """float32 [n, d_out]: what the SAE is to reconstruct."""
    recon: np.ndarray
    """float32 [n, d_out]"""


class Influence(NamedTuple):
    """What the model loses on prompts when a latent is taken away everywhere; nats per token."""

    loss_rise: float
    kl: float


def read_prompts(bench: Workbench, subject: Subject, prompts: Sequence[str]) -> list[Prompt]:
    """Each prompt as the SAE sees it; longer ones than the model can take are cut off.

    Raises:
        UserError: a prompt is empty.
    """
    return read_tokens(bench, subject, encoded(bench, prompts))


def read_tokens(bench: Workbench, subject: Subject, prompts: Sequence[Tensor]) -> list[Prompt]:
    """The same of token ids, int64 [tokens] each, with what stands around a text."""
    return [one for batch in batches(bench, prompts) for one in _read(bench, subject, batch)]


def encoded(bench: Workbench, prompts: Sequence[str]) -> list[Tensor]:
    """Token ids, int64 [tokens] each, no more than the model can take. Raises UserError if a prompt is empty."""
    longest = max_positions(load_config(bench.job.model)) or bench.job.corpus.context_tokens
    found = [bench.encode(prompt)[:longest] for prompt in prompts]
    for prompt, ids in zip(prompts, found, strict=True):
        if bench.excluded(ids).all():
            raise UserError(f"a prompt must have text in it, got {prompt!r}")
    return found


def batches(bench: Workbench, prompts: Sequence[Tensor]) -> Iterator[ContextBatch]:
    """[prompts, tokens], padded on the right; `kept` are the tokens that train."""
    for start in range(0, len(prompts), PROMPTS_AT_ONCE):
        yield _padded(bench, prompts[start : start + PROMPTS_AT_ONCE])


def _padded(bench: Workbench, prompts: Sequence[Tensor]) -> ContextBatch:
    mask = torch.nn.utils.rnn.pad_sequence([torch.ones(len(ids), dtype=torch.bool) for ids in prompts], True)
    token_ids = torch.nn.utils.rnn.pad_sequence(list(prompts), True, bench.template.pad)
    return ContextBatch(token_ids, mask, mask & ~bench.excluded(token_ids))


def influence(bench: Workbench, subject: Subject, latent: int, prompts: Sequence[str]) -> Influence | None:
    """None where the model predicts no next token, or the SAE cannot be put into it (a crosscoder)."""
    if bench.spliced.no_logits or len(subject.inputs) > 1:
        return None
    rises, divergences, positions = 0.0, 0.0, 0
    output = None if subject.targets == subject.inputs else subject.targets[0]
    taken = [ablation(subject.sae, subject.inputs[0], latent, output=output)]
    for batch in batches(bench, encoded(bench, prompts)):
        with bench.in_use:
            effects = effects_of(bench.model, bench.tokenizer, taken, batch.token_ids, batch.attention_mask.long())
        counted = (batch.attention_mask[:, 1:] & batch.kept[:, :-1]).to(effects.loss_rise.device)
        rises += float(effects.loss_rise[counted].sum())
        divergences += float(effects.kl[:, :-1][counted].sum())
        positions += int(counted.sum())
    return Influence(rises / positions, divergences / positions) if positions else None


@torch.inference_mode()
def _read(bench: Workbench, subject: Subject, batch: ContextBatch) -> list[Prompt]:
    with bench.in_use:
        rows = {name: values.float() for name, values in bench.spliced.clean(*batch).rows.items()}
    acts, recon = subject.sae.acts_and_recon(side_by_side(rows, subject.inputs))
    acts = torch.where(acts > subject.sae.fires_above, acts, 0)
    columns = (batch.token_ids[batch.kept], acts, side_by_side(rows, subject.targets), recon)
    sizes = batch.kept.sum(1).tolist()
    parts = [column.cpu().split(sizes) for column in columns]
    return [Prompt(*(part.numpy() for part in one)) for one in zip(*parts, strict=True)]
