"""Which datasets are benchmarks on the Hub, for which it shows results that models carry."""

from __future__ import annotations

from typing import Any

from zookeeper.hub.client import Client
from zookeeper.hub.listings import repository_of
from zookeeper.sections import UNREADABLE, read_yaml

_DEFINITION = "eval.yaml"
_LARGEST = 1 << 20


def tasks_of(client: Client, dataset: str) -> tuple[str, ...]:
    """Ids of the tasks of a registered benchmark; see `Hub.benchmark_tasks`.

    The Hub keeps the list of those that are registered; what their tasks are stands in their own files.
    """
    there = repository_of(client.info(dataset, kind="dataset"), "main")
    definition = next((file for file in there.files if file.path == _DEFINITION), None)
    if definition is None or definition.size > _LARGEST or not _registered(client, there.revision.repo_id):
        return ()
    folder = client.fetch(there.revision, (definition,), kind="dataset")
    return _tasks((folder / _DEFINITION).read_bytes())


def _registered(client: Client, dataset: str) -> bool:
    listed = client.ask(
        "the list of benchmarks",
        lambda: list(client.api.list_datasets(benchmark="official", search=dataset)),
    )
    return any(info.id == dataset for info in listed)


def _tasks(definition: bytes) -> tuple[str, ...]:
    """Of a definition, of which anything may be anything."""
    try:
        read: Any = read_yaml(definition.decode())
    except UNREADABLE:
        return ()
    tasks = read.get("tasks") if isinstance(read, dict) else None
    ids = (task.get("id") for task in tasks if isinstance(task, dict)) if isinstance(tasks, list) else ()
    return tuple(dict.fromkeys(one for one in ids if isinstance(one, str) and one))
