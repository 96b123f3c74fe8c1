"""How fast is a whole job, text to SAEs, against SAELens' multi-SAE runner on the same contexts?

Bound by arithmetic: on a CPU the SAEs' steps take most of the time and the model's forward a small part, so the result
is chiefly that of `bench_trainer_step`, less what Headrace's processes, copies and registry cost. Four TopK SAEs, one
GPT-2 of random weights, the same contexts in a Parquet file, tokenised already, as many rows in each one's buffer.

`steady` is from the first step of any SAE to the last step of all, in rows of the stream: what a long job comes near
to. `steady_cpu` is the same, in rows for each second of processor time that either's processes took meanwhile; where
other programs use the cores it is the steadier one, and it leaves out much of what two threads of one process lose by
waiting for each other. `wall` is the whole process, imports and files included, for as short a job as this one is:
Headrace starts a Ray cluster and six actors, and pays for it once, however long the job.

Each side is a process of its own, started as a user would: Headrace with one thread for each actor, since there are
more actors than cores, SAELens with what torch takes by default, and with whichever of its settings was the fastest
(see results/). Read the ratios: in a round both sides run one after the other, and next time the other way about.

    python -m benchmarks.bench_job --tokens 120000 --rounds 2
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import yaml

from benchmarks.inputs import CONTEXT_TOKENS, DOCUMENTS, HOOKPOINT, write_contexts, write_model
from benchmarks.measure import CommandRun, emit, in_turn, ratio, run_command

D_IN = 256
CONTEXTS_PER_FORWARD = 32
SIDES = ("headrace", "saelens")


class Steady(NamedTuple):
    """A job between its first step and its last."""

    rows: float
    begin_s: float
    """Since 1970, as `end_s`."""
    end_s: float


class JobRun(NamedTuple):
    """One whole job of one side."""

    rows_per_s: float
    rows_per_cpu_s: float
    wall_s: float
    cpu_s: float

    @classmethod
    def of(cls, run: CommandRun, steady: Steady) -> "JobRun":
        wall_s = steady.end_s - steady.begin_s
        cpu_s = run.cpu_between(steady.begin_s, steady.end_s)
        return cls(steady.rows / wall_s, steady.rows / cpu_s, run.wall_s, run.cpu_s)


class Bench:
    """The two sides over one folder of inputs."""

    def __init__(self, arguments: argparse.Namespace, folder: Path) -> None:
        self._arguments, self._folder = arguments, folder
        num_contexts = -(-2 * arguments.tokens // CONTEXT_TOKENS)
        self._model = write_model(folder / "model", D_IN)
        self._contexts = write_contexts(folder / "contexts.parquet", num_contexts)
        self._num_runs = 0
        self.runs: dict[str, list[JobRun]] = {side: [] for side in SIDES}

    def headrace(self) -> float:
        """Rows a second of `headrace run`."""
        output = self._output()
        job = output.with_suffix(".yaml")
        job.write_text(yaml.safe_dump(self._job(output)))
        run = run_command([sys.executable, "-m", "cluster", "run", str(job)], HF_HUB_OFFLINE="1")
        return self._note("headrace", JobRun.of(run, steady_state(output)))

    def saelens(self) -> float:
        """Rows a second of SAELens' runner."""
        settings = self._saelens_settings(self._output())
        caches = str(self._folder / "datasets")
        command = [sys.executable, "-m", "benchmarks.saelens_job", json.dumps(settings)]
        run = run_command(command, HF_HUB_OFFLINE="1", HF_DATASETS_CACHE=caches)
        return self._note("saelens", JobRun.of(run, Steady(**json.loads(run.output.splitlines()[-1]))))

    def _output(self) -> Path:
        self._num_runs += 1
        return self._folder / f"run-{self._num_runs}"

    def _note(self, side: str, run: JobRun) -> float:
        self.runs[side].append(run)
        rates = f"{run.rows_per_s:7,.0f} rows/s, {run.rows_per_cpu_s:7,.0f} a processor-second"
        print(f"{side:9} {rates}, wall {run.wall_s:5.1f} s, processors {run.cpu_s:5.1f} s", flush=True)
        return run.rows_per_s

    def _job(self, output: Path) -> dict[str, Any]:
        one = self._arguments
        return {
            "name": output.name,
            "model": {"name": str(self._model), "hookpoints": [HOOKPOINT], "dtype": "float32", "device": "cpu"},
            "corpus": {
                "source": str(self._contexts),
                "tokens_column": DOCUMENTS,
                "context_tokens": CONTEXT_TOKENS,
                "unit_contexts": 2 * CONTEXTS_PER_FORWARD,
                "prepend_bos": False,
                "exclude_special_tokens": False,
            },
            "producers": {"contexts_per_forward": CONTEXTS_PER_FORWARD, "threads": one.producer_threads},
            "stream": {"buffer_rows": one.buffer_rows, "block_rows": 2 * one.batch_rows, "log_bytes": "32MiB"},
            "trainers": [
                {
                    "name": "topk-{num_latents}",
                    "architecture": "topk",
                    "num_latents": one.num_latents,
                    "k": one.k,
                    "batch_rows": one.batch_rows,
                }
            ],
            "tokens": one.tokens,
            "output": str(output),
        }

    def _saelens_settings(self, output: Path) -> dict[str, Any]:
        one = self._arguments
        return {
            "model": str(self._model),
            "contexts": str(self._contexts),
            "output": str(output),
            "d_in": D_IN,
            "contexts_per_forward": CONTEXTS_PER_FORWARD,
            "num_latents": one.num_latents,
            "k": one.k,
            "batch_rows": one.batch_rows,
            "buffer_rows": one.buffer_rows,
            "tokens": one.tokens,
            "sparse": one.saelens_sparse,
            "prefetch": one.saelens_prefetch,
            "threads": one.saelens_threads,
        }


def steady_state(run_folder: Path) -> Steady:
    """Of the slowest trainer, between its first and its last report; the others are never more than a log away."""
    from cluster.metrics_store import read_metrics

    lines = read_metrics(run_folder)
    lines = lines.filter(pc.and_(pc.starts_with(lines["source"], "trainer-"), pc.equal(lines["field"], "tokens")))
    found = [_steady(lines, source.as_py()) for source in lines["source"].unique()]
    return min(found, key=lambda one: one.rows / (one.end_s - one.begin_s))


def _steady(lines: pa.Table, source: str) -> Steady:
    mine = lines.filter(pc.and_(pc.equal(lines["source"], source), pc.greater(lines["value"], 0.0)))
    rows, times_ms = mine["value"].to_numpy(), mine["time_ms"].to_numpy()
    return Steady(float(rows[-1] - rows[0]), times_ms[0] / 1000, times_ms[-1] / 1000)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tokens", type=int, default=131_072)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--num-latents", type=int, nargs="+", default=[1024, 2048, 4096, 8192])
    parser.add_argument("--k", type=int, default=32)
    parser.add_argument("--batch-rows", type=int, default=2048)
    parser.add_argument("--buffer-rows", type=int, default=16_384)
    parser.add_argument("--producer-threads", type=int, default=1)
    parser.add_argument("--saelens-threads", type=int, default=0, help="0: what torch takes by default")
    parser.add_argument("--saelens-sparse", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--saelens-prefetch", action=argparse.BooleanOptionalAction, default=True)
    return parser.parse_args()


def main() -> None:
    arguments = parsed()
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder:
        bench = Bench(arguments, Path(folder))
        rates = in_turn({"headrace": bench.headrace, "saelens": bench.saelens}, arguments.rounds)
    both = bench.runs["headrace"], bench.runs["saelens"]
    results = {
        "steady_ratio": ratio(rates["headrace"], rates["saelens"]),
        "steady_cpu_ratio": ratio(*([run.rows_per_cpu_s for run in side] for side in both)),
        "wall_ratio": ratio(*([1 / run.wall_s for run in side] for side in both)),
        "runs": {side: [run._asdict() for run in runs] for side, runs in bench.runs.items()},
    }
    for name in ("steady_ratio", "steady_cpu_ratio", "wall_ratio"):
        print(f"headrace / saelens, {name}: {results[name]}", flush=True)
    emit("job", vars(arguments), results)


if __name__ == "__main__":
    main()
