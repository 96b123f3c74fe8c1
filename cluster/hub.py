"""SAEs onto the Hugging Face hub: each in a folder of its own, where `SAE.from_pretrained(repo, name)` finds it.

One commit holds everything, so a repository never has half of a push. The token is the one of the hub's own login
(`hf auth login`, or HF_TOKEN); it is handed on by huggingface_hub and never seen here.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from huggingface_hub import CommitOperationAdd, HfApi, get_token
from huggingface_hub.errors import (
    EntryNotFoundError,
    HfHubHTTPError,
    HFValidationError,
    HTTPError,
    OfflineModeIsEnabled,
)
from huggingface_hub.utils import disable_progress_bars

from cluster.sae_labels import labels_of
from shared.errors import HubError, UserError
from trainers.model_card import CARD, licence_of, write_card, write_collection_card

CONFIG, WEIGHTS = "cfg.json", "sae_weights.safetensors"
FILES = (CONFIG, WEIGHTS, "sparsity.safetensors", "metrics.json", "evaluation.json", CARD)
MAIN = "main"


class Push(NamedTuple):
    """What was pushed, and where it is."""

    url: str
    names: list[str]
    licence: str | None


def push(place: Path, repo_id: str, private: bool = False, revision: str = MAIN, licence: str | None = None) -> Push:
    """Puts the SAE at `place`, or all those of the run at `place`, into the hub's repository `repo_id`.

    Args:
        private: of a repository that is made now; one that is there stays as it is.
        revision: the branch; made if it is not there.
    Raises:
        UserError: no SAE there, no login, or a name that the hub does not allow.
        HubError: the hub does not answer, or refuses.
    """
    folders = sae_folders(place)
    if get_token() is None:
        raise UserError("you are not logged in to the Hugging Face hub: type hf auth login, or set HF_TOKEN")
    disable_progress_bars()
    api = HfApi()
    with _one_sentence(repo_id, api.endpoint):
        api.create_repo(repo_id, private=private or None, exist_ok=True)
        if revision != MAIN:
            api.create_branch(repo_id, branch=revision, exist_ok=True)
        for folder in folders:
            write_card(folder, repo_id, licence, has_labels=labels_of(folder) is not None)
        names = _all_names(api, repo_id, revision, folders)
        with tempfile.TemporaryDirectory() as temporary:
            card = _collection_card(api, repo_id, revision, names, licence, Path(temporary))
            files = [(f"{folder.name}/{path.name}", path) for folder in folders for path in _files(folder)]
            operations = [CommitOperationAdd(where, path) for where, path in [(CARD, card), *files]]
            title = f"Add {', '.join(folder.name for folder in folders)}"
            api.create_commit(repo_id, operations, commit_message=title, revision=revision)
            licence = licence_of(card.parent)
    return Push(f"{api.endpoint}/{repo_id}", [folder.name for folder in folders], licence)


def sae_folders(place: Path) -> list[Path]:
    """`place` itself if it is an SAE's folder, else those of the run that it is. Raises UserError if there are none."""
    place = place.resolve()
    if _is_sae(place):
        return [place]
    found = [folder for folder in sorted((place / "saes").glob("*")) if _is_sae(folder)]
    if not found:
        raise UserError(
            f"{place} is neither an SAE's folder ({CONFIG}, {WEIGHTS}) nor a run with finished SAEs (saes/)"
        )
    return found


def _is_sae(folder: Path) -> bool:
    return (folder / CONFIG).is_file() and (folder / WEIGHTS).is_file()


def _files(folder: Path) -> list[Path]:
    found = [folder / name for name in FILES if (folder / name).is_file()]
    labels = labels_of(folder)
    return found if labels is None else [*found, labels]


def _all_names(api: HfApi, repo_id: str, revision: str, folders: list[Path]) -> list[str]:
    """Of the SAEs that the repository will have."""
    there = api.list_repo_files(repo_id, revision=revision)
    before = {path.removesuffix(f"/{WEIGHTS}") for path in there if path.endswith(f"/{WEIGHTS}")}
    return sorted(before | {folder.name for folder in folders})


def _collection_card(
    api: HfApi, repo_id: str, revision: str, names: list[str], licence: str | None, temporary: Path
) -> Path:
    """The repository's own card: the one that is there, brought up to date."""
    with suppress(EntryNotFoundError):
        api.hf_hub_download(repo_id, CARD, revision=revision, local_dir=temporary)
    write_collection_card(temporary / CARD, repo_id, names, licence)
    return temporary / CARD


@contextmanager
def _one_sentence(repo_id: str, endpoint: str) -> Iterator[None]:
    """Turns what huggingface_hub raises into our errors; its own texts run over many lines."""
    try:
        yield
    except HFValidationError as error:
        raise UserError(f"{repo_id} cannot be the name of a repository: {_first(error)}") from None
    except OfflineModeIsEnabled:
        raise UserError("HF_HUB_OFFLINE is set, so nothing can be pushed: unset it") from None
    except HfHubHTTPError as error:
        status = error.response.status_code
        raise HubError(f"{endpoint} refuses {repo_id} ({status}): {error.server_message or _first(error)}") from None
    except HTTPError as error:
        raise HubError(f"cannot reach {endpoint}: {_first(error)}") from None
    except RuntimeError as error:
        raise HubError(f"{_first(error)}: {_first(error.__cause__ or error)}") from error
    except ValueError as error:
        raise UserError(f"the hub does not accept what would be pushed to {repo_id}: {_joined(error)}") from None


def _joined(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")


def _first(error: BaseException) -> str:
    return str(error).strip().split("\n")[0].rstrip(".")
