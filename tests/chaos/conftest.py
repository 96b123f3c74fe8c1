"""Real faults need the one Ray that integration tests have, and their model and corpus."""

from tests.integration.conftest import corpus_folder, gpt2_folder, own_ray

__all__ = ["corpus_folder", "gpt2_folder", "own_ray"]
