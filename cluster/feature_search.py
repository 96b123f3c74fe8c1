"""`headrace features search`: latents of a run's SAEs by words, by contrast and by direction."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cluster.prompt_rows import influence, read_prompts
from cluster.workbench import Workbench
from features.context import Context
from features.contrast import ContrastSet, contrast
from features.explanations import Explanations
from features.labels import Label, Labels
from features.patterns import SOURCE
from features.similarity import read_direction, similar_to
from features.store import open_stores
from features.word_search import latents_called, latents_on
from shared.errors import UserError

AROUND = 8
"""Tokens that are shown on either side of a latent's strongest one."""


@dataclass(frozen=True)
class Found:
    """A latent and why it was found."""

    sae: str
    latent: int
    numbers: dict[str, float | int | None]
    label: str
    context: tuple[str, str, str]
    """Of its strongest context: what is before the strongest token, the token, what comes after."""

    def facts(self) -> dict[str, Any]:
        return {"sae": self.sae, "latent": self.latent, **self.numbers, "label": self.label, "context": self.context}


class FeatureSearch:
    """Looks through the stores of some SAEs of a run, or of all."""

    def __init__(self, bench: Workbench, names: Sequence[str]) -> None:
        """Raises UserError if nothing has been collected for one of `names`, or, without names, for any."""
        self._bench, self._stores = bench, open_stores(bench.folder, names)

    def by_words(self, words: str, count: int) -> list[Found]:
        """Latents whose label or explanations have the words first, then those that fire on them in their contexts."""
        spelled = self._bench.spelling(words)
        found = []
        for name, store in self._stores.items():
            called = latents_called(words, self._texts(name))[:count]
            found += [self._found(name, one, {"share": None, "contexts": None}) for one in called]
            hits = [hit for hit in latents_on(store, spelled) if hit.latent not in called]
            found += [self._found(name, one, {"share": share, "contexts": n}) for one, share, n in hits[:count]]
        ranked = sorted(found, key=lambda one: -2.0 if one.numbers["share"] is None else -one.numbers["share"])
        return ranked[:count]

    def by_contrast(self, prompts: ContrastSet, count: int, max_density: float, check: bool = True) -> list[Found]:
        """Latents that are stronger in the positive prompts; `check` takes each of them away and tells what is lost."""
        found = []
        for name, store in self._stores.items():
            subject = self._bench.sae(name)
            positive, negative = (
                np.stack([one.acts.max(0) for one in read_prompts(self._bench, subject, side)])
                for side in (prompts.positive, prompts.negative)
            )
            density = store.catalog.column("density").to_numpy()
            norms = torch.linalg.vector_norm(subject.sae.W_dec.detach(), dim=1).cpu().numpy()
            for one in contrast(positive, negative, density, norms, max_density)[:count]:
                numbers = one._asdict()
                del numbers["latent"]
                found.append(self._found(name, one.latent, numbers))
        ranked = sorted(found, key=lambda one: -float(one.numbers["difference"] or 0))[:count]
        return [self._checked(one, prompts) for one in ranked] if check else ranked

    def by_direction(self, like: str, count: int) -> list[Found]:
        """Latents with a direction near `like`: `SAE/LATENT` of the run, or a file of one vector.

        Raises:
            UserError: it is neither, or of another width than every SAE.
        """
        direction, itself = self._direction(like)
        found = []
        for name in self._stores:
            directions = self._bench.sae(name).sae.W_dec.detach().cpu().numpy()
            if directions.shape[1] == len(direction):
                near = similar_to(direction, directions, count + 1)
                found += [self._found(name, one, {"cosine": cosine}) for one, cosine in near if (name, one) != itself]
        if not found:
            names = ", ".join(self._stores)
            raise UserError(f"{like} has {len(direction)} values, which the directions of {names} have not")
        return sorted(found, key=lambda one: -float(one.numbers["cosine"] or 0))[:count]

    def _checked(self, found: Found, prompts: ContrastSet) -> Found:
        """With what the model loses on either set when the latent is taken away."""
        subject = self._bench.sae(found.sae)
        sides = {"positive": prompts.positive, "negative": prompts.negative}
        lost = {side: influence(self._bench, subject, found.latent, texts) for side, texts in sides.items()}
        numbers = {f"loss_rise_{side}": one.loss_rise if one else None for side, one in lost.items()}
        numbers |= {f"kl_{side}": one.kl if one else None for side, one in lost.items()}
        return replace(found, numbers={**found.numbers, **numbers})

    def _direction(self, like: str) -> tuple[np.ndarray, tuple[str, int] | None]:
        """The direction, and the latent that it is of."""
        name, slash, latent = like.rpartition("/")
        if slash and latent.isdigit() and name in self._bench.names:
            directions = self._bench.sae(name).sae.W_dec.detach()
            if int(latent) >= len(directions):
                raise UserError(f"{name} has latents 0 to {len(directions) - 1}, got {latent}")
            return directions[int(latent)].cpu().numpy(), (name, int(latent))
        if not Path(like).is_file():
            raise UserError(f"{like} is neither SAE/LATENT, with one of {', '.join(self._bench.names)}, nor a file")
        return read_direction(Path(like)), None

    def _found(self, name: str, latent: int, numbers: dict[str, float | int | None]) -> Found:
        store = self._stores[name]
        label = self._labels[name].get(latent)
        contexts = store.contexts(latent)
        shown = self._shown(contexts[0]) if contexts else ("", "", "")
        return Found(name, latent, numbers, label.text if label else "", shown)

    def _shown(self, context: Context) -> tuple[str, str, str]:
        place = context.position - context.start
        tokens, read = context.tokens.tolist(), self._bench.tokenizer.decode
        parts = (
            tokens[max(0, place - AROUND) : place],
            tokens[place : place + 1],
            tokens[place + 1 : place + 1 + AROUND],
        )
        before, strongest, after = (read(part, clean_up_tokenization_spaces=False) for part in parts)
        return before, strongest, after

    def _texts(self, name: str) -> dict[int, list[str]]:
        """What is said of each latent; patterns are pieces of contexts, which are looked through themselves."""
        said = {latent: [label.text, *label.tags] for latent, label in self._labels[name].items()}
        for latent, explanations in Explanations(self._stores[name].folder).all().items():
            said.setdefault(latent, []).extend(one.text for one in explanations if one.source != SOURCE)
        return said

    @cached_property
    def _labels(self) -> dict[str, dict[int, Label]]:
        return {name: Labels(store.folder).all() for name, store in self._stores.items()}
