"""A share of `make fuzz`: damaged input of every kind is refused in a sentence, or taken for what it says.

Never a traceback, a crash, a hang, a file left behind or memory without bound.
"""

import pytest

from tests.fuzz.campaign import run_target
from tests.fuzz.targets import SHARES

NUMBER = 1500
"""Inputs in all."""


@pytest.mark.campaign
@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", SHARES)
def test_damaged_input_is_refused_in_a_sentence(name: str) -> None:
    tally = run_target(name, range(NUMBER * SHARES[name] // 1000))
    assert tally.tried == NUMBER * SHARES[name] // 1000
    assert tally.failures == []
    assert tally.refused > tally.tried // 10, "too little of it is damaged"
