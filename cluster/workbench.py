"""A run's model, tokenizer and SAEs on one bench: each loaded when first asked for, then reused by whoever works there.

The model is one for all: hooks that one thread puts in would act in another's forward. So whoever runs it holds
`in_use` meanwhile.
"""

import threading
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cluster.evaluation import Subject
from cluster.job_place import read_run
from cluster.subjects import Saved, find_saved, load_subjects, rows_dtype
from features.word_search import Spelling, spelling
from producers.packing import ContextTemplate
from producers.pretrained import load_config
from producers.spliced_model import SplicedModel
from producers.tokenizing import DocumentTokenizer, load_tokenizer
from shared.config import Job
from shared.errors import UserError


class Workbench:
    """What is needed to look inside a run: `Workbench.open(run_folder)` costs nothing until it is used."""

    def __init__(self, folder: Path, job: Job, device: str | None = None) -> None:
        self.folder, self.job = folder, job
        self.device = device or ("cuda" if torch.cuda.is_available() and job.model.device != "cpu" else "cpu")
        self.in_use = threading.RLock()
        """Held while the model runs, or anything is loaded."""
        self._saes: dict[tuple[str, int | None], Subject] = {}

    @classmethod
    def open(cls, run_folder: Path | str, device: str | None = None) -> "Workbench":
        """The bench of a run folder; `device` by default a GPU where there is one. Raises UserError if it is none."""
        folder = Path(run_folder)
        job = read_run(folder)
        if job is None:
            raise UserError(f"{folder} is not a run folder: it has no job.yaml")
        return cls(folder, job, device)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the SAEs: those that are finished, or of a run without any, those of its newest checkpoint.

        Raises:
            UserError: it has neither.
        """
        return tuple(self._saved(()).folders)

    def features_folder(self, name: str) -> Path:
        """Where the features of the SAE `name` are kept, whether there are any or not."""
        return self.folder / "features" / name

    def sae(self, name: str) -> Subject:
        """The SAE for raw rows, and its hookpoints. Raises UserError or CheckpointError if there is no whole one."""
        with self.in_use:
            saved = self._saved((name,))
            key = (name, saved.checkpoint)
            if key not in self._saes:
                self._saes = {old: sae for old, sae in self._saes.items() if old[0] != name}
                (self._saes[key],) = load_subjects(saved, self.job, self.device)
            return self._saes[key]

    @property
    def spliced(self) -> SplicedModel:
        """The model with its hookpoints; `no_logits` says why it predicts no next token, where it does not."""
        with self.in_use:
            return self._spliced

    @property
    def model(self) -> nn.Module:
        """The language model as `transformers` has it, on `device`, without gradients."""
        return self.spliced.model

    @property
    def tokenizer(self) -> Any:
        """The model's tokenizer. Raises UserError if it has none."""
        with self.in_use:
            return self._tokenizer

    @property
    def template(self) -> ContextTemplate:
        """The special tokens that stand around text."""
        return self._document_tokenizer.template

    @property
    def is_excluded(self) -> np.ndarray:
        """bool [vocabulary]: the token ids that no trainer has read, such as BOS."""
        return self._document_tokenizer.is_excluded

    def encode(self, text: str) -> Tensor:
        """int64 [tokens]: what the model expects before a text, as in training, and the text; nothing after it."""
        return torch.tensor([*self.template.prefix, *self._ids(text)], dtype=torch.int64)

    def excluded(self, token_ids: Tensor) -> Tensor:
        """bool, as `token_ids`: which of them no trainer has read."""
        return torch.from_numpy(self.is_excluded)[token_ids.cpu()].to(token_ids.device)

    def texts(self, token_ids: Tensor | list[int]) -> list[str]:
        """Each token as it reads by itself; a piece of a letter reads as U+FFFD."""
        ids = token_ids.tolist() if isinstance(token_ids, Tensor) else token_ids
        return [self.tokenizer.decode([one], clean_up_tokenization_spaces=False) for one in ids]

    @cached_property
    def vocabulary(self) -> list[str]:
        """How each of the model's token ids reads; those that the tokenizer does not know as nothing."""
        size = load_config(self.job.model).get_text_config().vocab_size
        known = min(size, len(self.tokenizer))
        return self.texts(list(range(known))) + [""] * (size - known)

    def spelling(self, words: str) -> Spelling:
        """How `words` may stand in a text. Raises UserError if there is no tokenizer."""
        with self.in_use:
            return spelling(words, self.vocabulary, self._ids)

    def _ids(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]

    def _saved(self, names: tuple[str, ...]) -> Saved:
        return find_saved(self.folder, self.job, names)

    @cached_property
    def _spliced(self) -> SplicedModel:
        dtype = rows_dtype(self._saved(()), self.job, self.device)
        return SplicedModel.load(self.job.model, self.device, dtype)

    @cached_property
    def _tokenizer(self) -> Any:
        tokenizer = load_tokenizer(self.job.model)
        if tokenizer is None:
            name = self.job.model.tokenizer or self.job.model.name
            raise UserError(f"model.tokenizer: there is no tokenizer in {name}, so text can be neither read nor shown")
        return tokenizer

    @cached_property
    def _document_tokenizer(self) -> DocumentTokenizer:
        name = self.job.model.tokenizer or self.job.model.name
        vocabulary = load_config(self.job.model).get_text_config().vocab_size
        return DocumentTokenizer(self.tokenizer, name, self.job.corpus, vocabulary)
