"""A run as it might be, with plausible numbers: its job, moments of its registry, and the folder that it leaves."""

import json
import math
import random
from dataclasses import asdict, replace
from pathlib import Path

from cluster.metrics_store import MetricsStore
from shared.config import Job
from shared.job_file import dump_job, parse_job
from shared.job_state import JobState
from shared.ledger import ledger
from shared.registry_facts import Event, Heartbeat, LaneCounters, Measurement, TrainerCounters
from shared.registry_snapshot import JobFacts, LaneFacts, Snapshot, UnitFacts

BEGUN_MS = 1_770_000_000_000
BLOCK_ROWS = 16_384
JOB_TEXT = """
name: gpt2-sizes
model: {name: openai-community/gpt2, hookpoints: [transformer.h.8]}
corpus: {source: data/openwebtext/*.parquet}
producers: {count: 2, gpus: 1}
stream: {lanes: 2, buffer_rows: 1_000_000, block_rows: 16384, log_bytes: 4GiB}
trainers:
  - {name: "topk-{num_latents}-k{k}", architecture: topk, num_latents: [16384, 65536, 262144], k: [32, 64], gpus: 1}
  - {name: "relu-{num_latents}", architecture: relu_l1, num_latents: 16384, gpus: 1}
tokens: 500_000_000
"""


def example_job() -> Job:
    return parse_job(JOB_TEXT)


def lane_facts(next_block: int, num_lanes: int = 2, lane: int = 0, **counters: float) -> LaneFacts:
    """A lane that has emitted its blocks below `next_block`, and balances."""
    emitted = BLOCK_ROWS * len(range(lane, next_block, num_lanes))
    given = {"resident": 1_000_000, "staged": 0, "log_first_block": max(lane, next_block - 8), **counters}
    pushed = emitted + int(given["resident"]) + int(given["staged"])
    whole = LaneCounters(emitted=emitted, next_block=next_block, pushed=pushed, rows_per_s=62_000, **given)  # type: ignore[arg-type]
    whole = replace(whole, block_contexts=whole.block_contexts or 13_911.0)
    return LaneFacts(whole, pushed + 32_768, next_unit=900, high_block=next_block, high_emitted=emitted)


def trainer_counters(cursor: int, fvu: float = 0.08, **counters: object) -> TrainerCounters:
    """A trainer that has read every block below `cursor`."""
    known = {"state": "running", "l0": 32.0, "dead_fraction": 0.013, "rows_per_s": 121_000.0, **counters}
    digest = f"{cursor:016x}"
    return TrainerCounters(cursor, cursor * BLOCK_ROWS, address_digest=digest, fvu=fvu, steps=4 * cursor, **known)  # type: ignore[arg-type]


def example_snapshot(
    lanes: tuple[LaneFacts, ...] | None = None,
    trainers: dict[str, TrainerCounters] | None = None,
    state: JobState = JobState.RUNNING,
    units: UnitFacts | None = None,
    **job: object,
) -> Snapshot:
    """The job a quarter of its way; trainers keep up, and producers cannot give more."""
    facts = JobFacts("gpt2-sizes", state, "", "runs/gpt2-sizes", BEGUN_MS, 400, False, 7600, 61_000, BLOCK_ROWS, 39_000)
    beats = {f"producer-{number}": Heartbeat(300 + number, 10, 900) for number in range(2)}
    return Snapshot(
        time_ms=BEGUN_MS + 1_800_000,
        job=replace(facts, **job),  # type: ignore[arg-type]
        lanes=lanes or (lane_facts(7640, resident=990_000), lane_facts(7641, lane=1, resident=991_000)),
        trainers=trainers if trainers is not None else example_trainers(7639),
        units=units or UnitFacts({1812: "producer-0", 1813: "producer-1"}, (), (), ()),
        checkpoints=(7400, 7600),
        scales={"transformer.h.8": 0.21},
        heartbeats=beats,
    )


def example_trainers(cursor: int) -> dict[str, TrainerCounters]:
    """One for each of the job's trainers: the more latents and the more of them active, the better."""
    return {
        name: trainer_counters(cursor, fvu=quality(latents, l0, 1.0), l0=l0)
        for name, latents, l0 in ((one.name, one.num_latents, _l0(one.name)) for one in example_job().trainers)
    }


def quality(num_latents: int, l0: float, share: float) -> float:
    """An FVU that falls with size, with activity and with training."""
    return 1.9 * num_latents**-0.14 * l0**-0.33 * (1 + 1.2 * math.exp(-9 * share) + 0.25 * math.exp(-3 * share))


def write_example_run(folder: Path, share: float = 1.0, resumed: bool = True) -> Path:
    """A run folder at `share` of its tokens; a whole one has its SAEs, and one that was resumed overlaps itself."""
    job = example_job()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "job.yaml").write_text(dump_job(job))
    _write_metrics(folder, job, share, resumed)
    if share >= 1:
        for one in job.trainers:
            _write_sae(folder / "saes" / one.name, job, one.name, one.num_latents)
    balance = ledger(example_snapshot())
    text = json.dumps({**asdict(balance), "imbalances": balance.imbalances()})
    (folder / "ledger.json").write_text(text)
    (folder / "events.json").write_text(json.dumps([asdict(event) for event in example_events()]))
    return folder


def example_events() -> list[Event]:
    lines = [
        ("job-started", "7 trainers, 2 lanes, 2 producers"),
        ("stream-begun", "61000 units, 30518 blocks of 16384 rows"),
        ("checkpoint", "checkpoint 400 is complete"),
        ("producer-died", "producer-1 died (exit 137); unit 417 leased again; back in 1.8 s (2 of 5)"),
        ("unit-set-aside", "unit 911 was set aside after 5 attempts: <b>not UTF-8</b>"),
        ("job-finished", "500,000,000 tokens read by 7 trainers"),
    ]
    return [Event(f"{number}-0", BEGUN_MS + 300_000 * number, kind, text) for number, (kind, text) in enumerate(lines)]


def _l0(name: str) -> float:
    return 64.0 if name.endswith("k64") else 32.0 if "k32" in name else 51.3


def _write_metrics(folder: Path, job: Job, share: float, resumed: bool) -> None:
    store, draw, points = MetricsStore(folder), random.Random(0), 240
    steps = [share * (number + 1) / points for number in range(points)]
    if resumed:
        steps = steps[:120] + steps[100:]
    for number, at in enumerate(steps):
        time_ms = BEGUN_MS + 17_000 * number + (2_400_000 if resumed and number >= 120 else 0)
        lines = _measured(job, at, draw, measured=number % 24 == 23)
        store.add([Measurement("", time_ms + 7 * i, *one) for i, one in enumerate(lines)])
        if number == 119:
            store.flush()
            store = MetricsStore(folder)
    store.flush()


def _measured(
    job: Job, at: float, draw: random.Random, measured: bool
) -> list[tuple[str, dict[str, float | int | str]]]:
    tokens, found = int(job.tokens * at), []
    for one in job.trainers:
        fvu = quality(one.num_latents, _l0(one.name), at) * (1 + draw.gauss(0, 0.008))
        dead = 0.011 * math.log2(one.num_latents / 4096) * (1 - math.exp(-40 * at)) * math.exp(-1.5 * at)
        fields: dict[str, float | int | str] = {
            "tokens": tokens,
            "steps": tokens // 4096,
            "fvu": fvu,
            "loss": 1.02 * fvu,
        }
        fields |= {"loss_reconstruction": fvu, "dead_fraction": dead, "lr": 2e-4, "state": "running"}
        fields |= {"l0": _l0(one.name) * (1 + (0 if "topk" in one.name else 2.5 * math.exp(-12 * at)))}
        fields |= {"rows_per_s": draw.gauss(121_000, 2_500)}
        found.append((f"trainer-{one.name}", fields))
        if measured:
            found.append((f"evaluation-{one.name}", _held_out(one.num_latents, _l0(one.name), at, tokens)))
    for lane in range(job.stream.lanes):
        rate, contexts = draw.gauss(60_500, 900), 13_900 * (1 - 0.3 * math.exp(-90 * at)) + draw.gauss(0, 30)
        fields = {"rows_per_s": rate, "emitted": tokens // 2, "resident": 1_000_000, "staged": 21_000}
        found.append((f"lane-{lane}", {**fields, "block_contexts": contexts, "log_bytes": 2**28}))
    for number in range(job.producers.count):
        rate = 61_800 + draw.gauss(0, 1_500) if number == 0 or draw.random() > 0.03 else 0.0
        found.append((f"producer-{number}", {"rows_per_s": rate, "tokens": tokens // 2, "wait_fraction": 0.02}))
    return found


def _held_out(num_latents: int, l0: float, at: float, tokens: int) -> dict[str, float | int | str]:
    fvu = 1.04 * quality(num_latents, l0, at)
    splice = {"ce_increase": 0.9 * fvu, "ce_recovered": 1 - 0.09 * fvu, "kl_spliced": 0.8 * fvu}
    return {"tokens": tokens, "contexts": 1024, "fvu": fvu, "l0": l0, "dead_fraction": 0.02, **splice}


def _write_sae(folder: Path, job: Job, name: str, num_latents: int) -> None:
    folder.mkdir(parents=True)
    architecture = "topk" if name.startswith("topk") else "standard"
    metadata = {"model_name": job.model.name, "sae_lens_version": "6.54.12", "headrace": {"tokens": job.tokens}}
    config = {"architecture": architecture, "d_in": 768, "d_sae": num_latents, "metadata": metadata}
    if architecture == "topk":
        config["k"] = int(_l0(name))
    (folder / "cfg.json").write_text(json.dumps(config))
    metrics = {"tokens": job.tokens, "steps": 122_071, "cursor": 30_518, "lr": 2e-4, "l0": _l0(name)}
    metrics |= {"fvu": quality(num_latents, _l0(name), 1.0), "dead_fraction": 0.012, "losses": {"loss": 0.1}}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    if name.startswith("topk"):
        (folder / "evaluation.json").write_text(json.dumps(_evaluation(name, num_latents)))


def _evaluation(name: str, num_latents: int) -> dict[str, object]:
    """As `headrace evaluate` writes it."""
    found = _held_out(num_latents, _l0(name), 1.0, 131_072 - 1024)
    splice = {key: found.pop(key) for key in ("ce_increase", "ce_recovered", "kl_spliced")}
    ablated = {"ce_clean": 3.257, "ce_spliced": 3.5, "ce_zero": 13.114, "ce_mean": 9.871}
    density = {"edges": [-3.0, -2.0, -1.0, 0.0], "counts": [num_latents // 2, num_latents // 4, 9], "never": 5}
    quality_facts = {**found, "cosine": 0.9512, "shrinkage": 0.997, "dense_fraction_10_percent": 0.0021}
    return {"name": name, **quality_facts, "splice": {**ablated, **splice}, "no_splice": "", "density": density}
