"""What is fuzzed: something of the product that reads what others wrote."""

import random
from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar


class Target(ABC):
    """One kind of input. Made once in each worker; then `lay` and `feed` for each seed.

    `feed` may raise a HeadraceError, whose text is one sentence, and nothing else; what it raises otherwise, a wrong
    answer (AssertionError) included, is a failure.
    """

    name: ClassVar[str]
    writes: ClassVar[bool] = False
    """`feed` leaves files where it has nothing to complain of."""

    def __init__(self, ground: Path) -> None:
        """Makes what is sound, in the folder `ground`."""
        self.ground = ground

    @abstractmethod
    def lay(self, draw: random.Random, folder: Path) -> None:
        """Puts a damaged input into `folder`, which is empty; what is drawn is all that this depends on."""

    @abstractmethod
    def feed(self, draw: random.Random, folder: Path) -> None:
        """Gives it to the product."""

    def close(self) -> None:  # noqa: B027
        """Ends what was started, if anything was."""
