"""Data sets of the Hugging Face hub, or a folder of one: `hf://owner/name:split`, `hf://owner/name/config:split`."""

from pathlib import Path
from typing import Any

import pyarrow as pa

from producers.column import check_column
from producers.document import Layout
from shared.errors import UserError

SCHEME = "hf://"


class HubDataset:
    """One split, downloaded once and mapped into memory by the `datasets` library."""

    is_mapped = True

    def __init__(self, source: str, layout: Layout) -> None:
        """Raises UserError if the split is not named, cannot be had, or lacks the column."""
        self.shown = source
        self._column = layout.column
        self._table = self._load(*parse_hub_source(source))
        check_column(self._table.schema, layout, source)

    def table(self) -> pa.Table:
        return self._table.select([self._column])

    def _load(self, dataset: str, config: str | None, split: str) -> pa.Table:
        import datasets

        try:
            loaded = _load_split(datasets, dataset, config, split)
        except Exception as error:  # The library raises errors of many kinds, its own and others'.
            reason = str(error).strip().split("\n")[0].rstrip(".") or type(error).__name__
            raise UserError(f"corpus.source: cannot load {self.shown}: {reason}") from error
        return (loaded if loaded._indices is None else loaded.flatten_indices()).data.table


def parse_hub_source(source: str) -> tuple[str, str | None, str]:
    """`hf://owner/name/config:split` as ("owner/name", "config", "split"); the config may be missing."""
    name, colon, split = source.removeprefix(SCHEME).partition(":")
    if not colon or not name or not split:
        raise UserError(f"corpus.source must name a split, such as {SCHEME}owner/name:train, got {source!r}")
    parts = name.split("/")
    if len(parts) == 3 and not Path(name).is_dir():
        return "/".join(parts[:2]), parts[2], split
    return name, None, split


def _load_split(datasets: Any, dataset: str, config: str | None, split: str) -> Any:
    """The split as a `datasets.Dataset`; also from a folder that `save_to_disk` wrote."""
    folder = Path(dataset)
    if (folder / "dataset_dict.json").is_file():
        return datasets.load_from_disk(dataset)[split]
    if (folder / "state.json").is_file():
        return datasets.load_from_disk(dataset)
    return datasets.load_dataset(dataset, config, split=split)
