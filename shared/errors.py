"""Every exception of Headrace, one sentence each; all survive the way between processes.

`UserError` is for what the user wrote (exit code 2), `JobFailed` for a job that broke while it ran (exit code 1).
Each takes only its message, so that pickling needs no `__reduce__` of its own.
"""

from shared.plain_text import plain_line

LONGEST_REASON = 300
LONGEST_SENTENCE = 900
"""Longer ones, which quote what nobody has typed, lose their middle: what is to be done stands at the end."""


class HeadraceError(Exception):
    """The root of all of them; its text is one sentence for a person, on one line whatever name or path it quotes."""

    exit_code = 1
    """Of the command that it ends."""

    def __init__(self, sentence: str) -> None:
        line = plain_line(sentence)
        half = LONGEST_SENTENCE // 2 - 1
        super().__init__(line if len(line) <= LONGEST_SENTENCE else f"{line[:half]}…{line[-half:]}")


class UserError(HeadraceError, ValueError):
    """What the user wrote cannot be done: `trainers[0].k must be between 1 and num_latents (512), got 0`."""

    exit_code = 2


class JobFailed(HeadraceError):
    """The job broke while it ran: `unit 17: 3 activations at transformer.h.3 are not finite`."""


class SchemaError(HeadraceError, ValueError):
    """An Arrow table that is not what was agreed: `row table has format version 2, this Headrace reads 1`."""


class SpoolDamaged(HeadraceError):
    """A block on disk is not what was written: `…/spool/lane-0/17.arrow is damaged: …`."""


class DiskFull(HeadraceError):
    """Nothing more can be written for now: `no room for checkpoint 40: the disk of runs/demo is full`."""


class StaleToken(HeadraceError):
    """A process acts for a role that has been given to a newer one: `lane-0 token 3 is stale, 4 is in force`."""


class LaneClosed(HeadraceError):
    """The lane ends, or another process has its role: `lane 0 is closed`; its heir is to be asked."""


class RegistryError(HeadraceError):
    """The registry refuses a transition: `job demo cannot go from finished to running`."""


class RegistryUnreachable(HeadraceError):
    """Redis does not answer: `the registry at redis://host:6379 does not answer`."""

    exit_code = 2


class HubError(HeadraceError):
    """The Hugging Face hub does not answer, or refuses: `https://huggingface.co refuses me/saes (403): …`."""


class CheckpointError(HeadraceError):
    """A checkpoint cannot be used: `checkpoints/40/trainer-topk-512: weights.safetensors is damaged`."""


class Unreadable(HeadraceError):
    """The system does not give a file, which says nothing of what is in it: `… cannot be read: Stale file handle`."""


def one_line(error: BaseException | str) -> str:
    """What a library says, which may be several lines, as part of a sentence of ours; not more than a person reads."""
    text = " ".join(str(error).split())
    return text if len(text) <= LONGEST_REASON else text[: LONGEST_REASON - 1] + "…"
