import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.quantity import format_bytes, parse_bytes


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("4GiB", 4 * 2**30),
        ("512 MiB", 512 * 2**20),
        (" 1.5 kib ", 1536),
        ("2MB", 2_000_000),
        ("1_000_000", 1_000_000),
        ("0", 0),
        (4096, 4096),
        (1.5, 1),
    ],
)
def test_sizes_are_read_as_people_write_them(text: str | float, count: int) -> None:
    assert parse_bytes(text) == count


@pytest.mark.parametrize(
    "text", ["", "many", "4 GiB more", "-4GiB", "GiB", "4XiB", True, None, [], float("inf"), float("nan"), "9" * 400]
)
def test_what_is_no_size_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="must be a size such as 512MiB"):
        parse_bytes(text)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (3 * 2**30, "3.0 GiB"), (2**41, "2.0 TiB")]
)
def test_sizes_are_shown_in_the_unit_that_fits(count: int, text: str) -> None:
    assert format_bytes(count) == text


@given(st.integers(0, 2**60))
def test_what_is_shown_reads_back_as_nearly_the_same(count: int) -> None:
    assert abs(parse_bytes(format_bytes(count)) - count) <= 0.05 * count
