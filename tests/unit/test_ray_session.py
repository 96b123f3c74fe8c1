import pytest
import ray

from cluster import ray_session
from shared.errors import JobFailed


def test_ray_that_does_not_start_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def init(**options: object) -> None:
        raise Exception("\nThe last 20 lines of dashboard.log: \nINFO one\nINFO two")

    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(JobFailed, match=r"not in time: The last 20 lines of dashboard\.log$"):
        ray_session._start("headrace-one", 1, 2**27)
