"""Rows are what the model computes at the positions that train; a unit's bits depend on the unit alone."""

import json
import os

os.environ["HF_HUB_OFFLINE"] = "1"

import threading
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from tiny_models import text, tiny_bert, tiny_gpt2, tiny_llama
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer

from producers.prefetch import prefetched
from producers.producer import Chunk, Producer
from shared.config import Job
from shared.errors import JobFailed, UserError
from shared.row_table import read_rows, table_metadata

HOOKPOINTS = {
    "tiny_gpt2": ("transformer.h.1", "transformer.h.0.mlp:in"),
    "tiny_llama": ("model.layers.1", "model.layers.0.mlp:in"),
    "tiny_bert": ("encoder.layer.1", "encoder.layer.0.intermediate:in"),
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The models, and a corpus as text and as token ids of GPT-2's tokenizer."""
    root = tmp_path_factory.mktemp("producer")
    for make in (tiny_gpt2, tiny_llama, tiny_bert):
        make(root / make.__name__)
    texts = [text(30 + seed % 50, seed) for seed in range(60)]
    tokenizer = AutoTokenizer.from_pretrained(root / "tiny_gpt2")
    ids = [tokenizer.encode(one, add_special_tokens=False) for one in texts]
    pq.write_table(pa.table({"text": texts, "ids": ids}), root / "corpus.parquet")
    return root


def job(root: Path, kind: str = "tiny_gpt2", dtype: str = "auto", per_forward: int = 4, **corpus: object) -> Job:
    hookpoints = HOOKPOINTS[kind]
    options = {"source": str(root / "corpus.parquet"), "context_tokens": 32, "unit_contexts": 10, **corpus}
    return Job.model_validate(
        {
            "name": "test",
            "model": {"name": str(root / kind), "hookpoints": hookpoints, "dtype": dtype},
            "corpus": options,
            "producers": {"contexts_per_forward": per_forward},
            "evaluation": {"holdout": 0},
            "trainers": [{"name": "t", "architecture": "topk", "num_latents": 8, "k": 2, "hookpoint": hookpoints[0]}],
            "tokens": 1000,
        }
    )


def produced(producer: Producer, units: list[int]) -> dict[int, list[Chunk]]:
    chunks: dict[int, list[Chunk]] = {unit: [] for unit in units}
    for chunk in producer.chunks(iter(units)):
        chunks[chunk.unit].append(chunk)
    return chunks


def same_bytes(left: list[Chunk], right: list[Chunk]) -> bool:
    return len(left) == len(right) and all(
        one.table.equals(two.table, check_metadata=True) for one, two in zip(left, right, strict=True)
    )


@pytest.mark.parametrize("kind", HOOKPOINTS)
def test_rows_are_the_full_models_activations_at_kept_positions(kind: str, root: Path) -> None:
    chunks = produced(Producer(job(root, kind)), [0])[0]
    rows = read_rows(pa.concat_tables([chunk.table for chunk in chunks]))
    tokenizer = AutoTokenizer.from_pretrained(root / kind)
    assert not set(rows.addresses[:, 4].tolist()) & set(tokenizer.all_special_ids)
    auto = AutoModel if kind == "tiny_bert" else AutoModelForCausalLM
    model = auto.from_pretrained(root / kind).eval()
    contexts = Producer(job(root, kind))._pack(0).contexts
    with torch.no_grad():
        mask = torch.from_numpy(contexts.attention_mask)
        full = model(torch.from_numpy(contexts.token_ids), attention_mask=mask, output_hidden_states=True)
    _, document, context, position, token_id = rows.addresses.T
    expected = full.hidden_states[2][torch.from_numpy(context).long(), torch.from_numpy(position).long()]
    np.testing.assert_allclose(rows.activations[HOOKPOINTS[kind][0]], expected, rtol=1e-4, atol=1e-5)
    assert (contexts.token_ids[context, position] == token_id).all()
    assert (contexts.document[context, position] == document).all()


def test_chunks_are_numbered_and_hold_every_row_of_the_unit_in_order(root: Path) -> None:
    producer = Producer(job(root))
    for unit, chunks in produced(producer, [0, 1]).items():
        assert [chunk.number for chunk in chunks] == list(range(chunks[0].num_chunks))
        assert {chunk.unit_rows for chunk in chunks} == {sum(chunk.table.num_rows for chunk in chunks)}
        rows = read_rows(pa.concat_tables([chunk.table for chunk in chunks]))
        order = rows.addresses[:, 2].astype(int) * 32 + rows.addresses[:, 3]
        assert (np.diff(order) > 0).all() and (rows.addresses[:, 0] == unit).all()
        assert [table_metadata(c.table)["chunk"] for c in chunks] == [c.number for c in chunks]
        assert all(producer.row_format.rows(chunk.table).num_rows == chunk.table.num_rows for chunk in chunks)


def test_a_units_bytes_do_not_depend_on_what_came_before(root: Path) -> None:
    forwards, backwards = produced(Producer(job(root)), [0, 1, 2]), produced(Producer(job(root)), [2, 0, 1])
    assert all(same_bytes(forwards[unit], backwards[unit]) for unit in (0, 1, 2))
    assert not same_bytes(forwards[0], forwards[1])


def test_a_forward_queued_ahead_changes_nothing(root: Path) -> None:
    plain, ahead = Producer(job(root)), Producer(job(root))
    ahead._forwards_ahead = 1
    one, two = produced(plain, [0, 1]), produced(ahead, [0, 1])
    assert same_bytes(one[0], two[0]) and same_bytes(one[1], two[1])


def test_all_units_together_hold_every_token_of_the_corpus(root: Path) -> None:
    producer = Producer(job(root))
    chunks = produced(producer, list(range(producer.corpus.num_units)))
    stored = pq.read_table(root / "corpus.parquet").column("ids").to_pylist()
    assert sum(chunks[unit][0].unit_rows for unit in chunks) == sum(map(len, stored))


def test_stored_tokens_of_one_document_give_the_bytes_of_its_text(root: Path, tmp_path: Path) -> None:
    table = pq.read_table(root / "corpus.parquet").slice(7, 1)
    pq.write_table(table, tmp_path / "one.parquet")
    by_text = Producer(job(root, source=str(tmp_path / "one.parquet")))
    by_ids = Producer(job(root, source=str(tmp_path / "one.parquet"), tokens_column="ids"))
    assert same_bytes(produced(by_text, [0])[0], produced(by_ids, [0])[0])


def test_special_tokens_train_when_asked(root: Path) -> None:
    chunks = produced(Producer(job(root, exclude_special_tokens=False)), [0])[0]
    rows = read_rows(chunks[0].table)
    assert rows.num_rows == 4 * 32 and (rows.addresses[rows.addresses[:, 3] == 0, 4] == 0).all()


def test_bfloat16_rows_travel_as_bits(root: Path) -> None:
    producer = Producer(job(root, dtype="bfloat16"))
    rows = read_rows(produced(producer, [0])[0][0].table)
    assert producer.row_format.dtype == "bfloat16"
    values = torch.from_numpy(rows.activations["transformer.h.1"].copy()).view(torch.bfloat16).float()
    exact = read_rows(produced(Producer(job(root)), [0])[0][0].table).activations["transformer.h.1"]
    torch.testing.assert_close(values, torch.from_numpy(exact.copy()), rtol=0.1, atol=0.05)


def test_a_unit_without_rows_is_one_empty_chunk(root: Path, tmp_path: Path) -> None:
    (tmp_path / "blank.jsonl").write_text(json.dumps({"text": ""}) + "\n")
    (chunk,) = produced(Producer(job(root, source=str(tmp_path))), [0])[0]
    assert (chunk.number, chunk.num_chunks, chunk.unit_rows, chunk.table.num_rows) == (0, 1, 0, 0)
    assert table_metadata(chunk.table)["unit"] == 0


def test_activations_that_are_not_finite_stop_the_job(root: Path) -> None:
    producer = Producer(job(root))
    with torch.no_grad():
        producer._model.model.transformer.wpe.weight[5, 0] = float("nan")
    with pytest.raises(
        JobFailed, match=r"unit 0: \d+ of \d+ rows at transformer\.h\.\S+ are not finite \(nan or inf\)"
    ):
        list(producer.chunks([0]))


def test_contexts_longer_than_the_models_positions_are_refused(root: Path) -> None:
    with pytest.raises(UserError, match=r"corpus\.context_tokens must be at most 64, .* got 65"):
        Producer(job(root, context_tokens=65))


def test_damage_in_the_corpus_reaches_the_caller_after_the_units_before_it(root: Path, tmp_path: Path) -> None:
    lines = [json.dumps({"text": text(100, seed)}) for seed in range(40)]
    (tmp_path / "a.jsonl").write_text("\n".join(lines) + "\n{")
    producer = Producer(job(root, source=str(tmp_path)))
    with pytest.raises(UserError, match="is not JSON"):
        for _ in producer.chunks(range(producer.corpus.num_units)):
            pass


def test_only_one_item_is_made_ahead() -> None:
    made: list[int] = []
    made_one = threading.Semaphore(0)

    def items() -> Iterator[int]:
        for number in count():
            made.append(number)
            made_one.release()
            yield number

    ahead = prefetched(items())
    for number in range(3):
        assert next(ahead) == number
    for _ in range(4):
        assert made_one.acquire(timeout=10)
    assert not made_one.acquire(timeout=0.05) and made == [0, 1, 2, 3]
    ahead.close()
    _await_no_prefetching()


def test_closing_does_not_wait_for_an_item_that_may_never_come() -> None:
    arrival = threading.Event()

    def items() -> Iterator[int]:
        yield 0
        arrival.wait(30)

    ahead = prefetched(items())
    next(ahead)
    begun = time.monotonic()
    ahead.close()
    assert time.monotonic() - begun < 5
    arrival.set()
    _await_no_prefetching()


def test_closing_the_chunks_ends_the_thread(root: Path) -> None:
    chunks = Producer(job(root)).chunks(iter(range(3)))
    next(chunks)
    chunks.close()
    _await_no_prefetching()


def test_an_error_in_the_source_of_units_reaches_the_caller(root: Path) -> None:
    def units() -> Iterator[int]:
        yield 0
        raise ConnectionError("the registry is gone")

    with pytest.raises(ConnectionError, match="registry is gone"):
        list(Producer(job(root)).chunks(units()))


def _await_no_prefetching() -> None:
    deadline = time.monotonic() + 10
    while any(thread.name.startswith("prefetch") for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
