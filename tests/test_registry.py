"""Registries: built-ins first, installed packages by entry point, everything else refused with the names."""

from __future__ import annotations

from pathlib import Path

import pytest

from zookeeper.errors import UsageError
from zookeeper.registry import Registry
from zookeeper.scores import SCORES

GROUP = "zookeeper.tested"


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry[str]:
    """Two built-ins, and an installed package that adds one, claims a built-in name and breaks on a third."""
    (tmp_path / "tested_extra.py").write_text('value = "installed"\n')
    information = tmp_path / "tested_extra-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: tested-extra\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(
        f"[{GROUP}]\nextra = tested_extra:value\nfirst = tested_extra:value\nbroken = tested_absent:value\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    return Registry("thing", GROUP, {"first": "built in", "second": "built in"})


def test_an_installed_object_is_found(registry: Registry[str]) -> None:
    assert registry["extra"] == "installed"
    assert "extra" in registry


def test_a_built_in_name_cannot_be_taken_over(registry: Registry[str]) -> None:
    assert registry["first"] == "built in"
    assert list(registry).count("first") == 1


def test_lists_built_ins_first_and_loads_nothing_to_do_so(registry: Registry[str]) -> None:
    assert list(registry)[:2] == ["first", "second"]
    assert sorted(registry) == ["broken", "extra", "first", "second"]
    assert len(registry) == 4


def test_an_unknown_name_is_refused_with_the_known_ones(registry: Registry[str]) -> None:
    with pytest.raises(UsageError, match='no thing "frist"') as refusal:
        registry["frist"]
    assert "frist" not in registry
    for name in registry:
        assert name in str(refusal.value.fix)


def test_without_packages_there_are_the_built_ins_only() -> None:
    assert list(Registry("thing", GROUP, {"first": 1})) == ["first"]


def test_the_scores_that_ship() -> None:
    assert list(SCORES)[:2] == ["logme", "hscore"]
    with pytest.raises(UsageError, match='no score "vibes"'):
        SCORES["vibes"]
