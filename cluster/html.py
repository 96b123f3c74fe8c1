"""HTML whose text is escaped unless it is HTML already."""

from collections.abc import Collection
from html import escape


class Html(str):
    """Markup that may stand in a page as it is."""

    __slots__ = ()


def text(child: str) -> Html:
    """`child` as it will read on the page."""
    return child if isinstance(child, Html) else Html(escape(child))


def element(tag: str, *children: str, **attributes: str | None) -> Html:
    """`element("td", "a<b", class_="name")` is `<td class="name">a&lt;b</td>`; attributes of None are left out."""
    given = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{escape(value)}"'
        for name, value in attributes.items()
        if value is not None
    )
    return Html(f"<{tag}{given}>{''.join(text(child) for child in children)}</{tag}>")


def table(head: list[str], rows: list[list[str]], words: Collection[int] = (0,), foot: list[str] | None = None) -> Html:
    """Columns whose number is in `words` stand to the left, the others, numbers, to the right."""
    parts = [element("thead", _row("th", head, words)), element("tbody", *(_row("td", row, words) for row in rows))]
    if foot:
        parts.append(element("tfoot", _row("td", foot, words)))
    return element("div", element("table", *parts), class_="scroll")


def _row(tag: str, cells: list[str], words: Collection[int]) -> Html:
    classes = [None if at in words else "number" for at in range(len(cells))]
    return element("tr", *(element(tag, one, class_=class_) for one, class_ in zip(cells, classes, strict=True)))
