import numpy as np

from shared.digest import StreamDigest
from shared.row_table import Rows


def some_rows(seed: int = 0, num_rows: int = 6) -> Rows:
    generator = np.random.default_rng(seed)
    activations = {name: generator.standard_normal((num_rows, 4)).astype(np.float32) for name in ("b", "a")}
    return Rows(generator.integers(0, 99, (num_rows, 5)).astype(np.int32), activations)


def digest_of(*blocks: Rows) -> StreamDigest:
    digest = StreamDigest()
    for block in blocks:
        digest.update(block)
    return digest


def test_same_blocks_in_the_same_order_agree() -> None:
    assert digest_of(some_rows(0), some_rows(1)) == digest_of(some_rows(0), some_rows(1))
    assert digest_of(some_rows(0), some_rows(1)) != digest_of(some_rows(1), some_rows(0))


def test_memory_layout_does_not_matter() -> None:
    rows = some_rows()
    by_column = Rows(
        np.asfortranarray(rows.addresses),
        {name: np.asfortranarray(values) for name, values in reversed(rows.activations.items())},
    )
    assert digest_of(rows) == digest_of(by_column)


def test_one_changed_bit_changes_only_the_digest_of_bits() -> None:
    rows, changed = some_rows(), some_rows()
    changed.activations["a"].view(np.uint32)[5, 3] ^= 1
    assert digest_of(rows).addresses == digest_of(changed).addresses
    assert digest_of(rows).bits != digest_of(changed).bits


def test_a_changed_address_changes_only_the_digest_of_addresses() -> None:
    rows, changed = some_rows(), some_rows()
    changed.addresses[2, 1] += 1
    assert digest_of(rows).addresses != digest_of(changed).addresses
    assert digest_of(rows).bits == digest_of(changed).bits


def test_goes_on_from_its_two_strings() -> None:
    begun = digest_of(some_rows(0))
    resumed = StreamDigest(begun.addresses, begun.bits)
    resumed.update(some_rows(1))
    assert resumed == digest_of(some_rows(0), some_rows(1))


def test_where_a_block_ends_is_part_of_the_digest() -> None:
    rows = some_rows()
    assert digest_of(rows) != digest_of(rows.slice(0, 3), rows.slice(3, 6))


def test_no_rows_are_a_block_too() -> None:
    assert digest_of(some_rows(0, num_rows=0)) != StreamDigest()
