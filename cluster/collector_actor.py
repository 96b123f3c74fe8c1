"""A collector of features as a Ray actor: the pass over its part of the text, saved now and then and at its end.

Where it dies another takes its place and goes on from what it saved; so it gives back no more than how much that is.
"""

from pathlib import Path

import ray
import torch

from cluster.collection_plan import CollectionPlan, Share
from cluster.seat import stand_in
from cluster.subjects import load_subjects
from producers.producer import Producer


class CollectorActor:
    """Runs one `CollectionPass`."""

    def __init__(self, plan: CollectionPlan, share: Share, driver_folder: Path) -> None:
        self._plan, self._share, self._rows = plan, share, 0
        stand_in(driver_folder)
        torch.set_num_threads(plan.job.producers.threads)

    def __repr__(self) -> str:
        return f"Collector({self._share.number})"

    @ray.method(concurrency_group="run")
    def run(self) -> int:
        """Reads its part of the text to the end, saves what it has, and gives the number of rows that it has seen."""
        plan, share, text = self._plan, self._share, self._plan.excerpt.open()
        producer, subjects = Producer(plan.job, text), load_subjects(plan.saes, plan.job, plan.job.model.device)
        reading = plan.begin(share, producer, subjects)
        reading.run(share.units(text.num_units), share.tokens(plan.tokens), self._on_rows, plan.save_s)
        reading.save()
        return reading.collection.rows

    @ray.method(concurrency_group="control")
    def rows(self) -> int:
        """That it has seen so far."""
        return self._rows

    def _on_rows(self, rows: int) -> None:
        self._rows = rows
