"""What there is to tell of an SAE and of a latent: for the page, its export and the terminal."""

from typing import Any

from cluster.catalog_query import CatalogQuery, matching, tags
from cluster.latent_view import latent_view, neighbors_view
from cluster.ui_shelf import Features, Shelf

SAE_FACTS = (
    "trainer",
    "architecture",
    "num_latents",
    "d_in",
    "model",
    "inputs",
    "targets",
    "source",
    "tokens",
    "contexts",
    "window_tokens",
    "checkpoint",
)


def sae_facts(one: Features) -> dict[str, Any]:
    """An SAE whose features are here."""
    meta, catalog = one.store.meta, one.store.catalog
    return {
        **{name: getattr(meta, name) for name in SAE_FACTS},
        "dead": sum(catalog.column("dead").to_pylist()),
        "labelled": len(one.labels.all()),
        "tags": tags(one.said()),
    }


def listed_latents(one: Features, query: CatalogQuery) -> list[int]:
    """The numbers of the latents that fit, as many as the query wants, in its order."""
    places, _ = matching(one.searchable, one.said(), query)
    return places[query.offset : query.offset + query.count].tolist()


def latent_facts(shelf: Shelf, run: str, sae: str, latent: int) -> dict[str, Any]:
    """All of a latent's page."""
    one = shelf.features(run, sae)
    found = one.store.neighbors(latent)
    others = {name: shelf.features(run, name) for name in shelf.names(run) if name in found}
    told = {name: (other.store, other.said()) for name, other in others.items()}
    return {
        "run": run,
        "sae": sae,
        **latent_view(one.store, latent, one.vocabulary),
        "neighbors": neighbors_view(found, latent, sae, told, one.vocabulary),
        **one.said_of(latent),
    }
