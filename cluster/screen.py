"""The terminal, or whatever stands in its place: one console for facts, one for errors."""

import os

from rich.console import Console


class Screen(Console):
    """A console that falls silent when its reader is gone, as in `headrace jobs | head`; a job goes on meanwhile."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        silence(self.file.fileno())


def silence(descriptor: int) -> None:
    """Lets everything that is written to `descriptor` from now on, also at exit, go nowhere."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, descriptor)
    os.close(devnull)


out = Screen(soft_wrap=True)
err = Screen(stderr=True, soft_wrap=True)
