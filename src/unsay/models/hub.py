"""The Hugging Face hub: whether it answers, and a snapshot without pickles or code."""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import ModelError
from .vet import refuse_files

WANTED = ("*.safetensors", "*.json", "*.txt", "*.model", "*.jinja")
"""Weights as safetensors, configurations and tokenizer files; nothing that can hold code."""

_SECONDS = 5.0
"""How long the hub may take to answer the first question."""


def offline() -> bool:
    """Whether ``UNSAY_OFFLINE`` or ``HF_HUB_OFFLINE`` forbids asking the hub."""
    return any(
        os.environ.get(name, "").lower() in {"1", "true", "yes", "on"} for name in ("UNSAY_OFFLINE", "HF_HUB_OFFLINE")
    )


def snapshot(repo: str, revision: str | None = None, hint: str = "") -> Path:
    """The folder of one revision in the hub's own cache, downloaded when need be.

    The revision is resolved to a commit first, so that what was vetted is what is downloaded.

    Args:
        repo: ``owner/name``.
        revision: Branch, tag or commit; None is the default branch.
        hint: What to type when there is no such model.

    Raises:
        ModelError: no such model or revision, it is gated, it brings pickles or code, or the hub does not answer.
    """
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    wanted = list(WANTED)
    if offline():
        try:
            return Path(snapshot_download(repo, revision=revision, allow_patterns=wanted, local_files_only=True))
        except OSError:
            raise ModelError(
                f"no model at {repo}: there is no such folder, and UNSAY_OFFLINE or HF_HUB_OFFLINE is set",
                hint,
            ) from None
    try:
        info = HfApi().model_info(repo, revision=revision, timeout=_SECONDS)
        refuse_files([sibling.rfilename for sibling in info.siblings or ()], repo)
        return Path(snapshot_download(repo, revision=info.sha, allow_patterns=wanted))
    except ModelError:
        raise
    except GatedRepoError:
        raise ModelError(
            f"{repo} is gated on the hub", "accept its terms on its hub page, then type: hf auth login"
        ) from None
    except RevisionNotFoundError:
        raise ModelError(
            f"{repo} has no revision {revision!r}", "give a branch, tag or commit, or leave model.revision out"
        ) from None
    except RepositoryNotFoundError:
        raise ModelError(f"no model at {repo}: neither a folder nor a model the hub shows you", hint) from None
    except (
        Exception
    ) as error:  # the hub's HTTP client has changed its error classes twice; any of them means "no answer"
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelError(
            f"no model at {repo}: there is no such folder, and the hub did not answer ({reason})", hint
        ) from error
