"""Why a job is degraded: what it cannot do for now, or has had to leave out, though it goes on."""

from collections.abc import Iterable

from shared.registry_snapshot import Snapshot


def troubles(snapshot: Snapshot, driver: Iterable[str]) -> list[str]:
    """A sentence each, and what several say once; `driver` has those of the driver itself, empty ones left out."""
    aside = [f"unit {dead.unit} is set aside: {dead.error}" for dead in snapshot.units.dead]
    lanes = [lane.counters.trouble for lane in snapshot.lanes]
    trainers = [one.trouble for one in snapshot.trainers.values()]
    return list(dict.fromkeys(filter(None, [*aside, *driver, *lanes, *trainers])))
