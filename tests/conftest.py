"""What all tests share: no network, a Ray that asks for a token of this run, and real Redis servers."""

import os
import secrets

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ["OMP_NUM_THREADS"] = "1"  # rounding must not depend on the machine; tests run side by side instead
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that spin make busy machines ten times slower
os.environ.setdefault("RAY_AUTH_MODE", "token")  # before anything imports ray, which reads it once
os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # Ray in this process listens on loopback only

pytest_plugins = ["tests.redis_fixtures", "tests.small_disk"]
