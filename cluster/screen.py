"""The terminal, or whatever stands in its place: one console for facts, one for errors.

What is shown may come from strangers: names of files and columns, a model's words, an error that quotes a document. A
terminal obeys control characters in it, so none is passed on but those that rich itself makes; `\\x1b` is shown.
"""

import os
from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from shared.plain_text import OBEYED, plain


class Screen(Console):
    """A console that falls silent when its reader is gone, as in `headrace jobs | head`; a job goes on meanwhile."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            text = segment.text
            is_plain = segment.control or text.isprintable() or OBEYED.search(text) is None
            yield segment if is_plain else Segment(plain(text), segment.style)

    def on_broken_pipe(self) -> None:
        self.quiet = True
        silence(self.file.fileno())


def silence(descriptor: int) -> None:
    """Lets everything that is written to `descriptor` from now on, also at exit, go nowhere."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, descriptor)
    os.close(devnull)


out = Screen(soft_wrap=True, markup=False)
err = Screen(stderr=True, soft_wrap=True, markup=False)
