"""One column of an Arrow table as documents: text, or lists of token ids."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from producers.document import BYTES_PER_TOKEN, Document, Layout
from shared.errors import UserError, one_line

TEXT = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
LISTS = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)


def check_column(schema: pa.Schema, layout: Layout, shown: str) -> None:
    """Raises UserError if `schema` does not have the layout's column, or has another type there."""
    if layout.column not in schema.names:
        columns = ", ".join(schema.names) or "none"
        raise UserError(f"{layout.key}: {shown} has no column {layout.column!r}; it has {columns}")
    kind = schema.field(layout.column).type
    if not (_is_token_list(kind) if layout.tokens_column else _is_text(kind)):
        wanted = "a list of integers" if layout.tokens_column else "text"
        raise UserError(f"{layout.key}: the column {layout.column!r} of {shown} is {kind}, not {wanted}")


def num_tokens(values: pa.ChunkedArray, layout: Layout) -> float:
    """About how many tokens a column has, from the sizes of its buffers."""
    if layout.tokens_column:
        return float(sum(len(chunk.flatten()) for chunk in values.chunks))
    return values.nbytes / BYTES_PER_TOKEN


def check_values(values: pa.ChunkedArray, layout: Layout, shown: str, full: bool = False) -> None:
    """Raises UserError if the column is damaged: `full` looks at each value, else at the sizes of buffers alone."""
    try:
        values.validate(full=full)
    except pa.ArrowException as error:
        raise UserError(f"{shown} is damaged, in its column {layout.column!r}: {one_line(error)}") from None


def column_documents(values: pa.ChunkedArray, layout: Layout, shown: str) -> Iterator[Document]:
    """The column's values as documents; nulls are none. Raises UserError if they are damaged."""
    check_values(values, layout, shown, full=True)
    values = values.drop_null()
    if layout.tokens_column is None:
        for text in values.to_pylist():
            yield Document(text)
        return
    for chunk in values.chunks:
        for ids in chunk:
            yield Document(None, np.asarray(ids.values.to_numpy(zero_copy_only=False), np.int64))


def _is_text(kind: pa.DataType) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return any(is_text(kind) for is_text in TEXT)


def _is_token_list(kind: pa.DataType) -> bool:
    return any(is_list(kind) for is_list in LISTS) and pa.types.is_integer(kind.value_type)
