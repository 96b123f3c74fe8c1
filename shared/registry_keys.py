"""Every Redis key of Headrace. A job's keys share the hash tag `{job}`, so that one script may touch them all.

| key        | type   | holds |
|------------|--------|-------|
| job        | hash   | schema, yaml, output, state, message, driver, driver_ms, fence, checkpoint, the stream's sizes |
| roles      | hash   | role -> the token in force |
| heartbeats | hash   | role -> `ms progress progress_ms` |
| lanes      | hash   | lane -> its LaneCounters as JSON |
| marks      | hash   | of lane j `head:j next:j satisfied:j base:j floor:j`, `high_MARK:j` of block, emitted, ended |
| trainers   | hash   | trainer -> its TrainerCounters as JSON |
| leases     | zset   | unit, by the ms at which its lease ends |
| ready      | zset   | unit that was leased before and came back, by its number |
| grants     | hash   | unit -> `token producer` of its lease; stays when it finishes, until its lane's head passes |
| attempts   | hash   | unit -> how often it was leased |
| rows       | hash   | unit -> rows announced |
| errors     | hash   | unit -> why it came back last |
| dead       | hash   | unit -> why it was set aside |
| evaluations| hash   | trainer -> its newest EvaluationRecord as JSON |
| requests   | hash   | producer -> its newest lease request and the answer: asked again, it gets the same |
| scales     | hash   | hookpoint -> float |
| parts      | zset   | `block:part` saved of checkpoints that are not complete, by block |
| checkpoints| zset   | block of each complete checkpoint, by block |
| events     | stream | kind, message |
| metrics    | stream | source and measurements as JSON |

Outside of any job: `headrace:jobs`, a zset of the jobs' names by the ms of their creation.
"""

SCHEMA = 2
JOBS = "headrace:jobs"
NAMES = (
    "job",
    "roles",
    "heartbeats",
    "lanes",
    "marks",
    "trainers",
    "evaluations",
    "leases",
    "ready",
    "grants",
    "attempts",
    "rows",
    "errors",
    "dead",
    "requests",
    "scales",
    "parts",
    "checkpoints",
    "events",
    "metrics",
)


def key(job: str, name: str) -> str:
    """`key("demo", "leases")` is `headrace:{demo}:leases`."""
    assert name in NAMES, name
    return f"headrace:{{{job}}}:{name}"


def job_keys(job: str) -> list[str]:
    """All keys of one job, in the order of NAMES; what every script gets as KEYS."""
    return [key(job, name) for name in NAMES]
