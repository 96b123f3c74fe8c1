"""The books of a job, laid open."""

import io
import json
from dataclasses import replace

from example_run import BLOCK_ROWS, example_snapshot, example_trainers
from rich.console import Console

from cluster.audit import audit_facts, audit_view
from shared.registry_facts import DeadUnit
from shared.registry_snapshot import UnitFacts


def printed(facts, width=160):
    console = Console(file=io.StringIO(), width=width)
    console.print(audit_view(facts))
    return console.file.getvalue()


def test_the_books_add_up_and_say_so():
    facts = json.loads(json.dumps(audit_facts(example_snapshot())))
    for lane in facts["lanes"]:
        assert lane["pushed"] == lane["staged"] + lane["resident"] + lane["emitted"] + lane["surplus"]
        assert lane["announced"] >= lane["pushed"]
    for trainer in facts["trainers"]:
        assert trainer["read"] + trainer["gap"] == trainer["rows_below"] == trainer["blocks_below"] * BLOCK_ROWS
    assert facts["imbalances"] == [] and all(facts["orders"].values())
    assert "The ledger balances" in printed(facts)


def test_every_unit_that_is_on_its_way_is_named_with_its_place():
    units = UnitFacts({41: "producer-1"}, (43,), (40,), (DeadUnit(17, "not UTF-8"),))
    text = printed(audit_facts(replace(example_snapshot(), units=units)))
    assert "unit 41 is leased to producer-1" in text
    assert "pushed whole and waiting for their turn: units 43" in text
    assert "came back and waiting for a producer: units 40" in text
    assert "unit 17 was set aside: not UTF-8" in text


def test_trainers_of_one_block_with_other_digests_are_found():
    trainers = example_trainers(7000)
    name = next(iter(trainers))
    facts = audit_facts(example_snapshot(trainers={**trainers, name: replace(trainers[name], address_digest="other")}))
    assert facts["orders"] == {"7000": False}
    assert "trainers at block 7000 have not read the same rows" in printed(facts)
    passed_over = replace(trainers[name], address_digest="other", gap_rows=5, rows=trainers[name].rows - 5)
    assert audit_facts(example_snapshot(trainers={**trainers, name: passed_over}))["orders"] == {"7000": True}


def test_a_row_that_is_missing_is_said():
    trainers = example_trainers(7000)
    name = next(iter(trainers))
    facts = audit_facts(example_snapshot(trainers={**trainers, name: replace(trainers[name], rows=1)}))
    assert any(name in sentence for sentence in facts["imbalances"])
    assert "The ledger balances" not in printed(facts)
