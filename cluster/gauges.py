"""Numbers of the stream as Ray metrics, which Prometheus and the Ray dashboard read: `ray_headrace_<stage>_<field>`.

Tags are few and stable: the job and the role.
"""

from collections.abc import Mapping

from ray.util.metrics import Gauge


class Gauges:
    """The gauges of one role, made when a field is first set."""

    def __init__(self, job: str, role: str) -> None:
        self._stage = role.partition("-")[0]
        self._tags = {"job": job, "role": role}
        self._gauges: dict[str, Gauge] = {}

    def set(self, fields: Mapping[str, float | int | str | None]) -> None:
        """Shows every field that is a number."""
        for name, value in fields.items():
            if isinstance(value, (int, float)):
                self._gauge(name).set(float(value), self._tags)

    def _gauge(self, name: str) -> Gauge:
        if name not in self._gauges:
            description = f"{name} of each {self._stage} of a Headrace job"
            self._gauges[name] = Gauge(f"headrace_{self._stage}_{name}", description, tuple(self._tags))
        return self._gauges[name]
