"""When a job says that Ray puts blocks on disk."""

from cluster.spill_watch import CALM_S, OnDisk, SpillWatch


def told(*found: tuple[float, OnDisk]) -> SpillWatch:
    """A watch that was given these numbers at these moments."""
    answers = iter([one for _, one in found])
    watch = SpillWatch(lambda: next(answers))
    for now_s, _ in found:
        watch.look(now_s)
    return watch


def test_what_lay_on_disk_before_is_not_of_this_job() -> None:
    assert told((10.0, OnDisk(5 * 2**30, 2**20)), (15.0, OnDisk(5 * 2**30, 2**20))).trouble(15.0) == ""


def test_what_is_new_on_disk_is_said_until_nothing_more_comes() -> None:
    for more in (OnDisk(2**20, 0), OnDisk(0, 2**20)):
        watch = told((10.0, OnDisk(0, 0)), (15.0, more), (20.0, more))
        assert "puts blocks on disk" in watch.trouble(20.0)
        assert watch.trouble(15.0 + CALM_S + 1) == ""


def test_watch_that_was_never_answered_says_nothing() -> None:
    assert SpillWatch().trouble(0.0) == ""
