"""What a pass has collected for one SAE, made into its store: with what the model's unembedding and other SAEs add."""

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from cluster.evaluation import Subject
from cluster.unread import Text
from features.catalog import Lens, catalog_table
from features.collection import Collection
from features.contexts_table import contexts_tables, silent_table
from features.histogram import EDGES
from features.logit_lens import final_norm, logit_lens, unembedding_of
from features.nearest import nearest
from features.store_meta import StoreMeta
from features.store_writer import write_store
from producers.spliced_model import SplicedModel
from shared.config import Job

NUM_NEAREST = NUM_TOKENS = 10
"""Nearest latents of each other SAE, and tokens promoted and suppressed, that are kept of a latent."""


class StoreBuilder:
    """Of one run and one pass."""

    def __init__(
        self,
        job: Job,
        revision: str,
        model: SplicedModel,
        subjects: Sequence[Subject],
        collection: Collection,
        text: Text,
        checkpoint: int | None,
    ) -> None:
        """`subjects` are all SAEs whose latents may be near; `checkpoint` is the one that they are of, or None."""
        self._job, self._revision, self._model, self._subjects = job, revision, model, subjects
        self._collection, self._text, self._checkpoint = collection, text, checkpoint

    def write(self, subject: Subject, folder: Path) -> None:
        """The store of one SAE, in the place of an older one."""
        collection, collector = self._collection, self._collection.collectors[subject.name]
        directions, moments = subject.sae.W_dec.detach(), collector.moments
        share = collector.ablation.fvu_share(moments.fired / max(1, moments.rows))
        seed = collection.settings.seed
        write_store(
            folder,
            self._meta(subject),
            catalog_table(moments, share, self._lens(subject), nearest(directions, count=NUM_NEAREST)),
            contexts_tables(collector, collection.texts, seed),
            silent_table(collection.pool, collector, collection.texts, seed),
            {one.name: nearest(directions, one.sae.W_dec.detach(), NUM_NEAREST) for one in self._others(subject)},
        )

    def _others(self, subject: Subject) -> list[Subject]:
        """SAEs whose directions are in the same space."""
        return [one for one in self._subjects if one.name != subject.name and one.targets == subject.targets]

    def _lens(self, subject: Subject) -> Lens:
        """By what a latent writes at the SAE's last target; none where that is not as wide as the residual stream."""
        unembedding = None if self._model.no_logits else unembedding_of(self._model.model)
        if unembedding is None or subject.sae.d_out != unembedding.shape[1] * len(subject.targets):
            return Lens.none(subject.sae.num_latents)
        written: Tensor = subject.sae.W_dec.detach()[:, -unembedding.shape[1] :]
        return logit_lens(written, unembedding, final_norm(self._model.model), NUM_TOKENS)

    def _meta(self, subject: Subject) -> StoreMeta:
        job, collection = self._job, self._collection
        architectures = {one.name: one.architecture for one in job.trainers}
        return StoreMeta(
            job=job.name,
            trainer=subject.name,
            architecture=architectures.get(subject.name, type(subject.sae).__name__.lower()),
            num_latents=subject.sae.num_latents,
            d_in=subject.sae.d_in,
            model=job.model.name,
            revision=self._revision,
            tokenizer=job.model.tokenizer or job.model.name,
            inputs=subject.inputs,
            targets=subject.targets,
            source=self._text.source,
            tokens=collection.rows,
            contexts=collection.contexts,
            context_tokens=job.corpus.context_tokens,
            window_tokens=collection.settings.window_tokens,
            seed=collection.settings.seed,
            checkpoint=self._checkpoint,
            top_contexts=collection.settings.top_contexts,
            samples_per_bin=collection.settings.samples_per_bin,
            histogram_edges=EDGES,
        )
