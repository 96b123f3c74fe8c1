import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from ray import autoscaler
from ray.autoscaler._private.util import prepare_config, validate_config

CONFIG = Path(__file__).resolve().parents[2] / "ray_config.yaml"


@pytest.fixture
def config() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(CONFIG.read_text())
    return loaded


def test_it_is_what_rays_schema_asks_for(config: dict[str, Any]) -> None:
    schema = json.loads((Path(autoscaler.__file__).parent / "ray-schema.json").read_text())
    jsonschema.validate(config, schema)


def test_ray_up_takes_it_with_its_defaults_filled_in(config: dict[str, Any]) -> None:
    prepared = prepare_config(config)
    validate_config(prepared)
    assert prepared["max_workers"] == len(config["provider"]["worker_ips"])


def test_every_node_preallocates_its_store_and_asks_for_the_token(config: dict[str, Any]) -> None:
    for key in ("head_start_ray_commands", "worker_start_ray_commands"):
        start = next(command for command in config[key] if "ray start" in command)
        assert "RAY_AUTH_MODE=token" in start
        assert "RAY_preallocate_plasma_memory=1" in start
        assert "--object-store-memory=" in start


def test_the_head_leaves_jobs_time_to_save_and_keeps_its_dashboard_to_itself(config: dict[str, Any]) -> None:
    start = next(command for command in config["head_start_ray_commands"] if "ray start" in command)
    assert "RAY_JOB_STOP_WAIT_TIME_S=120" in start
    assert "--dashboard-host=127.0.0.1" in start
