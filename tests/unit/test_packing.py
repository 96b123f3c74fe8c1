"""Packing drops nothing, keeps the order, and frames every context."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from producers.packing import PADDING_DOCUMENT, Contexts, ContextTemplate, pack

PLAIN = ContextTemplate()
FRAMED = ContextTemplate(prefix=(101,), suffix=(102,), separator=102, pad=0)


def ids(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int64)


def naive(documents: list[list[int]], template: ContextTemplate, context_tokens: int) -> list[list[int]]:
    """Contexts without padding, one token at a time."""
    line: list[int] = []
    for document in documents:
        if document and line and template.separator is not None:
            line.append(template.separator)
        line += document
    body = template.body_tokens(context_tokens)
    cuts = [line[start : start + body] for start in range(0, len(line), body)]
    return [[*template.prefix, *cut, *template.suffix] for cut in cuts]


def unpadded(contexts: Contexts) -> list[list[int]]:
    return [row[mask].tolist() for row, mask in zip(contexts.token_ids, contexts.attention_mask, strict=True)]


@given(
    st.lists(st.lists(st.integers(1, 99), max_size=9), max_size=6),
    st.sampled_from([PLAIN, FRAMED, ContextTemplate(prefix=(7, 8), separator=9), ContextTemplate(suffix=(5,))]),
    st.integers(3, 12),
)
def test_packing_equals_the_naive_way(
    documents: list[list[int]], template: ContextTemplate, context_tokens: int
) -> None:
    contexts = pack([ids(*document) for document in documents], template, context_tokens)
    assert unpadded(contexts) == naive(documents, template, context_tokens)
    assert contexts.token_ids.shape[1] == context_tokens


def test_every_context_is_framed_and_the_last_one_is_padded_after_its_suffix() -> None:
    contexts = pack([ids(1, 2, 3), ids(4, 5)], FRAMED, 6)
    assert contexts.token_ids.tolist() == [[101, 1, 2, 3, 102, 102], [101, 4, 5, 102, 0, 0]]
    assert contexts.attention_mask[1].tolist() == [True, True, True, True, False, False]


def test_documents_are_numbered_and_a_separator_belongs_to_the_one_before_it() -> None:
    contexts = pack([ids(1, 2, 3), ids(), ids(4, 5)], FRAMED, 6)
    assert contexts.document.tolist() == [[0, 0, 0, 0, 0, 0], [2, 2, 2, 2, PADDING_DOCUMENT, PADDING_DOCUMENT]]


def test_no_documents_give_no_contexts() -> None:
    assert len(pack([], FRAMED, 8).token_ids) == 0
    assert len(pack([ids()], FRAMED, 8).token_ids) == 0


def test_kept_leaves_out_padding_and_excluded_tokens() -> None:
    contexts = pack([ids(1, 2, 3), ids(4, 5)], FRAMED, 6)
    is_excluded = np.zeros(200, bool)
    is_excluded[[101, 102, 4]] = True
    assert contexts.kept(is_excluded).tolist() == [
        [False, True, True, True, False, False],
        [False, False, True] + [False] * 3,
    ]
    assert contexts.kept(np.zeros(200, bool)).sum() == contexts.attention_mask.sum()
