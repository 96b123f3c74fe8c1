"""What the page asks about features, as routes. Answers are made elsewhere; those that write or compute are POST."""

import json
import random
from collections.abc import Iterator
from typing import Annotated, Any

from fastapi import FastAPI, Query
from fastapi.responses import Response, StreamingResponse

from cluster.catalog_query import SHOWN_TOKENS, CatalogQuery, catalog_page, matching, spoken
from cluster.feature_facts import latent_facts, sae_facts
from cluster.ui_answer import answer, json_ready
from cluster.ui_rating import blind_view, passages, rated
from cluster.ui_reading import read_effects, read_text
from cluster.ui_requests import EffectsBody, LabelBody, ListQuery, RatingBody, TextBody
from cluster.ui_shelf import Features, Shelf
from cluster.ui_steering import SteeringRequest, respond, written
from features.explanations import Explanation, JudgedExample
from shared.errors import UserError

AT = "/api/runs/{run}/features/{sae}"
LATENT = AT + "/latents/{latent}"


def add_features(app: FastAPI, shelf: Shelf) -> None:
    """SAEs, their catalogues and latents."""

    @app.get("/api/runs/{run}/features")
    def saes(run: str) -> Response:
        return answer([sae_facts(shelf.features(run, name)) for name in shelf.names(run)])

    @app.get(AT + "/catalog")
    def catalog(run: str, sae: str, query: Annotated[ListQuery, Query()]) -> Response:
        one, wanted = shelf.features(run, sae), query.query()
        words = wanted.words_in_contexts
        firing = one.firing_on(words, lambda: shelf.bench(run).spelling(words)) if words else None
        return answer(catalog_page(one.searchable, one.said(), wanted, one.vocabulary, firing))

    @app.get(AT + "/random")
    def random_latent(run: str, sae: str) -> Response:
        one = shelf.features(run, sae)
        places, _ = matching(one.searchable, one.said(), CatalogQuery(state="alive"))
        return answer({"latent": int(random.choice(places)) if len(places) else None})

    @app.get(LATENT)
    def latent_page(run: str, sae: str, latent: int) -> Response:
        return answer(latent_facts(shelf, run, sae, latent))

    @app.get(LATENT + "/rating")
    def rating(run: str, sae: str, latent: int, explanation: str) -> Response:
        return answer(blind_view(*_rated(shelf.features(run, sae), latent, explanation)))

    @app.post(LATENT + "/rating")
    def rate(run: str, sae: str, latent: int, body: RatingBody) -> Response:
        one = shelf.features(run, sae)
        score = rated(*_rated(one, latent, body.explanation), one.scores.of(latent), body.ratings, body.author)
        one.scores.add(score)
        return answer({**score.numbers, "value": score.value})

    @app.post(LATENT + "/labels")
    def label(run: str, sae: str, latent: int, body: LabelBody) -> Response:
        one = shelf.features(run, sae)
        one.store.record(latent)
        one.labels.add(latent, body.text, tuple(body.tags), body.author)
        return answer(one.said_of(latent))


def add_bench(app: FastAPI, shelf: Shelf) -> None:
    """What needs the model: one's own text, effects, steering."""

    @app.post(AT + "/text")
    def text(run: str, sae: str, body: TextBody) -> Response:
        one = shelf.features(run, sae)
        return answer(with_facts(one, read_text(shelf.bench(run), sae, body.text, one.vocabulary)))

    @app.post(LATENT + "/effects")
    def effects(run: str, sae: str, latent: int, body: EffectsBody) -> Response:
        one = shelf.features(run, sae)
        one.store.record(latent)
        return answer(read_effects(shelf.bench(run), sae, latent, body.ids, body.position, one.vocabulary))

    @app.post(AT + "/steer")
    def steer(run: str, sae: str, body: SteeringRequest) -> Response:
        one = shelf.features(run, sae)
        lines = written(shelf.bench(run), one.store, body, one.vocabulary)
        return StreamingResponse(_json_lines(lines), media_type="application/x-ndjson")

    @app.post(AT + "/doses")
    def doses(run: str, sae: str, body: SteeringRequest) -> Response:
        one = shelf.features(run, sae)
        return answer(respond(shelf.bench(run), one.store, body, one.vocabulary))


def _rated(one: Features, latent: int, explanation: str) -> tuple[Explanation, list[JudgedExample]]:
    """An explanation and the passages that it is rated on. Raises UserError if there is none of that id."""
    known = {each.id: each for each in one.explanations.of(latent)}
    if explanation not in known:
        raise UserError(f"latent {latent} has no explanation {explanation!r}")
    found = passages(one.store.contexts(latent), one.scores.of(latent), known[explanation], one.vocabulary)
    return known[explanation], found


def with_facts(one: Features, read: dict[str, Any]) -> dict[str, Any]:
    """A text that was read, with what there is to tell of each latent that fires in it."""
    latents = sorted({latent for firing in read["firing"] for latent, _ in firing})
    said, catalog = one.said(), one.store.catalog
    largest = catalog.column("max_act").to_numpy()
    facts = {}
    for latent in latents:
        ids = catalog.column("promoted_ids")[latent].as_py()[:SHOWN_TOKENS]
        told = {"max_act": float(largest[latent]), "promoted": one.vocabulary.spell(ids)}
        facts[latent] = {**told, **spoken(said, latent)}
    return {**read, "latents": facts}


def _json_lines(lines: Iterator[dict[str, Any]]) -> Iterator[str]:
    for line in lines:
        yield json.dumps(json_ready(line)) + "\n"
