"""Every format gives every document once, however it is sliced; what is not what it says is refused in a sentence."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.corpus import Corpus
from producers.lines import read_lines
from producers.parquet_reader import ParquetReader
from producers.shelf import Shelf
from shared.config import CorpusConfig
from shared.errors import UserError

TEXTS = [f"document {number} " + "word " * (number % 17) + "é" * (number % 3) for number in range(120)]
TOKENS = [[number, *range(number % 9)] for number in range(120)]


def write_parquet(path: Path, table: pa.Table) -> None:
    pq.write_table(table, path, row_group_size=50)


def write_arrow_file(path: Path, table: pa.Table) -> None:
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=40)


def write_arrow_stream(path: Path, table: pa.Table) -> None:
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=40)


def write_lines(path: Path, table: pa.Table) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in table.to_pylist()), encoding="utf-8")


FORMATS: dict[str, tuple[str, Callable[[Path, pa.Table], None]]] = {
    "parquet": ("a.parquet", write_parquet),
    "arrow file": ("a.arrow", write_arrow_file),
    "arrow stream": ("a.arrow", write_arrow_stream),
    "feather": ("a.feather", write_arrow_file),
    "jsonl": ("a.jsonl", write_lines),
    "json": ("a.json", write_lines),
}
every_format = pytest.mark.parametrize("form", FORMATS)


def written(folder: Path, form: str, **columns: object) -> Path:
    name, write = FORMATS[form]
    write(folder / name, pa.table({"number": range(len(next(iter(columns.values())))), **columns}))
    return folder / name


def opened(path: Path, **changes: object) -> Corpus:
    config = {"source": str(path), "unit_contexts": 4, "context_tokens": 16, **changes}
    return Corpus.open(CorpusConfig.model_validate(config), seed=3)


def read_all(corpus: Corpus) -> list:
    return [document for unit in range(corpus.num_units) for document in corpus.documents(unit)]


@every_format
def test_every_text_comes_once(form: str, tmp_path: Path) -> None:
    corpus = opened(written(tmp_path, form, text=TEXTS))
    texts = [document.text for document in read_all(corpus)]
    assert sorted(texts) == sorted(TEXTS) and texts != TEXTS
    assert corpus.num_units > 2


@every_format
def test_every_list_of_tokens_comes_once(form: str, tmp_path: Path) -> None:
    corpus = opened(written(tmp_path, form, ids=TOKENS), tokens_column="ids")
    documents = read_all(corpus)
    assert sorted(document.token_ids.tolist() for document in documents) == sorted(TOKENS)
    assert all(document.text is None and document.token_ids.dtype == np.int64 for document in documents)


@every_format
def test_nulls_are_no_documents(form: str, tmp_path: Path) -> None:
    corpus = opened(written(tmp_path, form, text=["one", None, "two"]))
    assert sorted(document.text for document in read_all(corpus)) == ["one", "two"]


@every_format
def test_a_missing_column_names_those_that_are_there(form: str, tmp_path: Path) -> None:
    path = written(tmp_path, form, text=TEXTS)
    with pytest.raises(UserError, match=r"corpus\.text_column: .*'body'.*number, text"):
        opened(path, text_column="body")


@every_format
def test_a_column_of_a_wrong_type_is_refused(form: str, tmp_path: Path) -> None:
    path = written(tmp_path, form, text=TEXTS)
    with pytest.raises(UserError, match=r"corpus\.text_column.*not text"):
        opened(path, text_column="number")
    with pytest.raises(UserError, match=r"corpus\.tokens_column.*not a list of"):
        opened(path, tokens_column="text")


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow", "a.feather", "a.jsonl", "a.txt"])
def test_a_file_that_is_not_what_its_ending_says_is_refused_on_opening(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"\xff\xfe\x00nonsense" * 50)
    with pytest.raises(UserError, match=rf"{name}.* is not ") as caught:
        opened(tmp_path / name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", [pa.large_string(), pa.dictionary(pa.int32(), pa.string()), pa.string_view()])
def test_every_kind_of_text_column_is_read(kind: pa.DataType, tmp_path: Path) -> None:
    path = written(tmp_path, "arrow file", text=pa.array(TEXTS).cast(kind))
    assert sorted(document.text for document in read_all(opened(path))) == sorted(TEXTS)


@pytest.mark.parametrize("kind", [pa.large_list(pa.uint16()), pa.list_(pa.int32())])
def test_every_kind_of_token_column_is_read(kind: pa.DataType, tmp_path: Path) -> None:
    path = written(tmp_path, "parquet", ids=pa.array(TOKENS, kind))
    assert sorted(d.token_ids.tolist() for d in read_all(opened(path, tokens_column="ids"))) == sorted(TOKENS)


def test_a_damaged_line_names_its_byte(tmp_path: Path) -> None:
    path = written(tmp_path, "jsonl", text=TEXTS)
    good = path.read_bytes()
    path.write_bytes(good + b'{"text": "cut sho')
    with pytest.raises(UserError, match=rf"a\.jsonl: the line at byte {len(good)} is not JSON"):
        read_all(opened(path))


def test_a_line_without_the_key_names_its_byte(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "one"}\n\n{"txt": "two"}\n')
    with pytest.raises(UserError, match=r"a\.jsonl, line at byte 17: there is no key 'text'; there are txt"):
        read_all(opened(path))


@pytest.mark.parametrize("line", ["[1, 2]", "7", '"text"'])
def test_a_line_that_is_no_object_is_refused(line: str, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(line + "\n")
    with pytest.raises(UserError, match="is not a JSON object"):
        opened(tmp_path / "a.jsonl")


def test_windows_line_ends_and_a_byte_order_mark_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'\xef\xbb\xbf{"text": "one"}\r\n\r\n{"text": "two"}\r\n')
    assert sorted(document.text for document in read_all(opened(tmp_path / "a.jsonl"))) == ["one", "two"]


def test_a_small_text_file_is_one_document(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("first line\nsecond line\n")
    (tmp_path / "b.txt").write_text("the other, with no line end")
    corpus = opened(tmp_path, unit_contexts=64)
    assert sorted(document.text for document in read_all(corpus)) == [
        "first line\nsecond line\n",
        "the other, with no line end",
    ]


def test_a_big_text_file_is_cut_at_line_ends(tmp_path: Path) -> None:
    lines = [f"line {number} " + "é" * 40 + "\n" for number in range(5000)]
    (tmp_path / "a.txt").write_text("".join(lines), encoding="utf-8")
    texts = [document.text for document in read_all(opened(tmp_path / "a.txt", unit_contexts=4096))]
    assert sorted("".join(texts).splitlines(keepends=True)) == sorted(lines)
    assert len(texts) == -(-(tmp_path / "a.txt").stat().st_size // 2**16)
    assert all(text.endswith("\n") and len(text.encode()) < 2**16 + 200 for text in texts)


def test_text_that_stops_being_utf8_names_its_byte(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"good line\n" * 1000 + b"bad \xff line\n")
    with pytest.raises(UserError, match=r"a\.txt is not UTF-8 text at byte 10004"):
        read_all(opened(tmp_path / "a.txt"))


def test_a_character_cut_by_the_check_on_opening_is_no_damage(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a" + "é" * 5000, encoding="utf-8")
    assert [document.text for document in read_all(opened(tmp_path / "a.txt"))] == ["a" + "é" * 5000]


def test_plain_text_has_no_token_column(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("words")
    with pytest.raises(UserError, match=r"corpus\.tokens_column: .*a\.txt is plain text"):
        opened(tmp_path / "a.txt", tokens_column="ids")


def test_a_row_group_that_is_damaged_later_is_named(tmp_path: Path) -> None:
    path = written(tmp_path, "parquet", text=TEXTS)
    corpus = opened(path)
    data = bytearray(path.read_bytes())
    data[4:2000] = b"\xff" * 1996
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"a\.parquet: row group \d+ is damaged"):
        read_all(corpus)


def test_whatever_bit_of_a_footer_is_damaged_the_process_goes_on(tmp_path: Path) -> None:
    """Of some pyarrow says so in a way that ends it: whether a list may be null no longer fits what chunks say."""
    path = written(tmp_path, "parquet", ids=TOKENS)
    whole, said = path.read_bytes(), []
    for place in range(len(whole) - int.from_bytes(whole[-8:-4], "little") - 8, len(whole) - 8):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << place % 8]) + whole[place + 1 :])
        try:
            opened(path, tokens_column="ids")
        except UserError as error:
            said.append(str(error))
    assert any("a.parquet: its footer is damaged: " in one for one in said), said


def test_each_row_group_is_decoded_once_in_an_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = opened(written(tmp_path, "parquet", text=TEXTS * 4))
    decoded: list[int] = []
    decode = ParquetReader._decode
    monkeypatch.setattr(ParquetReader, "_decode", lambda self, group: decoded.append(group) or decode(self, group))
    assert len(read_all(corpus)) == 480
    assert sorted(decoded) == list(range(10))


def test_the_shelf_keeps_what_was_used_last() -> None:
    shelf = Shelf(capacity_bytes=100)
    made: list[str] = []

    def get(key: str) -> None:
        shelf.get(key, lambda: made.append(key) or np.zeros(40, np.int8))

    for key in ("a", "b", "a", "c", "a", "b"):
        get(key)
    assert made == ["a", "b", "c", "b"]


@given(
    st.lists(st.binary(max_size=6).filter(lambda line: b"\n" not in line), max_size=8), st.integers(1, 9), st.booleans()
)
def test_ranges_of_any_size_give_every_line_once(lines: list[bytes], step: int, ends_with_newline: bool) -> None:
    data = b"\n".join(lines) + (b"\n" if ends_with_newline else b"")
    file = pa.BufferReader(data)
    spans = [read_lines(file, start, start + step) for start in range(0, len(data), step)]
    assert b"".join(piece for _, piece in spans) == data
    assert all(data[offset : offset + len(piece)] == piece for offset, piece in spans)
