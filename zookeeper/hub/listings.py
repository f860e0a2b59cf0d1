"""What the Hub says of a repository, as records."""

from __future__ import annotations

from typing import Any

from huggingface_hub.hf_api import DatasetInfo, ModelInfo

from zookeeper.layouts import (
    architecture_of,
    model_type_of,
    needed,
    only_pickles,
    problem_of,
    tokenizer_of,
)
from zookeeper.plain import shortened
from zookeeper.records import Checkpoint, Dataset, RepoFile, Revision

# More, and longer ones, say nothing to anybody.
_LONGEST_NAME = 200
_MOST_NAMES = 1000


def checkpoint_of(info: ModelInfo, name: str, revision: str, *, pickles: bool = False) -> Checkpoint:
    """A checkpoint, with all that is known without its weights.

    Args:
        info: of the model, with the metadata of its files.
        name: that was asked for; an alias where it is not the canonical one.
        revision: that was asked for.
        pickles: whether its weights may be pickles, where there are no others.
    """
    files = files_of(info)
    paths = [file.path for file in files]
    pickled = pickles and only_pickles(paths)
    config: dict[str, Any] = info.config if isinstance(info.config, dict) else {}
    card = metadata_of(info)
    loaded = set(needed(paths, pickled=pickled))
    return Checkpoint(
        revision=_revision(info, revision),
        files=tuple(file for file in files if file.path in loaded),
        architecture=architecture_of(config),
        model_type=model_type_of(config),
        parameters=info.safetensors.total if info.safetensors else None,
        repo_bytes=sum(file.size for file in files),
        tokenizer=tokenizer_of(paths),
        license=next(iter(_names(card.get("license"))), None),
        base_models=_names(card.get("base_model")),
        tags=_names(info.tags),
        gated=bool(info.gated),
        problem=problem_of(paths, pickled=pickled),
        pickled=pickled,
        aliases=() if name == info.id else (name,),
    )


def repository_of(info: ModelInfo | DatasetInfo, revision: str) -> Dataset:
    """A repository with all of its files, and the layout of its data where its card gives one."""
    return Dataset(
        revision=_revision(info, revision),
        files=files_of(info),
        layout=_layout(metadata_of(info).get("configs")),
    )


def files_of(info: ModelInfo | DatasetInfo) -> tuple[RepoFile, ...]:
    """Files of a repository, with their sizes and digests."""
    return tuple(
        RepoFile(
            path=file.rfilename,
            size=int(file.size or 0),
            digest=f"sha256:{file.lfs.sha256}" if file.lfs else f"git:{file.blob_id}",
        )
        for file in info.siblings or ()
    )


def metadata_of(info: ModelInfo | DatasetInfo) -> dict[str, Any]:
    """Metadata of a repository's card, as the Hub read it."""
    return info.card_data.to_dict() if info.card_data else {}  # type: ignore[no-untyped-call]


def _names(value: Any) -> tuple[str, ...]:
    """The names in a field of a card: one, a list of them, or anything else instead."""
    listed = value if isinstance(value, list | tuple) else [value]
    return tuple(
        shortened(name, _LONGEST_NAME) for name in listed[:_MOST_NAMES] if isinstance(name, str) and name
    )


def _revision(info: ModelInfo | DatasetInfo, asked: str) -> Revision:
    return Revision(repo_id=info.id, asked=asked, commit=str(info.sha))


def _layout(configs: Any) -> dict[str, dict[str, tuple[str, ...]]]:
    """Configurations, splits and patterns of a card, of which anything may be anything."""
    found: dict[str, dict[str, tuple[str, ...]]] = {}
    for config in configs if isinstance(configs, list) else ():
        given = config.get("data_files") if isinstance(config, dict) else None
        splits = found.setdefault(str(config.get("config_name", "default")), {}) if given else {}
        for item in given if isinstance(given, list) else [given]:
            entry = item if isinstance(item, dict) else {"path": item}
            paths = entry.get("path")
            patterns = paths if isinstance(paths, list) else [paths]
            split = str(entry.get("split", "train"))
            splits[split] = splits.get(split, ()) + tuple(p for p in patterns if isinstance(p, str))
    return found
