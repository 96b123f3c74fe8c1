"""Explanations without a language model that explains: the shortest stretches of tokens that still make a latent fire.

N2G (Foote et al. 2023): each strong window is cut off after its strongest token and shortened from the left while half
of the activation remains; tokens in it that others can replace become wildcards. The patterns then say of new text
where the latent will fire, and how right that is can be counted.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from features.explaining import chosen
from features.explanations import Explanation, JudgedExample
from features.judging import Summary, binary_summary, example
from features.windows import Decode, Material, Window, plain

SOURCE, METHOD = "n2g", "patterns"
LONGEST_TOKENS = 12
"""Of a pattern."""
KEPT = 0.5
"""Share of the activation that a shorter stretch must keep; a token matters that takes more away."""
NUM_SUBSTITUTES = 3
"""Tokens that are tried in the place of another."""
NUM_SHOWN = 6
"""Patterns in the explanation's text."""
ANY = "·"
"""A wildcard, as it reads."""

Pattern = tuple[int | None, ...]
"""Token ids, None for any, the last one a token on which the latent fires."""
Activate = Callable[[Sequence[Sequence[int]]], np.ndarray]
"""The latent's activation at the last token of each text, float32 [texts]."""


@dataclass(frozen=True)
class Patterns:
    """Where a latent fires, as far as the tokens just before tell."""

    counts: dict[Pattern, int]
    """How many windows each pattern came of, most first."""

    @property
    def purity(self) -> float:
        """Of the windows that gave a pattern, the share whose patterns end with the commonest token; 0 without any."""
        ends: Counter[int | None] = Counter()
        for pattern, windows in self.counts.items():
            ends[pattern[-1]] += windows
        return max(ends.values()) / ends.total() if ends.total() else 0.0

    def fires(self, tokens: Sequence[int]) -> np.ndarray:
        """bool [tokens]: where a pattern ends."""
        by_end: dict[int | None, list[Pattern]] = {}
        for pattern in self.counts:
            by_end.setdefault(pattern[-1], []).append(pattern)
        ends = [any(_ends(one, tokens, at) for one in by_end.get(token, ())) for at, token in enumerate(tokens)]
        return np.array(ends, bool)

    def text(self, decode: Decode) -> str:
        """The commonest, as people read them: ` def` | `import·as`."""
        shown = [f"`{_written(one, decode)}`" for one in list(self.counts)[:NUM_SHOWN]]
        more = len(self.counts) - len(shown)
        return " | ".join(shown) + (f" | {more} more" if more > 0 else "")


def find_patterns(windows: Material, activate: Activate, chance: np.random.Generator) -> Patterns:
    """From what an explainer is shown; a window that needs all that comes before its strongest token gives none."""
    substitutes = np.unique(np.concatenate([one.tokens for one in windows.silent])) if windows.silent else np.arange(1)
    stretches = _shortest(chosen(windows, chance), activate)
    found = Counter(_generalised(stretches, activate, substitutes, chance))
    return Patterns(dict(sorted(found.items(), key=lambda one: (-one[1], len(one[0]), str(one[0])))))


def explanation_of(latent: int, patterns: Patterns, decode: Decode) -> Explanation:
    facts = {"patterns": [{"tokens": list(one), "windows": count} for one, count in patterns.counts.items()]}
    return Explanation(latent, patterns.text(decode) or "no pattern", SOURCE, facts)


def patterns_of(explanation: Explanation) -> Patterns:
    """What `explanation_of` wrote down."""
    return Patterns({tuple(one["tokens"]): one["windows"] for one in explanation.facts["patterns"]})


def judge_patterns(windows: Material, patterns: Patterns, decode: Decode) -> tuple[Summary, list[JudgedExample]]:
    """How right they are on the judge's half: by window as detection is, and by token."""
    judged = [_judged(one, patterns, decode, 1.0) for one in windows.judge]
    judged += [_judged(one, patterns, decode, 0.0) for one in windows.silent]
    value, numbers = binary_summary(judged)
    return (value, {**numbers, "tokens": _token_numbers([*windows.judge, *windows.silent], patterns)}), judged


def _judged(window: Window, patterns: Patterns, decode: Decode, expected: float) -> JudgedExample:
    fires = bool(patterns.fires(window.tokens.tolist()).any())
    asked = example(window, plain(window, decode), expected)
    return JudgedExample(**{**asked.__dict__, "answered": float(fires)})


def _token_numbers(windows: Sequence[Window], patterns: Patterns) -> dict[str, float | None]:
    """Precision over all tokens on which the latent fires, recall over those that are marked in their window."""
    said = np.concatenate([np.zeros(0, bool), *(patterns.fires(one.tokens.tolist()) for one in windows)])
    fired = np.concatenate([np.zeros(0, bool), *(one.acts > 0 for one in windows)])
    strong = np.concatenate([np.zeros(0, bool), *(one.marks for one in windows)])
    precision = float(fired[said].mean()) if said.any() else None
    return {"precision": precision, "recall": float(said[strong].mean()) if strong.any() else None}


def _shortest(windows: Sequence[Window], activate: Activate) -> list[list[int]]:
    """Of each window the fewest tokens up to the strongest that keep enough of its activation, if any do."""
    texts, found = [_ending_at_peak(one) for one in windows], []
    acts = _each(activate, texts)
    for window, several, kept in zip(windows, texts, acts, strict=True):
        enough = np.flatnonzero(kept >= KEPT * window.acts.max())
        if len(enough):
            found.append(several[enough[0]])
    return found


def _ending_at_peak(window: Window) -> list[list[int]]:
    """Stretches up to the strongest token, the shortest first."""
    peak = int(window.acts.argmax())
    return [window.tokens[peak - before : peak + 1].tolist() for before in range(min(peak + 1, LONGEST_TOKENS))]


def _generalised(
    stretches: Sequence[list[int]], activate: Activate, substitutes: np.ndarray, chance: np.random.Generator
) -> list[Pattern]:
    """Wildcards in the place of tokens that do not matter; none at the beginning."""
    texts = [[stretch, *_with_others(stretch, substitutes, chance)] for stretch in stretches]
    return [_pattern(stretch, acts) for stretch, acts in zip(stretches, _each(activate, texts), strict=True)]


def _with_others(stretch: list[int], substitutes: np.ndarray, chance: np.random.Generator) -> list[list[int]]:
    """The stretch with others in the place of each token but the last, in turn."""
    return [
        [*stretch[:place], int(other), *stretch[place + 1 :]]
        for place in range(len(stretch) - 1)
        for other in chance.choice(substitutes, NUM_SUBSTITUTES)
    ]


def _pattern(stretch: list[int], acts: np.ndarray) -> Pattern:
    """By the activation of the stretch, then of those with others in it."""
    left = acts[1:].reshape(-1, NUM_SUBSTITUTES).mean(1) / max(float(acts[0]), 1e-12)
    kept = [token if share < KEPT else None for token, share in zip(stretch, left, strict=False)]
    first = next((place for place, token in enumerate(kept) if token is not None), len(kept))
    return (*kept[first:], stretch[-1])


def _each(activate: Activate, texts: Sequence[Sequence[Sequence[int]]]) -> list[np.ndarray]:
    """The activations of several lists of texts, asked for all at once."""
    acts = activate([one for several in texts for one in several])
    return np.split(acts, np.cumsum([len(several) for several in texts])[:-1]) if texts else []


def _ends(pattern: Pattern, tokens: Sequence[int], at: int) -> bool:
    """Whether `pattern` matches the tokens up to `at`."""
    first = at + 1 - len(pattern)
    return first >= 0 and all(one is None or one == tokens[first + place] for place, one in enumerate(pattern))


def _written(pattern: Pattern, decode: Decode) -> str:
    text = "".join(ANY if one is None else decode([one]) for one in pattern)
    return text.replace("\n", "↵").replace("`", "'")
