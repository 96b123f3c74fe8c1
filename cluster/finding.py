"""What the doctor says of one thing: how it is, and what to do about it."""

from collections.abc import Callable
from typing import Literal, NamedTuple

Verdict = Literal["good", "warn", "bad"]


class Finding(NamedTuple):
    """One line of the doctor's."""

    what: str
    verdict: Verdict
    """warn: some jobs will not run, or not well. bad: none will."""
    finding: str
    advice: str = ""


def graded(what: str, value: float, enough: float, least: float, finding: str, advice: str) -> Finding:
    """Good from `enough` on, bad below `least`; the advice is for what is not good."""
    verdict: Verdict = "good" if value >= enough else "warn" if value >= least else "bad"
    return Finding(what, verdict, finding, "" if verdict == "good" else advice)


def survived(what: str, check: Callable[[], Finding]) -> Finding:
    """What `check` finds; that it fails is a finding too, since an examination must get to its end."""
    try:
        return check()
    except Exception as error:
        said = str(error).strip().partition("\n")[0]
        return Finding(what, "bad", f"{type(error).__name__}: {said}", "nothing that needs it will work")
