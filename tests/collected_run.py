"""A run folder with its features collected, labelled, explained and judged, in seconds."""

from pathlib import Path

from trained_run import make_job, train_run

from cluster.collect_run import collect_run
from features.context import TOP
from features.explanations import Explanation, Explanations, JudgedExample, Score, Scores
from features.labels import Labels
from features.settings import CollectionSettings
from features.store import FeatureStore
from shared.config import Job

SAE = "wide"
JUDGE = "some-model"


def collected_run(folder: Path) -> tuple[Job, int]:
    """The run of `trained_run`, in `folder`/run, and the latent of `wide` that fires most, of which all is told."""
    job = make_job(folder)
    run = train_run(job)
    collect_run(run, job, (), 1500, CollectionSettings(top_contexts=6, samples_per_bin=3, silent_windows=30))
    store = FeatureStore.open(run / "features" / SAE)
    fired = store.catalog.column("fired").to_pylist()
    latent = fired.index(max(fired))
    _tell(store, latent)
    return job, latent


def _tell(store: FeatureStore, latent: int) -> None:
    Labels(store.folder).add(latent, "water wheels", ("mill", "safety:bias"), "ann")
    said = Explanations(store.folder).add(Explanation(latent, "words about mills", "some-model"))
    top = [one for one in store.contexts(latent) if one.group == TOP]
    examples = tuple(
        JudgedExample(f"the⟦ wheel⟧ of mill {number}", one.group, one.max_act, 3.0, rating, one.document, one.start)
        for number, (one, rating) in enumerate(zip(top, (3.0, 2.0, 1.0, 0.0, None, 3.0), strict=False))
    )
    numbers = {"judged": len(examples), "failed": 1, "curve": [{"mean": 1.0}, {"mean": None}, {"mean": 2.5}]}
    Scores(store.folder).add(Score(latent, said.id, "specificity", JUDGE, 1.8, numbers, examples))
    Scores(store.folder).add(Score(latent, said.id, "detection", JUDGE, 0.75, {"failed": 0}, examples[:2]))
