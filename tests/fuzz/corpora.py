"""Corpus files of every form, read to the end and packed into contexts."""

import json
import os
import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from producers.corpus import Corpus
from producers.document import Document
from producers.packing import pack
from producers.tokenizing import DocumentTokenizer
from shared.config import CorpusConfig, ModelConfig
from tests.fuzz.mutation import HOSTILE, mutate_bytes, mutate_tree
from tests.fuzz.target import Target
from tests.tiny_models import VOCAB_SIZE, text, tiny_gpt2

NUM_DOCUMENTS = 40
CONTEXT_TOKENS = 16


class Corpora(Target):
    """`Corpus.open`, every document of every unit, tokens and contexts."""

    name = "corpora"

    def __init__(self, ground: Path) -> None:
        super().__init__(ground)
        self._model = ModelConfig(name=str(tiny_gpt2(ground / "gpt2")), hookpoints=("h",))
        self._files = _sound_files(ground / "sound")
        self._tokenizers = {
            kind: DocumentTokenizer.load(self._model, _config(ground, kind), VOCAB_SIZE) for kind in ("text", "ids")
        }

    def lay(self, draw: random.Random, folder: Path) -> None:
        for _ in range(draw.choice((1, 1, 2))):
            sound = draw.choice(self._files)
            data = sound.read_bytes()
            if sound.suffix == ".jsonl" and draw.random() < 0.5:
                damaged = _mutate_line(draw, data)
            else:
                damaged = mutate_bytes(draw, data)
            ending = sound.suffix if draw.random() < 0.95 else draw.choice((".parquet", ".txt", ".jsonl", ".arrow"))
            (folder / f"{sound.stem}{ending}").write_bytes(damaged)

    def feed(self, draw: random.Random, folder: Path) -> None:
        os.chdir(folder)
        kind = "ids" if any(path.name.startswith("ids") for path in folder.iterdir()) else "text"
        config, tokenizer = _config(folder, kind), self._tokenizers[kind]
        corpus = Corpus.open(config, seed=draw.randrange(3), holdout=draw.choice((0.0, 0.1)))
        units = [corpus.documents(unit) for unit in range(corpus.num_units)]
        for documents in units + [corpus.held_out(unit) for unit in range(corpus.num_held_out_units)]:
            ids = tokenizer.encode(documents)
            contexts = pack(ids, tokenizer.template, CONTEXT_TOKENS)
            assert contexts.token_ids.shape[1:] == (CONTEXT_TOKENS,)
            assert not len(contexts.token_ids) or (
                0 <= contexts.token_ids.min() <= contexts.token_ids.max() < VOCAB_SIZE
            )


def _config(folder: Path, kind: str) -> CorpusConfig:
    columns = {"tokens_column": "ids"} if kind == "ids" else {}
    return CorpusConfig(source=str(folder), context_tokens=CONTEXT_TOKENS, unit_contexts=8, **columns)  # type: ignore[arg-type]


def _documents() -> list[Document]:
    texts = [text(30, seed=number) for number in range(NUM_DOCUMENTS)]
    ids = [np.arange(number % 50 + 3, dtype=np.int64) % VOCAB_SIZE for number in range(NUM_DOCUMENTS)]
    return [Document(one, two) for one, two in zip(texts, ids, strict=True)]


def _sound_files(folder: Path) -> list[Path]:
    """A dozen forms; those of token ids begin with `ids`."""
    folder.mkdir()
    documents = _documents()
    texts: list[str | None] = [one.text for one in documents]
    ids = [one.token_ids.tolist() for one in documents if one.token_ids is not None]
    with_null = pa.table({"text": pa.array([None, *texts]), "other": list(range(NUM_DOCUMENTS + 1))})
    pq.write_table(with_null, folder / "plain.parquet", row_group_size=15)
    pq.write_table(with_null, folder / "zstd.parquet", compression="zstd", use_dictionary=False, write_statistics=False)
    pq.write_table(pa.table({"ids": pa.array(ids, pa.list_(pa.int32()))}), folder / "ids.parquet", row_group_size=15)
    fixed = pa.array([one[:3] for one in ids], pa.list_(pa.uint16(), 3))
    _write_ipc(pa.table({"ids": fixed}), folder / "ids-fixed.arrow")
    _write_ipc(pa.table({"ids": pa.array(ids, pa.large_list(pa.int64()))}), folder / "ids-large.arrow")
    _write_ipc(with_null, folder / "plain.arrow")
    _write_ipc(pa.table({"text": pa.array(texts).dictionary_encode()}), folder / "dictionary.arrow")
    _write_ipc(pa.table({"text": pa.array(texts, pa.string_view())}), folder / "view.arrow")
    _write_stream(with_null, folder / "stream.arrow")
    (folder / "plain.jsonl").write_text("".join(f"{json.dumps({'text': one, 'n': 1})}\n" for one in texts))
    (folder / "ids.jsonl").write_text("".join(f"{json.dumps({'ids': one})}\n" for one in ids))
    (folder / "plain.txt").write_text("\n".join(str(one) for one in texts))
    return sorted(folder.iterdir())


def _write_ipc(table: pa.Table, path: Path) -> None:
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=15)


def _write_stream(table: pa.Table, path: Path) -> None:
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=15)


def _mutate_line(draw: random.Random, data: bytes) -> bytes:
    """One line's object is another."""
    lines = data.splitlines()
    at = draw.randrange(len(lines))
    tree = mutate_tree(draw, json.loads(lines[at])) if draw.random() < 0.8 else draw.choice(HOSTILE)
    lines[at] = json.dumps(tree, ensure_ascii=draw.random() < 0.5).encode("utf-8", "surrogatepass")
    return b"\n".join(lines)
