"""Who is killed when: at random moments that a seed fixes, and no role more often than a job has to bear."""

import random
from dataclasses import dataclass

from cluster.restart_policy import FORGIVEN_S, Budget

REST_S = FORGIVEN_S + 30.0
"""A role that has died as often as it may is left alone for so long."""


@dataclass(frozen=True)
class Kill:
    """One."""

    at_s: float
    role: str


def plan_kills(seconds: float, mean_gap_s: float, roles: tuple[str, ...], seed: int) -> list[Kill]:
    """The kills of `seconds`, in order; gaps between 0.5 and 1.5 times their mean."""
    draw, kills = random.Random(seed), list[Kill]()
    streak, last_s = dict.fromkeys(roles, 0), dict.fromkeys(roles, 0.0)
    at_s = mean_gap_s
    while at_s < seconds:
        for role in roles:
            if at_s - last_s[role] > REST_S:
                streak[role] = 0
        ready = [role for role in roles if streak[role] < Budget.CRASHES.most]
        if ready:
            role = draw.choice(ready)
            kills.append(Kill(at_s, role))
            streak[role], last_s[role] = streak[role] + 1, at_s
        at_s += mean_gap_s * draw.uniform(0.5, 1.5)
    return kills
