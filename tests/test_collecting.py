"""What becomes of a pin beside those that are there: whatever comes in whatever order, none is lost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zookeeper.collecting import Action, Pins, decide
from zookeeper.records import Checkpoint, Revision

FOLDER = "/models/mine"


def found(repo_id: str, asked: str, digit: str, pickled: bool, aliases: Sequence[str] = ()) -> Checkpoint:
    asked = "folder" if repo_id == FOLDER else asked
    return Checkpoint(Revision(repo_id, asked, digit * 40), (), pickled=pickled, aliases=tuple(aliases))


FOUND = st.builds(
    found,
    st.sampled_from(["org/bert", "org/gpt", FOLDER]),
    st.sampled_from(["main", "v1"]),
    st.sampled_from("abc"),
    st.booleans(),
    st.lists(st.sampled_from(["bert", "gpt"]), max_size=1),
)
COMMANDS = st.lists(st.tuples(FOUND, st.booleans(), st.booleans()), max_size=8)


class Shelf:
    """A zoo of which only the pins are there; kept by what actions say, and by nothing else."""

    def __init__(self) -> None:
        self.there: dict[str, Checkpoint] = {}
        self.pins = Pins(())

    def do(self, action: Action) -> None:
        if action.add:
            self.there[str(action.pin.revision)] = action.pin
        if action.remove:
            del self.there[str(action.remove)]
        self.pins.apply(action)

    def moving_to(self, latest: Checkpoint) -> Checkpoint | None:
        """A pin whose name means that now, where it is pinned to something else."""
        asked = latest.revision.repo_id, latest.revision.asked
        return next(
            (
                one
                for one in self.there.values()
                if (one.revision.repo_id, one.revision.asked) == asked
                and one.revision.commit != latest.revision.commit
            ),
            None,
        )


@given(COMMANDS)
def test_no_pin_and_no_name_is_lost_and_nothing_is_agreed_to_unasked(
    commands: list[tuple[Checkpoint, bool, bool]],
) -> None:
    shelf = Shelf()
    for one, whole, moves in commands:
        before, typed = dict(shelf.there), f"it@{one.revision.asked}" if whole else "it"
        moving = shelf.moving_to(one) if moves else None
        action = decide(one, shelf.pins, typed=typed, instead=moving)
        shelf.do(action)
        after = shelf.there

        assert after[str(action.pin.revision)] == action.pin, "what is said to be there is there"
        place_taken = {str(moving.revision)} if moving else set()
        folders = {name for name in before if name.startswith(FOLDER)}
        assert before.keys() - after.keys() <= place_taken | folders
        assert after.keys() - before.keys() <= {str(one.revision)}
        if moving or one.revision.local:
            assert str(one.revision) in after
        lost = {alias for c in before.values() for alias in c.aliases}
        lost -= {alias for c in after.values() for alias in c.aliases}
        assert not lost, "every name still means something"
        followed = [(c.revision.repo_id, c.revision.asked) for c in after.values()]
        assert len(set(followed)) == len(followed), "no name means two commits"
        for name, pin in after.items():
            agreed = one.pickled and name == str(one.revision)
            assert pin.pickled <= agreed or before[name].pickled
            if name in before:
                assert shelf.pins.following(before[name].revision) == pin, "what it followed it follows"
                assert pin.revision == (one if moving and pin == action.pin else before[name]).revision
        for pin in after.values():
            assert shelf.pins.at(pin.revision) == shelf.pins.following(pin.revision) == pin
        again = decide(one, shelf.pins, typed=typed)
        assert (again.add, again.remove) == (False, None), "the same once more changes nothing"


@pytest.mark.parametrize(
    ("first", "second", "says"),
    [
        (("org/bert", "main", "a", False), ("org/gpt", "main", "b", False), "added"),
        (("org/bert", "main", "a", False), ("org/bert", "v1", "b", False), "added"),
        (("org/bert", "main", "a", False), ("org/bert", "v1", "a", False), "already there"),
        (
            ("org/bert", "main", "a", False),
            ("org/bert", "main", "b", True),
            "already there; main is now bbbbbbbb",
        ),
        (("org/bert", "main", "a", False), ("org/bert", "v1", "a", True), "agreed to its pickles"),
        (("org/bert", "main", "a", True), ("org/bert", "main", "a", False), "already there"),
        ((FOLDER, "", "a", False), (FOLDER, "", "b", False), "added in place of what the folder held before"),
    ],
)
def test_the_status_says_what_was_done(first: Any, second: Any, says: str) -> None:
    shelf = Shelf()
    shelf.do(decide(found(*first), shelf.pins))
    assert decide(found(*second), shelf.pins).says == says


def test_a_pin_that_moves_to_anothers_commit_goes_on_following_its_branch() -> None:
    shelf = Shelf()
    main = found("org/bert", "main", "a", False, ["bert"])
    for one in (main, found("org/bert", "v2", "b", False)):
        shelf.do(decide(one, shelf.pins))
    shelf.do(decide(found("org/bert", "main", "b", False), shelf.pins, instead=main))
    (pin,) = shelf.there.values()
    assert pin == found("org/bert", "main", "b", False, ["bert", "org/bert@v2"])
    for asked in ("main", "v2"):
        again = decide(found("org/bert", asked, "c", False), shelf.pins)
        assert again == Action(f"already there; {asked} is now cccccccc", pin)


def test_a_tag_that_is_an_alias_goes_on_meaning_its_commit() -> None:
    shelf = Shelf()
    shelf.do(decide(found("org/bert", "main", "a", False), shelf.pins))
    shelf.do(decide(found("org/bert", "v1", "a", False), shelf.pins, typed="org/bert@v1"))
    moved = decide(found("org/bert", "v1", "b", False), shelf.pins, typed="org/bert@v1")
    assert (moved.says, moved.pin.revision.commit) == ("already there; v1 is now bbbbbbbb", "a" * 40)
    assert not moved.add
    also = decide(found("org/bert", "v1", "a", False), shelf.pins, typed="bert@v1")
    assert also.pin.aliases == ("bert@v1", "org/bert@v1")


def test_what_can_be_read_now_takes_the_place_of_what_could_not() -> None:
    shelf = Shelf()
    better = found("org/bert", "main", "a", False)
    shelf.do(decide(replace(better, problem="its kind is not known"), shelf.pins))
    shelf.do(decide(better, shelf.pins))
    assert list(shelf.there.values()) == [better]
    assert not decide(replace(better, problem="no weights"), shelf.pins).add


def test_what_is_taken_over_or_moved_says_so() -> None:
    shelf = Shelf()
    old, new = found("org/bert", "main", "a", False), found("org/bert", "main", "b", False)
    shelf.do(decide(old, shelf.pins))
    there = decide(new, shelf.pins, elsewhere="the lock has it at")
    assert (there.says, there.pin) == ("already there; the lock has it at bbbbbbbb", old)
    assert decide(new, shelf.pins, instead=old) == Action("pinned to the latest", new, True, old.revision)
