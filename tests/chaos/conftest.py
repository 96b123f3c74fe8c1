"""Real faults need the one Ray that integration tests have."""

from tests.integration.conftest import own_ray

__all__ = ["own_ray"]
