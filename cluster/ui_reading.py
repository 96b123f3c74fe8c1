"""One's own text under an SAE: which latents fire on which token; and what a latent does to the model's predictions."""

from typing import Any

import torch
from torch import Tensor

from cluster.encoding import encode_rows
from cluster.evaluation import Subject
from cluster.vocabulary import Vocabulary
from cluster.workbench import Workbench
from features.effects import Effects, Votes, ablation, effects_of
from shared.errors import UserError

MAX_TOKENS = 512
"""Of one's own text; what is beyond is cut off, and said."""
MAX_FIRING = 64
"""Latents that are shown of a token, the strongest."""


def read_text(bench: Workbench, sae: str, text: str, vocabulary: Vocabulary) -> dict[str, Any]:
    """The text's tokens, and of each the latents that fire, strongest first; none of tokens that no trainer reads."""
    if not text:
        raise UserError("the text is empty")
    whole = bench.encode(text)
    ids = whole[: min(MAX_TOKENS, longest(bench))]
    kept = ~bench.excluded(ids)
    firing: list[list[tuple[int, float]]] = [[] for _ in ids]
    with bench.in_use:
        subject = bench.sae(sae)
        rows = bench.spliced.clean(ids[None], torch.ones_like(ids[None]), kept[None]).rows
        codes = encode_rows(subject, {name: values.float() for name, values in rows.items()}).codes
    places = kept.nonzero().flatten().tolist()
    for row, latent, value in zip(codes.rows.tolist(), codes.latents.tolist(), codes.values.tolist(), strict=True):
        firing[places[row]].append((latent, round(value, 4)))
    strongest = [sorted(one, key=lambda pair: -pair[1])[:MAX_FIRING] for one in firing]
    return {
        "tokens": vocabulary.spell(ids.tolist()),
        "ids": ids.tolist(),
        "firing": strongest,
        "cut_tokens": len(whole) - len(ids),
    }


def read_effects(
    bench: Workbench, sae: str, latent: int, ids: list[int], position: int | None, vocabulary: Vocabulary
) -> dict[str, Any]:
    """What changes in a context where the latent is silenced at one place, or at all."""
    if not ids or len(ids) > longest(bench):
        raise UserError(f"a context has 1 to {longest(bench)} tokens, got {len(ids)}")
    if position is not None and not 0 <= position < len(ids):
        raise UserError(f"position must be from 0 to {len(ids) - 1}, got {position}")
    with bench.in_use:
        subject = bench.sae(sae)
        source, target = places_of(subject)
        model = predicting(bench)
        taken_away = ablation(subject.sae, source, latent, position, target)
        found = effects_of(model, bench.tokenizer, [taken_away], torch.tensor([ids]))
    return {"tokens": vocabulary.spell(ids), "position": position, **_told(found, vocabulary)}


def places_of(subject: Subject) -> tuple[str, str | None]:
    """The hookpoint that an SAE reads and, of a transcoder, that it writes. Raises UserError for a crosscoder."""
    if len(subject.inputs) != 1 or len(subject.targets) != 1:
        raise UserError(
            f"{subject.name} reads several hookpoints at once, and such an SAE cannot be changed in a model"
        )
    (source,), (target,) = subject.inputs, subject.targets
    return source, None if target == source else target


def predicting(bench: Workbench) -> Any:
    """The model. Raises UserError if it predicts no next token."""
    if bench.spliced.no_logits:
        raise UserError(bench.spliced.no_logits)
    return bench.model


def longest(bench: Workbench) -> int:
    """Tokens that the model takes."""
    config = bench.model.config.get_text_config()  # type: ignore[operator, union-attr]
    return int(getattr(config, "max_position_embeddings", None) or getattr(config, "n_positions", None) or MAX_TOKENS)


def _told(found: Effects, vocabulary: Vocabulary) -> dict[str, Any]:
    """By token; the rise of the loss is of the token itself, given those before: none of the first."""
    rise: list[float | None] = [None, *_numbers(found.loss_rise[0])]
    return {
        "loss_rise": rise,
        "kl": _numbers(found.kl[0]),
        **{
            name: _votes(getattr(found, name), vocabulary)
            for name in ("up_logits", "down_logits", "up_probs", "down_probs")
        },
    }


def _votes(votes: Votes, vocabulary: Vocabulary) -> list[list[dict[str, Any]]]:
    """Without those that are none, or too small to be told from none."""
    return [
        [
            {"token": text, "change": change}
            for text, change in zip(vocabulary.spell(ids), _numbers(changes), strict=True)
            if change
        ]
        for ids, changes in zip(votes.ids[0].tolist(), votes.changes[0], strict=True)
    ]


def _numbers(values: Tensor) -> list[float]:
    return [round(one, 5) for one in values.tolist()]
