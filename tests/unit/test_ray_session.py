import subprocess

import psutil
import pytest
import ray

from cluster import ray_session
from shared.errors import JobFailed


class Slow:
    """Stands for `ray.init` on a machine so busy that the first `failures` tries are given up."""

    def __init__(self, failures: int) -> None:
        self.failures, self.started = failures, list[subprocess.Popen[bytes]]()

    def init(self, **options: object) -> None:
        self.started.append(subprocess.Popen(["sleep", "600"]))
        if len(self.started) <= self.failures:
            raise Exception("\nThe last 20 lines of dashboard.log: \nINFO one\nINFO two")

    def running(self) -> list[bool]:
        return [psutil.pid_exists(one.pid) for one in self.started]

    def end(self) -> None:
        for one in self.started:
            one.kill()
            one.wait()


@pytest.fixture
def slow(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Slow:
    slow = Slow(request.param)
    request.addfinalizer(slow.end)
    monkeypatch.setattr(ray, "init", slow.init)
    return slow


@pytest.mark.parametrize("slow", [ray_session.STARTS - 1], indirect=True)
def test_ray_that_does_not_start_in_time_is_started_again_and_leaves_nothing(slow: Slow) -> None:
    ray_session._start("headrace-one", 1, 2**27)
    assert slow.running() == [False] * (ray_session.STARTS - 1) + [True]


@pytest.mark.parametrize("slow", [ray_session.STARTS], indirect=True)
def test_ray_that_never_starts_is_one_line(slow: Slow) -> None:
    with pytest.raises(JobFailed, match=r"^Ray did not start in 3 tries: The last 20 lines of dashboard\.log$"):
        ray_session._start("headrace-one", 1, 2**27)
    assert not any(slow.running())
