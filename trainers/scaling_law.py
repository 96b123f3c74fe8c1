"""Scaling laws: the loss that an SAE reaches, by its latents, active latents, tokens and training compute.

Every form is a sum of terms, each the exponential of something linear in the logarithms of those four, so all are
fitted by the same code (`trainers.law_fit`), are positive, and have a gradient in closed form. Loss is FVU.
"""

import math
from dataclasses import dataclass
from itertools import combinations
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Variable = Literal["latents", "active", "tokens", "compute"]
Monomial = tuple[Variable, ...]
"""The logarithms whose product it is; () is 1."""
Reading = Literal["same", "exp", "minus"]
"""How a constant of the formula comes from what is fitted."""
SAME_LOG = 0.05
"""Values that lie no further apart than this, in logarithm, count as one: an L0 is measured, not set."""
NOUNS: dict[Variable, str] = {
    "latents": "numbers of latents",
    "active": "sparsities",
    "tokens": "numbers of tokens",
    "compute": "amounts of compute",
}


class Points(NamedTuple):
    """SAEs as a law sees them; float64 [points], all above 0."""

    latents: Floats
    active: Floats
    """L0."""
    tokens: Floats
    compute: Floats
    """FLOPs of the SAE's own training."""
    loss: Floats

    def of(self, variable: Variable) -> Floats:
        values: Floats = getattr(self, variable)
        return values

    def kept(self, chosen: NDArray[np.bool_]) -> "Points":
        """Those that are `chosen`."""
        return Points(*(values[chosen] for values in self))


@dataclass(frozen=True)
class Form:
    """L = sum over terms of exp(sum over the term's monomials of a fitted number times the monomial)."""

    name: str
    formula: str
    source: str
    terms: tuple[tuple[Monomial, ...], ...]
    """Each holds every part of its own monomials, so that a shift of the logarithms stays inside the form."""
    constants: tuple[tuple[str, Reading], ...]
    """The formula's letters, one for each monomial, term by term."""
    needs: dict[Variable, int]
    """How many values of each variable the points must have."""
    min_points: int

    @property
    def size(self) -> int:
        """Numbers to be fitted."""
        return len(self.constants)

    @property
    def falls(self) -> tuple[bool, ...]:
        """Whether each fitted number can only be negative: those whose letter is written with a minus sign."""
        return tuple(reading == "minus" for _, reading in self.constants)

    @property
    def monomials(self) -> tuple[Monomial, ...]:
        return tuple(monomial for term in self.terms for monomial in term)

    @property
    def variables(self) -> tuple[Variable, ...]:
        return tuple(dict.fromkeys(variable for monomial in self.monomials for variable in monomial))


def _power(variable: Variable, letter: str) -> Form:
    return Form(
        name=variable,
        formula=f"L = a + b {letter}^-c",
        source="the plain power law with a floor",
        terms=(((),), ((), (variable,))),
        constants=(("a", "exp"), ("b", "exp"), ("c", "minus")),
        needs={variable: 4},
        min_points=4,
    )


BY_LATENTS = _power("latents", "n")
BY_COMPUTE = _power("compute", "C")
_JOINT_TERMS: tuple[tuple[Monomial, ...], ...] = (
    ((), ("active",), ("latents",), ("active", "latents")),
    ((), ("active",)),
)
_JOINT_CONSTANTS: tuple[tuple[str, Reading], ...] = (
    ("alpha", "same"),
    ("beta_k", "same"),
    ("beta_n", "same"),
    ("gamma", "same"),
    ("zeta", "same"),
    ("eta", "same"),
)
JOINT = Form(
    name="joint",
    formula="L = exp(alpha + beta_k ln k + beta_n ln n + gamma ln k ln n) + exp(zeta + eta ln k)",
    source="Gao et al. 2024, arXiv:2406.04093",
    terms=_JOINT_TERMS,
    constants=_JOINT_CONSTANTS,
    needs={"latents": 3, "active": 3},
    min_points=8,
)
TOKENS = Form(
    name="tokens",
    formula="L = e + a n^-alpha + b D^-beta",
    source="the form of Hoffmann et al. 2022, arXiv:2203.15556, with latents for parameters",
    terms=(((),), ((), ("latents",)), ((), ("tokens",))),
    constants=(("e", "exp"), ("a", "exp"), ("alpha", "minus"), ("b", "exp"), ("beta", "minus")),
    needs={"latents": 3, "tokens": 3},
    min_points=7,
)
JOINT_TOKENS = Form(
    name="joint-tokens",
    formula=f"{JOINT.formula} + exp(tau + theta_k ln k + theta_n ln n - theta ln D)",
    source="Gao et al. 2024, and a term of our own for tokens that are too few",
    terms=(*_JOINT_TERMS, ((), ("active",), ("latents",), ("tokens",))),
    constants=(*_JOINT_CONSTANTS, ("tau", "same"), ("theta_k", "same"), ("theta_n", "same"), ("theta", "minus")),
    needs={"latents": 3, "active": 3, "tokens": 3},
    min_points=13,
)
FORMS = {form.name: form for form in (BY_LATENTS, BY_COMPUTE, JOINT, TOKENS, JOINT_TOKENS)}


def shortage(form: Form, points: Points) -> str | None:
    """Why `points` are too few for `form`, as a sentence; None where they are enough."""
    found = {variable: distinct(points.of(variable)) for variable in form.needs}
    if len(points.loss) >= form.min_points and all(found[one] >= least for one, least in form.needs.items()):
        return None
    wanted = _listed([f"{least} {NOUNS[one]}" for one, least in form.needs.items()])
    there = _listed([f"{found[one]} {_noun(one, found[one])}" for one in form.needs])
    return (
        f"the law {form.name} has {form.size} constants and needs at least {form.min_points} SAEs with {wanted}; "
        f"here are {len(points.loss)} with {there}"
    )


def distinct(values: Floats) -> int:
    """How many values there are, near ones counted once."""
    logs = np.sort(np.log(values))
    return int(len(logs) > 0) + int(np.count_nonzero(np.diff(logs) > SAME_LOG))


def _listed(parts: list[str]) -> str:
    """`a, b and c`."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def _noun(variable: Variable, number: int) -> str:
    singular = {"numbers of latents": "number of latents", "sparsities": "sparsity"}
    singular |= {"numbers of tokens": "number of tokens", "amounts of compute": "amount of compute"}
    return singular[NOUNS[variable]] if number == 1 else NOUNS[variable]


def design(form: Form, logs: dict[Variable, Floats]) -> Floats:
    """[points, monomials]: every monomial of every term, of logarithms [points]."""
    num_points = len(next(iter(logs.values())))
    columns = [np.prod([logs[one] for one in monomial], axis=0) * np.ones(num_points) for monomial in form.monomials]
    return np.stack(columns, axis=1)


def terms_of(form: Form, theta: Floats, columns: Floats) -> Floats:
    """[..., terms, points]: the logarithm of each term, from fitted numbers [..., monomials] and what `design` made."""
    bounds = np.cumsum([len(term) for term in form.terms])[:-1]
    parts = zip(np.split(theta, bounds, axis=-1), np.split(columns, bounds, axis=1), strict=True)
    return np.stack([numbers @ part.T for numbers, part in parts], axis=-2)


def log_loss(form: Form, theta: Floats, columns: Floats) -> Floats:
    """ln L [..., points]."""
    return np.logaddexp.reduce(terms_of(form, theta, columns), axis=-2)


def log_loss_and_gradient(form: Form, theta: Floats, columns: Floats) -> tuple[Floats, Floats]:
    """ln L [..., points], and d ln L / d theta [..., points, monomials]: each term's share of L times its monomials."""
    terms = terms_of(form, theta, columns)
    found = np.logaddexp.reduce(terms, axis=-2)
    shares = np.exp(terms - found[..., None, :])
    by_monomial = np.repeat(shares, [len(term) for term in form.terms], axis=-2)
    return found, columns * np.swapaxes(by_monomial, -1, -2)


def uncentred(form: Form, theta: Floats, centre: dict[Variable, float]) -> Floats:
    """The fitted numbers for plain logarithms, from those for logarithms less `centre`.

    (ln k - a)(ln n - b) = ln k ln n - b ln k - a ln n + ab, and so for every monomial.
    """
    plain = np.zeros_like(theta)
    start = 0
    for term in form.terms:
        for at, monomial in enumerate(term):
            for size in range(len(monomial) + 1):
                for part in combinations(monomial, size):
                    rest = [-centre[one] for one in monomial if one not in part]
                    plain[start + term.index(part)] += theta[start + at] * np.prod(rest)
        start += len(term)
    return plain


def read_constants(form: Form, theta: Floats, centre: dict[Variable, float]) -> dict[str, float]:
    """The formula's letters and their values."""
    plain = uncentred(form, theta, centre)
    return {name: _read(reading, float(one)) for (name, reading), one in zip(form.constants, plain, strict=True)}


def _read(reading: Reading, fitted: float) -> float:
    match reading:
        case "same":
            return fitted
        case "exp":
            return math.exp(fitted)
        case "minus":
            return -fitted
