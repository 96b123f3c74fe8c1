"""Special tokens are found and framed, excluded tokens looked up, and what a tokenizer lacks is a sentence."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"

from pathlib import Path

import numpy as np
import pytest
from tiny_models import LINES, VOCAB_SIZE, tiny_bert, tiny_gpt2, tiny_llama
from transformers import AutoTokenizer

from producers.document import Document
from producers.tokenizing import DocumentTokenizer
from shared.config import CorpusConfig, ModelConfig
from shared.errors import UserError


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    return {make.__name__: make(root / make.__name__) for make in (tiny_gpt2, tiny_llama, tiny_bert)}


def loaded(folder: Path, **changes: object) -> DocumentTokenizer:
    corpus = CorpusConfig.model_validate({"source": "stdlib", "context_tokens": 16, **changes})
    return DocumentTokenizer.load(ModelConfig(name=str(folder), hookpoints=("h.0",)), corpus, VOCAB_SIZE)


def test_gpt2_begins_contexts_with_bos_if_asked(folders: dict[str, Path]) -> None:
    template = loaded(folders["tiny_gpt2"]).template
    assert (template.prefix, template.suffix, template.separator) == ((0,), (), 0)
    assert loaded(folders["tiny_gpt2"], prepend_bos=False).template.prefix == ()


def test_llama_begins_contexts_with_bos_once(folders: dict[str, Path]) -> None:
    template = loaded(folders["tiny_llama"]).template
    assert (template.prefix, template.suffix, template.separator) == ((0,), (), 1)
    assert loaded(folders["tiny_llama"], prepend_bos=False).template.prefix == ()


def test_bert_frames_contexts_whatever_is_asked(folders: dict[str, Path]) -> None:
    for prepend_bos in (True, False):
        template = loaded(folders["tiny_bert"], prepend_bos=prepend_bos).template
        assert (template.prefix, template.suffix, template.separator, template.pad) == ((2,), (3,), 3, 0)


@pytest.mark.parametrize("name", ["tiny_gpt2", "tiny_llama", "tiny_bert"])
def test_documents_are_encoded_as_the_tokenizer_does_without_special_tokens(
    name: str, folders: dict[str, Path]
) -> None:
    plain = AutoTokenizer.from_pretrained(folders[name])
    found = loaded(folders[name]).encode([Document(line) for line in LINES])
    assert [ids.tolist() for ids in found] == [plain.encode(line, add_special_tokens=False) for line in LINES]


def test_documents_keep_the_token_ids_that_they_have(folders: dict[str, Path]) -> None:
    stored = np.array([5, 6, 7])
    found = loaded(folders["tiny_gpt2"]).encode([Document("a"), Document(None, stored), Document("")])
    assert found[1] is stored and len(found[0]) == 1 and len(found[2]) == 0


def test_special_and_named_tokens_are_excluded(folders: dict[str, Path]) -> None:
    bert = loaded(folders["tiny_bert"], exclude_tokens=("water",))
    water = AutoTokenizer.from_pretrained(folders["tiny_bert"]).get_vocab()["water"]
    assert np.flatnonzero(bert.is_excluded).tolist() == [0, 1, 2, 3, 4, water]
    none = loaded(folders["tiny_bert"], exclude_special_tokens=False)
    assert not none.is_excluded.any()


def test_an_unknown_token_names_the_nearest(folders: dict[str, Path]) -> None:
    with pytest.raises(UserError, match=r"corpus\.exclude_tokens: .* has no token 'watex'; nearest: .*water"):
        loaded(folders["tiny_bert"], exclude_tokens=("watex",))


def test_token_ids_beyond_the_vocabulary_are_refused(folders: dict[str, Path]) -> None:
    with pytest.raises(UserError, match=f"token id {VOCAB_SIZE} .* beyond the model's vocabulary of {VOCAB_SIZE}"):
        loaded(folders["tiny_gpt2"]).encode([Document(None, np.array([1, VOCAB_SIZE]))])


def test_contexts_must_have_room_for_text(folders: dict[str, Path]) -> None:
    with pytest.raises(UserError, match=r"corpus\.context_tokens must be above 2, .* got 2"):
        loaded(folders["tiny_bert"], context_tokens=2)


def test_a_folder_without_a_tokenizer_serves_stored_tokens_only(folders: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes((folders["tiny_gpt2"] / "config.json").read_bytes())
    with pytest.raises(UserError, match=r"model\.name: there is no tokenizer in .*; name one as model\.tokenizer"):
        loaded(tmp_path)
    with pytest.raises(UserError, match="there is no tokenizer"):
        loaded(tmp_path, tokens_column="ids", exclude_tokens=("water",))
    stored = loaded(tmp_path, tokens_column="ids")
    assert stored.template.prefix == () and not stored.is_excluded.any()
