"""Numbers as people read them, the same in the terminal and in the report; `—` where there is none."""

NONE = "—"


def count(number: float | None) -> str:
    """Three digits: `950`, `12.3k`, `1.23M`, `500M`, `2.05B`."""
    if number is None:
        return NONE
    size, suffix = abs(number), ""
    for larger, name in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if size >= larger * 0.9995:
            number, suffix = number / larger, name
            break
    if not suffix:
        return f"{number:.0f}"
    text = f"{number:.{max(0, 2 - len(str(int(abs(number)))) + 1)}f}"
    return (text.rstrip("0").rstrip(".") if "." in text else text) + suffix


def whole(number: float | None) -> str:
    """Every digit: `1,234,567`."""
    return NONE if number is None else f"{number:,.0f}"


def decimals(number: float | None, places: int) -> str:
    """`0.0714` for an FVU, `31.9` for an L0."""
    return NONE if number is None else f"{number:.{places}f}"


def percent(share: float | None) -> str:
    """A share of one: `0.4%`, `12%`, `100%`; what is not all never reads as 100%."""
    if share is None:
        return NONE
    hundredths = 100 * share
    if 0 < hundredths < 0.05:
        return "<0.1%"
    if 99.5 <= hundredths < 100:
        return f"{int(hundredths * 10) / 10}%"
    return f"{hundredths:.1f}%" if 0 < hundredths < 9.95 else f"{hundredths:.0f}%"


def duration(seconds: float | None) -> str:
    """`45 s`, `12 min`, `3 h 05 min`, `2 d 4 h`."""
    if seconds is None:
        return NONE
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"


def plural(number: int, noun: str) -> str:
    """`1 block`, `2 blocks`."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
