"""What the stores of a run's features are made of: collected in this process, or by collectors side by side."""

import io
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from rich.console import Console

from cluster.collection_plan import CollectionPlan, Share
from cluster.evaluation import Subject
from cluster.progress_bar import progress_bar
from cluster.subjects import Saved
from features.collection import Collection
from producers.model_facts import describe_model
from producers.producer import Producer, Units
from producers.spliced_model import SplicedModel
from trainers import SaeFacts
from trainers.saelens_format import save_sae

SAES = "saes"
"""In the folder of saves."""


class Gathered(NamedTuple):
    """What was collected, the SAEs and the model, on one device."""

    collection: Collection
    subjects: list[Subject]
    model: SplicedModel
    revision: str
    """Of the model."""
    went_on_from: int
    """Rows that an interrupted collection had seen already."""


def gather_here(
    plan: CollectionPlan, share: Share, units: Units, subjects: list[Subject], console: Console
) -> Gathered:
    """By the producers' own code in this process."""
    config = plan.job.model
    model = SplicedModel.load(config, config.device, config.dtype)
    producer = Producer(plan.job, units, model)
    reading = plan.begin(share, producer, subjects)
    begun = reading.collection.rows
    with progress_bar("collecting", plan.tokens, console) as on_rows:
        reading.run(share.units(units.num_units), plan.tokens, on_rows, plan.save_s)
    return Gathered(reading.collection, subjects, model, producer.row_format.revision, begun)


def gather_with_crew(
    plan: CollectionPlan, shares: Sequence[Share], subjects: list[Subject], device: str, console: Console
) -> Gathered:
    """By collectors; the model is loaded on `device` here when they have ended, and have left their GPUs."""
    from cluster.collector_crew import collect_with_crew

    revision, begun = describe_model(plan.job.model).revision, sum(plan.saved_rows(share) for share in shares)
    sent, tell = replace(plan, saes=lasting(plan, subjects)), partial(console.print, markup=False, highlight=False)
    # Ray tells of each process that died on standard output, in a paragraph; `tell` does in a sentence.
    with progress_bar("collecting", plan.tokens, console) as on_rows, redirect_stdout(io.StringIO()):
        rows = collect_with_crew(sent, shares, on_rows, tell)
    collection = plan.merged(rows, shares, subjects)
    model = SplicedModel.load(plan.job.model, device, plan.job.model.dtype)
    return Gathered(collection, [one._replace(sae=one.sae.to(device)) for one in subjects], model, revision, begun)


def lasting(plan: CollectionPlan, subjects: Sequence[Subject]) -> Saved:
    """Where collectors find the SAEs for as long as they need them.

    Those of a checkpoint are written down beside the saves: a job that goes on drops its older checkpoints.
    """
    if plan.saes.checkpoint is None:
        return Saved({name: folder.resolve() for name, folder in plan.saes.folders.items()}, None)
    folders = {one.name: plan.state / SAES / one.name for one in subjects}
    for one in subjects:
        facts = SaeFacts(plan.job.model.name, one.inputs, one.targets, plan.job.corpus.context_tokens, "")
        save_sae(one.sae, folders[one.name], facts)
    return Saved(folders, None)
