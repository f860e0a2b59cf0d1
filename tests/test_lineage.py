"""What was made from what has a place, whatever cards say."""

from __future__ import annotations

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from tests.reference.examples import STEADY
from zookeeper.lineage import Relative, lineage
from zookeeper.records import Checkpoint, Revision

IDS = st.sampled_from([*"abcdefgh", "elsewhere"])


def checkpoint(name: str, *bases: str, aliases: tuple[str, ...] = ()) -> Checkpoint:
    return Checkpoint(Revision(name, "main", "a" * 40), (), base_models=bases, aliases=aliases)


def zoos() -> st.SearchStrategy[list[Checkpoint]]:
    """Checkpoints with any bases: themselves, circles, one twice, and what is not there."""
    bases = st.dictionaries(st.sampled_from("abcdefgh"), st.lists(IDS, max_size=4))
    return bases.map(lambda each: [checkpoint(name, *of) for name, of in each.items()])


def by_name(found: tuple[Relative, ...]) -> dict[str, Relative]:
    return {relative.name: relative for relative in found}


@STEADY
@given(zoos())
def test_a_lineage_holds_everything_once_and_runs_from_left_to_right(zoo: list[Checkpoint]) -> None:
    found = lineage(zoo)
    assert sorted(r.checkpoint for r in found if r.checkpoint is not None) == list(range(len(zoo)))
    assert {r.name for r in found} == {c.name for c in zoo} | {base for c in zoo for base in c.base_models}
    assert len(found) == len({r.name for r in found})
    for relative in found:
        assert relative.depth == max((found[base].depth + 1 for base in relative.bases), default=0)
        if relative.checkpoint is None:
            assert not relative.bases
        else:
            stated = zoo[relative.checkpoint].base_models
            assert {found[base].name for base in relative.bases} <= set(stated) - {relative.name}


@STEADY
@given(zoos())
def test_only_what_closes_a_circle_is_left_out_of_a_lineage(zoo: list[Checkpoint]) -> None:
    found = lineage(zoo)
    kin = by_name(found)

    def descends(name: str, ancestor: str) -> bool:
        return name == ancestor or any(descends(found[base].name, ancestor) for base in kin[name].bases)

    for one in zoo:
        drawn = {found[base].name for base in kin[one.name].bases}
        assert all(descends(base, one.name) for base in set(one.base_models) - drawn)


@STEADY
@given(zoos(), st.integers(3, 9), st.data())
def test_no_two_places_of_a_lineage_are_nearer_than_a_row(
    zoo: list[Checkpoint], most: int, data: st.DataObject
) -> None:
    first = data.draw(st.lists(st.sampled_from([c.name for c in zoo]), max_size=1) if zoo else st.just([]))
    found = lineage(zoo, first=first, most=most)
    for one, other in combinations(found, 2):
        assert one.depth != other.depth or abs(one.row - other.row) >= 1
    assert all(0 <= relative.row < len(found) for relative in found)


@STEADY
@given(zoos(), st.integers(3, 9))
def test_a_lineage_has_no_more_places_than_it_may_and_counts_all(zoo: list[Checkpoint], most: int) -> None:
    whole, found = lineage(zoo), lineage(zoo, most=most)
    assert len(found) <= most
    assert sum(relative.folded or 1 for relative in found) == len(whole)
    assert all(relative.folded != 1 for relative in found)
    kin = by_name(whole)
    for relative in found:
        if not relative.folded:
            assert relative.depth == kin[relative.name].depth


@STEADY
@given(st.permutations(range(8)))
def test_a_lineage_does_not_depend_on_the_order_of_checkpoints(order: list[int]) -> None:
    bases = {"a": [], "b": ["a"], "c": ["a", "b"], "d": ["x"], "e": ["c", "x"], "f": [], "g": ["f"], "h": []}
    zoo = [checkpoint(name, *each) for name, each in bases.items()]
    turned = lineage([zoo[i] for i in order])
    assert [(r.name, r.bases, r.depth, r.row) for r in turned] == [
        (r.name, r.bases, r.depth, r.row) for r in lineage(zoo)
    ]


def test_bases_are_found_by_id_or_alias_and_families_come_first() -> None:
    found = lineage([checkpoint("z"), checkpoint("b", "short"), checkpoint("org/a", aliases=("short",))])
    assert [(r.name, r.depth) for r in found] == [("org/a", 0), ("b", 1), ("z", 0)]
    assert found[1].bases == (0,)


def test_what_was_chosen_has_a_place_beside_few_and_the_rest_is_counted_by_base() -> None:
    zoo = [checkpoint(f"{i:03}", "one" if i % 2 else "two") for i in range(200)]
    found = lineage(zoo, first=["177"], most=12)
    kin = by_name(found)
    assert found[kin["177"].bases[0]].name == "one"
    folded = {found[relative.bases[0]].name: relative.folded for relative in found if relative.folded}
    shown = {base: sum(found[r.bases[0]].name == base for r in found if r.bases) - 1 for base in folded}
    assert {base: folded[base] + shown[base] for base in folded} == {"one": 100, "two": 100}


def test_a_long_line_is_no_trouble() -> None:
    found = lineage([checkpoint(f"{i}", f"{i - 1}") for i in range(1, 700)])
    assert len(found) == 80
    assert found[-1].folded == 700 - 79
