"""What an explainer and a judge are shown of a latent: windows of text, cut alike, and the halves kept apart.

Whoever explains sees documents of one half, whoever judges those of the other: no document is in both.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from features.context import EXPLAIN, JUDGE, NUM_BINS, SILENT, Context
from features.store import FeatureStore

WINDOW_TOKENS = 32
MARK, UNMARK = "⟦", "⟧"
"""Around tokens that a latent fires on; hardly found in any text."""
MARKED_ABOVE = 0.3
"""Of the window's greatest activation: weaker tokens are not marked."""
NUM_SILENT = 50

Decode = Callable[[Sequence[int]], str]
"""Token ids to text."""


@dataclass(frozen=True, eq=False)
class Window:
    """Some tokens of a document, and a latent's activation at each."""

    tokens: np.ndarray
    """int32 [tokens]"""
    acts: np.ndarray
    """float32 [tokens]"""
    group: str
    """`top`, `bin0` to `bin7` by the range of its greatest activation, or `silent`."""
    document: int
    start: int
    strength: float
    """Its greatest activation as a share of the latent's."""

    @property
    def marks(self) -> np.ndarray:
        """bool [tokens]: the tokens that the latent fires on, but for the weakest."""
        return self.acts > MARKED_ABOVE * max(self.acts.max(initial=0.0), 0.0)


@dataclass(frozen=True)
class Material:
    """All windows of one latent, strongest first."""

    latent: int
    max_act: float
    explain: tuple[Window, ...]
    judge: tuple[Window, ...]
    silent: tuple[Window, ...]
    """Of the judge's half too."""


def material(store: FeatureStore, latent: int, seed: int = 0) -> Material:
    """What is stored of `latent`, each stretch of text once."""
    max_act = store.record(latent).max_act
    windows = {split: _once(store.contexts(latent), split, max_act) for split in (EXPLAIN, JUDGE)}
    silent = [_window(one, max_act) for one in store.silent(latent, NUM_SILENT, JUDGE, seed)]
    return Material(latent, max_act, windows[EXPLAIN], windows[JUDGE], tuple(silent))


def range_of(strength: float) -> int:
    """The range of activation, 0 to 7, of a share of the greatest: half an octave each, the lowest all below."""
    return 0 if strength <= 0 else max(0, NUM_BINS - 1 - int(np.floor(-2 * np.log2(min(strength, 1.0)))))


def spread(windows: Sequence[Window], count: int, chance: np.random.Generator) -> list[Window]:
    """At most `count` of `windows`, as many of each range of activation as there are, the strong ranges first."""
    ranges: list[list[Window]] = [[] for _ in range(NUM_BINS)]
    for place in chance.permutation(len(windows)):
        ranges[range_of(windows[place].strength)].append(windows[place])
    deepest = max(map(len, ranges), default=0)
    in_turn = [one[depth] for depth in range(deepest) for one in reversed(ranges) if depth < len(one)]
    return in_turn[:count]


def plain(window: Window, decode: Decode) -> str:
    """Its text."""
    return decode(window.tokens.tolist())


def marked(window: Window, decode: Decode, marks: np.ndarray) -> str:
    """Its text with `marks` (bool [tokens]) around what is marked; neighbours share one pair.

    A stretch's text is what it adds to the text before it: some tokenizers drop the blank before a first token.
    """
    pieces, tokens, before, done = [], window.tokens.tolist(), "", 0
    for is_marked, run in groupby(marks.tolist()):
        done += len(list(run))
        whole = decode(tokens[:done])
        text, before = whole[len(before) :], whole
        pieces.append(f"{MARK}{text}{UNMARK}" if is_marked else text)
    return "".join(pieces)


def _once(contexts: Sequence[Context], split: str, max_act: float) -> tuple[Window, ...]:
    """Those of one half; a context that is among the strongest and was drawn too counts once."""
    found = {(one.document, one.tokens.tobytes()): one for one in reversed(contexts) if one.split == split}
    ordered = sorted(found.values(), key=lambda one: (-one.max_act, one.document, one.position, one.start))
    return tuple(_window(one, max_act) for one in ordered)


def _window(context: Context, max_act: float) -> Window:
    """The tokens around the strongest."""
    peak = context.position - context.start
    first = max(0, min(peak - WINDOW_TOKENS // 2, len(context.tokens) - WINDOW_TOKENS))
    part = slice(first, first + WINDOW_TOKENS)
    acts, strength = context.acts[part], context.max_act / max_act if max_act > 0 else 0.0
    group = context.group if context.group == SILENT else f"bin{range_of(strength)}"
    return Window(context.tokens[part], acts, group, context.document, context.start + first, strength)
