"""Who has died, how often, and when each is to be replaced: nobody else waits for that."""

from collections import Counter
from dataclasses import dataclass

from cluster.death import Death
from cluster.restart_policy import BUDGETS, FORGIVEN_S, Budget, Cause, Step, decide
from shared.errors import JobFailed, Unreadable


@dataclass(frozen=True)
class Replacement:
    """What follows on a death, and when; times on the monotonic clock."""

    role: str
    death: Death
    step: Step
    died_s: float
    due_s: float


class Deaths:
    """Of one job's actors."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, Budget]] = Counter()
        self._last_s: dict[tuple[str, Budget], float] = {}
        self._waiting: list[Replacement] = []

    def add(self, role: str, death: Death, now_s: float) -> None:
        """Raises JobFailed when the job cannot go on after this one."""
        account = role, BUDGETS[death.cause]
        is_soon = now_s - self._last_s.get(account, -FORGIVEN_S) <= FORGIVEN_S
        self._counts[account] = self._counts[account] + 1 if is_soon else 1
        self._last_s[account] = now_s
        decision = decide(death.cause, self._counts[account])
        if decision.step is Step.FAIL:
            raise JobFailed(death.reason if death.cause is Cause.USER_ERROR else f"{role} {death.reason}, too often")
        self._waiting.append(Replacement(role, death, decision.step, now_s, now_s + decision.wait_s))

    def put_off(self, dead: Replacement, error: Unreadable, now_s: float) -> None:
        """What would replace `dead` cannot read what it goes on from: it is tried again, after pauses that grow.

        Raises:
            JobFailed: it was tried often enough.
        """
        said = dead.death.reason
        reason = said if str(error) in said else f"{said}; {error}"
        self.add(dead.role, Death(Cause.RAISED, reason), now_s)

    def take_due(self, now_s: float) -> list[Replacement]:
        """Those whose time has come, in order; each is given once."""
        due = sorted((one for one in self._waiting if one.due_s <= now_s), key=lambda one: one.due_s)
        self._waiting = [one for one in self._waiting if one.due_s > now_s]
        return due

    def all_are_replaced(self) -> None:
        """Everybody was started anew."""
        self._waiting.clear()
