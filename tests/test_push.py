"""Pushes, against a Hub on this machine: what is written, to whom, and what is said when it is not."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loopback import READ_TOKEN, WRITE_TOKEN, LoopbackHub, User

from tests.reference.examples import STEADY
from zookeeper.errors import (
    AccessError,
    DataError,
    NetworkError,
    NotFoundError,
    OfflineError,
    StorageError,
    UsageError,
    ZooError,
)
from zookeeper.hub import Hub
from zookeeper.hub.changes import _diff
from zookeeper.publications import CardText, Publication
from zookeeper.sections import metadata_of, spliced

# huggingface_hub uploads LFS files in a way that its own HTTP client has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>':DeprecationWarning")

OWN = "alice/zoo"
THEIRS = "bob/model"
PROSE = b"---\r\nlicense: mit\r\n---\r\n# Bob's model\r\n\r\nBob wrote this.\r\n"
TITLE = "zookeeper: f1 on chunks, run 3f2a"


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zookeeper.hub.client.sleep", lambda _: None)
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda _: None)


@pytest.fixture
def ours(hub: LoopbackHub, tmp_path: Path) -> Hub:
    """The Hub as zoo sees it, logged in as alice."""
    return Hub(hub.url, tmp_path / "cache")


def publication(f1: float = 0.5, **changes: Any) -> Publication:
    """A card with a number, and nothing else."""
    card = CardText({"tags": ["zookeeper"], "metrics": ["f1"]}, f"## Measured\n\nF1 {f1}\n")
    return Publication(
        **{"kind": "model", "subject": "f1 on chunks, run 3f2a", "card": card, "account": "Told."} | changes
    )


def propose(ours: Hub, what: Publication | None = None, **changes: Any) -> Any:
    """Push to Bob's, with all that takes."""
    return ours.push(THEIRS, what or publication(), **{"create_pr": True, "agreed": THEIRS} | changes)


def commits(hub: LoopbackHub, repo_id: str = OWN, revision: str = "main") -> list[str]:
    """Titles of the commits of a branch, newest first."""
    commit = hub._repos["model", repo_id].at(revision)
    titles = []
    while commit:
        titles.append(commit.title)
        commit = commit.parent
    return titles


def writes(hub: LoopbackHub) -> list[str]:
    """Requests that ask the Hub to keep something."""
    return [
        r.path for r in hub.requests if r.method != "GET" and ("/commit/" in r.path or "create" in r.path)
    ]


# --- one's own --------------------------------------------------------------------------------------------


def test_a_new_repository_gets_card_and_files_in_one_commit(
    hub: LoopbackHub, ours: Hub, tmp_path: Path
) -> None:
    weights = tmp_path / "weights"
    weights.write_bytes(b"w" * 4000)
    what = publication(files={"head.safetensors": weights, "run.json": b"{}"})
    plan = ours.push(OWN, what, dry_run=True)
    assert (plan.created, plan.private, plan.dry_run, plan.commit) == (True, True, True, None)
    assert plan.files["head.safetensors"] == 4000
    assert "+F1 0.5" in plan.diff
    assert not writes(hub)
    done = ours.push(OWN, what)
    assert (done.files, done.diff, done.created) == (plan.files, plan.diff, True)
    files = hub.files("model", OWN)
    assert files["head.safetensors"] == weights.read_bytes()
    assert files["README.md"].decode() == spliced("", what.card)
    assert done.commit == hub.sha("model", OWN)
    assert done.url == f"{hub.url}/{OWN}/commit/{done.commit}"
    assert commits(hub) == [TITLE, "initial commit"]


@pytest.mark.parametrize("private", [True, False])
def test_who_sees_a_new_repository(hub: LoopbackHub, ours: Hub, private: bool) -> None:
    assert ours.push(OWN, publication(kind="dataset"), private=private).private is private
    assert ours.repository(OWN, kind="dataset").files
    hub.tokens.clear()
    hub.tokens[WRITE_TOKEN] = User("carol")
    if private:
        with pytest.raises(NotFoundError):
            ours.repository(OWN, kind="dataset")
    else:
        assert ours.repository(OWN, kind="dataset").files


def test_every_other_byte_of_a_card_stays(hub: LoopbackHub, ours: Hub) -> None:
    hub.add("model", OWN, {"README.md": PROSE, "other.txt": b"kept"})
    done = ours.push(OWN, publication())
    files = hub.files("model", OWN)
    assert files["README.md"] == spliced(PROSE.decode(), publication().card).encode()
    assert files["README.md"].count(b"\r\n") == files["README.md"].count(b"\n")
    assert files["other.txt"] == b"kept"
    assert set(done.files) == {"README.md"}
    assert not [line for line in done.diff.splitlines() if line.startswith("-") and "Bob" in line]


def test_what_is_there_already_is_not_written_again(hub: LoopbackHub, ours: Hub) -> None:
    what = publication(files={"run.json": b"{}", "head.safetensors": b"123"})
    first = ours.push(OWN, what)
    hub.clear()
    for dry_run in (True, False):
        again = ours.push(OWN, what, dry_run=dry_run)
        assert (again.files, again.diff, again.commit) == ({}, "", first.commit)
        assert any("nothing to write" in note for note in again.notes)
    assert not writes(hub)
    more = ours.push(OWN, publication(files={"run.json": b"{1}", "head.safetensors": b"123"}))
    assert more.files == {"run.json": 3}


def applied(diff: str, old: str) -> str:
    """What a unified diff makes of a text whose lines all end."""
    there, new, at = old.splitlines(keepends=True), [], 0
    for line in diff.splitlines(keepends=True)[2:]:
        if head := re.match(r"@@ -(\d+)(?:,(\d+))?", line):
            first = int(head[1]) - (head[2] != "0")
            new += there[at:first]
            at = first
        elif line.startswith("+"):
            new.append(line[1:])
        else:
            assert there[at] == line[1:]
            new += [there[at]] if line.startswith(" ") else []
            at += 1
    return "".join(new + there[at:])


LINES = st.lists(st.sampled_from(["a\n", "b\n", "@@ -1 +1 @@\n", "\n"]), max_size=30).map("".join)


@given(LINES, LINES, LINES, LINES)
def test_the_diff_makes_the_new_card_of_the_old_one(before: str, old: str, new: str, after: str) -> None:
    old, new = before + old + after, before + new + after
    assert applied(_diff(old, new), old) == new


def test_a_small_change_of_a_huge_card_is_shown_where_it_is() -> None:
    lines = [f"{i % 101}\n" for i in range(200_000)]
    old = "".join(lines)
    new = "".join([*lines[:100_000], "new\n", *lines[100_000:]])
    diff = _diff(old, new)
    assert diff.splitlines()[2] == "@@ -99998,6 +99998,7 @@"
    assert applied(diff, old) == new


def test_a_card_that_would_take_hours_to_compare_is_not_compared() -> None:
    old = "".join(f"{i % 101}\n" for i in range(200_000))
    diff = _diff(old, f"first\n{old}last\n")
    assert diff.splitlines()[2:] == [
        "@@ -1,200000 +1,200002 @@ 200,000 lines become 200,002: too many to be compared"
    ]


def test_an_empty_card_makes_no_readme(hub: LoopbackHub, ours: Hub) -> None:
    done = ours.push(OWN, publication(card=CardText({}, ""), files={"run.json": b"{}"}))
    assert set(done.files) == {"run.json"}
    assert "README.md" not in hub.files("model", OWN)


def test_what_the_card_keeps_is_said(hub: LoopbackHub, ours: Hub) -> None:
    hub.add("model", OWN, {"README.md": b"---\nmetrics:\n- mine\n---\n"})
    done = ours.push(OWN, publication())
    assert any("metrics" in note for note in done.notes)
    assert metadata_of(hub.files("model", OWN)["README.md"].decode())["metrics"] == ["mine"]


def test_an_organization_is_ones_own_where_one_may_write(hub: LoopbackHub, ours: Hub) -> None:
    hub.tokens[WRITE_TOKEN] = User("alice", orgs=("lab",))
    assert ours.account().owners == ("alice", "lab")  # type: ignore[union-attr]
    ours.push("lab/zoo", publication())
    assert "README.md" in hub.files("model", "lab/zoo")
    reader = {"name": "alice", "orgs": [{"name": "lab", "roleInOrg": "read"}]}
    hub.fail(200, "whoami", body=json.dumps(reader).encode())
    with pytest.raises(AccessError, match="lab/zoo is not yours"):
        Hub(hub.url, ours.cache).push("lab/zoo", publication(0.7))


# --- who may ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("token", "words", "fix"),
    [
        (None, "not logged in", "hf auth login"),
        (READ_TOKEN, "may read only", "change HF_TOKEN in the environment"),
        ("hf_x", "did not accept your token", "change HF_TOKEN in the environment"),
    ],
)
def test_a_token_that_may_not_write_is_refused_before_anything_is_written(
    hub: LoopbackHub, ours: Hub, monkeypatch: pytest.MonkeyPatch, token: str | None, words: str, fix: str
) -> None:
    monkeypatch.delenv("HF_TOKEN") if token is None else monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(AccessError, match=words) as refused:
        ours.push(OWN, publication())
    assert fix in str(refused.value.fix)
    assert refused.value.exit_code == 4
    assert not writes(hub)


def test_a_dry_run_takes_no_account(hub: LoopbackHub, ours: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add("model", THEIRS, {"README.md": PROSE})
    monkeypatch.delenv("HF_TOKEN")
    assert ours.account() is None
    plan = ours.push(THEIRS, publication(), dry_run=True, create_pr=True)
    assert "+F1 0.5" in plan.diff
    assert (plan.created, plan.pull) == (False, None)
    assert any("not logged in" in note for note in plan.notes)
    monkeypatch.setenv("HF_TOKEN", READ_TOKEN)
    assert any("read only" in note for note in ours.push(OWN, publication(), dry_run=True).notes)


def test_offline(hub: LoopbackHub, tmp_path: Path) -> None:
    offline = Hub(hub.url, tmp_path, offline=True)
    for dry_run in (True, False):
        with pytest.raises(OfflineError, match="offline") as refused:
            offline.push(OWN, publication(), dry_run=dry_run)
        assert refused.value.exit_code == 5
    assert not hub.requests


@pytest.mark.parametrize("name", ["a/b/c", "alice/zoo--x", "alice/\x1b[31mred", "alice/a\nb", "x" * 500, ""])
def test_a_name_that_no_repository_can_have_reaches_nobody(hub: LoopbackHub, ours: Hub, name: str) -> None:
    calls: list[Callable[[], object]] = [
        lambda: ours.push(name, publication()),
        lambda: ours.repository(name),
        lambda: ours.benchmark_tasks(name),
    ]
    for call in calls:
        with pytest.raises(UsageError) as refused:
            call()
        assert_tame(refused.value)
    assert not hub.requests


def test_a_name_without_an_owner_is_refused(hub: LoopbackHub, ours: Hub) -> None:
    with pytest.raises(UsageError, match="owner"):
        ours.push("zoo", publication())
    assert not hub.requests


def test_a_repository_that_goes_by_another_name_now(hub: LoopbackHub, ours: Hub) -> None:
    hub.add("model", THEIRS, {"README.md": PROSE}, alias="alice/moved")
    with pytest.raises(UsageError, match="is called bob/model now"):
        ours.push("alice/moved", publication())
    assert not writes(hub)


# --- other people's ---------------------------------------------------------------------------------------


def test_other_peoples_repositories_take_a_pull_request_and_their_name(hub: LoopbackHub, ours: Hub) -> None:
    main = hub.add("model", THEIRS, {"README.md": PROSE})
    with pytest.raises(AccessError, match="not yours") as refused:
        ours.push(THEIRS, publication())
    assert refused.value.fix == f"the same command with --create-pr --yes-open-pr-on {THEIRS}"
    for agreed in (None, "bob/other", "bob/mode"):
        with pytest.raises(AccessError, match="did not confirm") as refused:
            propose(ours, agreed=agreed)
        assert f"--yes-open-pr-on {THEIRS}" in str(refused.value.fix)
    assert not writes(hub)
    assert "+F1" in propose(ours, agreed=None, dry_run=True).diff, "to look takes no consent"
    done = propose(ours)
    assert hub.sha("model", THEIRS) == main
    (pull,) = hub.pulls("model", THEIRS)
    assert set(pull.files) == {"README.md"}
    assert pull.files["README.md"] == spliced(PROSE.decode(), publication().card).encode()
    assert (pull.title, pull.author, pull.base) == (TITLE, "alice", main)
    assert done.url == f"{hub.url}/{THEIRS}/discussions/1"
    assert done.commit == hub.sha("model", THEIRS, pull.ref)


def test_the_text_of_a_pull_request_says_who_made_it_what_it_touches_and_how_to_decline(
    hub: LoopbackHub, ours: Hub
) -> None:
    hub.add("model", THEIRS, {"README.md": PROSE})
    metadata = CardText({"model-index": []}, "")
    told = "\n\n".join(f"line {n}" for n in range(40))
    propose(ours, publication(card=metadata, files={".eval_results/exam.yaml": b"[]"}, account=told))
    text = hub.pulls("model", THEIRS)[0].description
    assert len(text.splitlines()) <= 15
    for words in ("line 0", "alice", "by hand", "with the tool", "decline for good", "`zookeeper: no-pr`"):
        assert text.count(words) == 1, words
    assert "no more than one block of metadata in README.md and the file `.eval_results/exam.yaml`;" in text
    assert "section" not in text


@pytest.mark.parametrize(
    ("told", "written"),
    [
        ("by @bob", "by `@`bob"),
        ("by \\`@bob\\`", "by \\``@`bob\\`"),
        ("`@bob` and @eve", "`@bob` and `@`eve"),
        ("```bash\nzoo tune @selection `x`\n```\n@bob", "```bash\nzoo tune @selection `x`\n```\n`@`bob"),
        ("`` a`@bob `` @eve", "`` a`@bob `` `@`eve"),
    ],
)
def test_the_text_of_a_pull_request_calls_nobody(
    hub: LoopbackHub, ours: Hub, told: str, written: str
) -> None:
    hub.add("model", THEIRS, {"README.md": PROSE})
    propose(ours, publication(account=told))
    text = hub.pulls("model", THEIRS)[0].description
    assert text.startswith(f"{written}\n\n")
    assert "@" not in text.removeprefix(written)


@pytest.mark.parametrize("create_pr", [False, True])
def test_other_people_get_nothing_but_a_card_and_results(
    hub: LoopbackHub, ours: Hub, create_pr: bool
) -> None:
    hub.add("model", THEIRS, {"README.md": PROSE})
    with pytest.raises(UsageError, match="nothing else") as refused:
        propose(ours, publication(files={"head.safetensors": b"1"}), create_pr=create_pr)
    assert refused.value.fix == "push it to a repository of your own"
    assert not writes(hub)


def test_results_may_be_proposed_beside_a_card(hub: LoopbackHub, ours: Hub) -> None:
    hub.add("model", THEIRS, {"README.md": PROSE})
    propose(ours, publication(files={".eval_results/chunks.yaml": b"[]"}))
    assert set(hub.pulls("model", THEIRS)[0].files) == {"README.md", ".eval_results/chunks.yaml"}


def test_an_open_pull_request_is_updated(hub: LoopbackHub, ours: Hub) -> None:
    hub.add("model", THEIRS, {"README.md": PROSE})
    propose(ours)
    edited = hub.files("model", THEIRS, "refs/pr/1")["README.md"].replace(b"Bob wrote", b"Bob and Eve wrote")
    hub.commit("model", THEIRS, {"README.md": edited}, revision="refs/pr/1", message="Bob edits")
    hub.commit("model", THEIRS, {"other": b"1"}, message="main moves on")
    plan = propose(ours, publication(0.75), dry_run=True)
    assert (plan.pull, plan.commit) == (1, None)
    assert ("-F1 0.5" in plan.diff, "+F1 0.75" in plan.diff) == (True, True)
    done = propose(ours, publication(0.75))
    assert done.pull == 1
    assert done.url == f"{hub.url}/{THEIRS}/discussions/1"
    (pull,) = hub.pulls("model", THEIRS)
    assert b"Bob and Eve wrote" in pull.files["README.md"]
    assert commits(hub, THEIRS, pull.ref) == [TITLE, "Bob edits", TITLE, "initial commit"]
    hub.clear()
    assert propose(ours, publication(0.75)).files == {}
    assert not writes(hub)


def test_only_pull_requests_that_zoo_made_for_this_account_are_updated(hub: LoopbackHub, ours: Hub) -> None:
    hub.add("model", THEIRS, {"README.md": PROSE})
    propose(ours)
    hub._repos["model", THEIRS].pulls[0] = hub.pulls("model", THEIRS)[0].__class__(
        1, "By hand", "", "alice", hub.sha("model", THEIRS)
    )
    hub.tokens["hf_carol"] = User("carol")
    assert propose(ours).pull is None
    assert [pull.title for pull in hub.pulls("model", THEIRS)] == ["By hand", TITLE]


def test_a_closed_pull_request_was_the_last(hub: LoopbackHub, ours: Hub) -> None:
    hub.add("model", THEIRS, {"README.md": PROSE})
    propose(ours)
    hub.end("model", THEIRS, 1, "closed")
    for dry_run in (True, False):
        with pytest.raises(AccessError, match="takes no pull requests by zoo") as refused:
            propose(ours, publication(0.75), dry_run=dry_run)
        assert "#1 was closed" in str(refused.value.why)
    assert len(hub.pulls("model", THEIRS)) == 1


def test_a_merged_pull_request_may_have_a_next(hub: LoopbackHub, ours: Hub) -> None:
    hub.add("model", THEIRS, {"README.md": PROSE})
    propose(ours)
    hub.end("model", THEIRS, 1, "merged")
    assert propose(ours).files == {}, "it is on main"
    assert propose(ours, publication(0.75)).pull is None
    assert len(hub.pulls("model", THEIRS)) == 2


@pytest.mark.parametrize(
    ("said", "declines"),
    [
        ("no-pr", True),
        ("No PR", True),
        ("[cards, no_pr]", True),
        ("{no-pr: true}", True),
        ("{no-pr: null}", True),
        ("{pull-requests: false}", True),
        ("no", True),
        ("never", True),
        ("{no-pr: false}", False),
        ("{pr: true}", False),
        ("welcome", False),
        ("[1, 2.5, null, {a: b}]", False),
        ("&a [*a]", False),
        ("null", False),
    ],
)
def test_no_pr_is_honoured(hub: LoopbackHub, ours: Hub, said: str, declines: bool) -> None:
    hub.add("model", THEIRS, {"README.md": f"---\nzookeeper: {said}\n---\nBob\n".encode()})
    if declines:
        with pytest.raises(AccessError, match="takes no pull requests by zoo") as refused:
            propose(ours)
        assert "zookeeper: no-pr" in str(refused.value.why)
    else:
        propose(ours)
    assert len(hub.pulls("model", THEIRS)) == (0 if declines else 1)


@pytest.mark.parametrize("revision", ["main", "refs/pr/1"])
def test_no_pr_that_came_later_ends_an_open_one(hub: LoopbackHub, ours: Hub, revision: str) -> None:
    hub.add("model", THEIRS, {"README.md": PROSE})
    propose(ours)
    told = {"README.md": b"---\nzookeeper: no-pr\n---\n"}
    before = hub.commit("model", THEIRS, told, revision=revision)
    with pytest.raises(AccessError, match="takes no pull requests by zoo"):
        propose(ours, publication(0.75))
    assert hub.sha("model", THEIRS, revision) == before
    assert len(hub.pulls("model", THEIRS)) == 1


def test_a_repository_without_discussions(hub: LoopbackHub, ours: Hub) -> None:
    hub.add("model", THEIRS, {"README.md": PROSE})
    said = {"X-Error-Message": "Discussions are disabled for this repo"}
    hub.fail(403, "/discussions", headers=said)
    with pytest.raises(AccessError, match="takes no pull requests") as refused:
        propose(ours)
    assert "disabled" in str(refused.value.why)
    hub.fail(403, "/commit/", headers=said)
    with pytest.raises(AccessError, match="did not take a pull request") as refused:
        propose(ours)
    assert "disabled" in str(refused.value.why)
    assert not hub.pulls("model", THEIRS)


@pytest.mark.parametrize(
    "listed",
    [
        {},
        {"discussions": None, "count": 1, "start": 0},
        {"discussions": [{"num": "1/../2"}], "count": 1, "start": 0},
        {"discussions": [{"num": None, "title": 3, "status": {}}], "count": 1, "start": 0},
    ],
)
def test_a_list_of_pull_requests_that_is_none(hub: LoopbackHub, ours: Hub, listed: dict[str, Any]) -> None:
    hub.add("model", THEIRS, {"README.md": PROSE})
    hub.fail(200, "/discussions", body=json.dumps(listed).encode())
    with pytest.raises(NetworkError, match="makes no sense"):
        propose(ours)
    assert not writes(hub)


def test_ones_own_repository_takes_pull_requests_without_asking(hub: LoopbackHub, ours: Hub) -> None:
    with pytest.raises(NotFoundError):
        ours.push(OWN, publication(), create_pr=True)
    hub.add("model", OWN, {"README.md": PROSE})
    ours.push(OWN, publication(), create_pr=True)
    hub.end("model", OWN, 1, "closed")
    done = ours.push(OWN, publication(), create_pr=True)
    assert done.url == f"{hub.url}/{OWN}/discussions/2"


# --- meanwhile --------------------------------------------------------------------------------------------


def test_a_branch_that_moved(hub: LoopbackHub, ours: Hub) -> None:
    hub.add("model", OWN, {"README.md": PROSE})
    hub.meanwhile("/commit/", lambda: hub.commit("model", OWN, {"README.md": PROSE + b"More.\r\n"}))
    with pytest.raises(NetworkError, match="changed while it was being written") as refused:
        ours.push(OWN, publication())
    assert refused.value.exit_code == 5
    assert "again" in str(refused.value.fix)
    assert commits(hub) == ["Update", "initial commit"]
    ours.push(OWN, publication())
    assert b"More." in hub.files("model", OWN)["README.md"]
    assert commits(hub) == [TITLE, "Update", "initial commit"]


def test_a_pull_request_that_moved(hub: LoopbackHub, ours: Hub) -> None:
    hub.add("model", THEIRS, {"README.md": PROSE})
    propose(ours)
    hub.meanwhile("/commit/", lambda: hub.commit("model", THEIRS, {"a": b""}, revision="refs/pr/1"))
    with pytest.raises(NetworkError, match="changed while it was being written"):
        propose(ours, publication(0.75))
    assert propose(ours, publication(0.75)).pull == 1


@pytest.mark.parametrize("status", ["closed", "merged"])
def test_a_pull_request_that_ended_meanwhile(hub: LoopbackHub, ours: Hub, status: Any) -> None:
    hub.add("model", THEIRS, {"README.md": PROSE})
    propose(ours)
    hub.meanwhile("/commit/", lambda: hub.end("model", THEIRS, 1, status))
    with pytest.raises(AccessError, match=f"#1 of {THEIRS} was {status} meanwhile") as refused:
        propose(ours, publication(0.75))
    assert "nothing was written" in str(refused.value.why)
    assert len(hub.pulls("model", THEIRS)) == 1


@pytest.mark.parametrize("step", ["/resolve/", "validate-yaml", "preupload", "/commit/"])
def test_a_repository_that_vanished_meanwhile(hub: LoopbackHub, ours: Hub, step: str) -> None:
    hub.add("model", OWN, {"README.md": PROSE})
    hub.meanwhile(step, lambda: hub.remove("model", OWN))
    with pytest.raises(NotFoundError, match=OWN):
        ours.push(OWN, publication())
    assert not [path for path in writes(hub) if "/create" in path], "it is not made anew"


# --- cards that cannot be kept ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("readme", "words"),
    [
        (b"---\nfoo: [\n---\nmine", "metadata of the card cannot be read"),
        (b"---\n- a\n---\nmine", "metadata of the card cannot be read"),
        ("# Schön".encode("latin-1"), "is not UTF-8"),
        (b"x" * ((1 << 20) + 1), "too large"),
    ],
)
def test_a_card_that_cannot_be_kept_is_left_alone(
    hub: LoopbackHub, ours: Hub, readme: bytes, words: str
) -> None:
    hub.add("model", OWN, {"README.md": readme})
    for how in ({"dry_run": True}, {}, {"create_pr": True}):
        with pytest.raises(DataError, match=words) as refused:
            ours.push(OWN, publication(), **how)
        assert OWN in str(refused.value)
    assert not writes(hub)


def test_metadata_that_the_hub_refuses(hub: LoopbackHub, ours: Hub) -> None:
    said = {"errors": [{"message": '"license" must be one of [apache-2.0]\nand so on'}], "warnings": []}
    hub.fail(400, "validate-yaml", body=json.dumps(said).encode())
    hub.add("model", OWN, {})
    with pytest.raises(DataError, match="does not accept the metadata") as refused:
        ours.push(OWN, publication())
    assert refused.value.why == '"license" must be one of [apache-2.0]'
    assert commits(hub) == ["initial commit"]


def test_what_the_hub_remarks_is_noted(
    hub: LoopbackHub, ours: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    said = {"errors": [], "warnings": [{"message": "empty \x1b[31mmetadata"}]}
    hub.fail(200, "validate-yaml", body=json.dumps(said).encode())
    done = ours.push(OWN, publication())
    assert done.notes == ("The Hub remarks: empty \\x1b[31mmetadata",)
    assert "metadata" not in capsys.readouterr().err


def test_a_file_that_is_gone(hub: LoopbackHub, ours: Hub, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="gone"):
        ours.push(OWN, publication(files={"head": tmp_path / "gone"}))
    assert not writes(hub)


# --- faults -----------------------------------------------------------------------------------------------

ANSWERS = {"hangs up": (0, b""), "is broken": (502, b"<html>"), "is no Hub": (200, b"<html>log in</html>")}


def test_a_large_file_that_cannot_be_uploaded_is_an_error_of_the_network(hub: LoopbackHub, ours: Hub) -> None:
    hub.fail(503, r"/lfs/|/upload", method="PUT", times=None)
    with pytest.raises(NetworkError) as error:
        ours.push(OWN, publication(files={"model.safetensors": b"x" * 99}))
    assert "503" in f"{error.value} {error.value.why}"
    assert "README.md" not in hub.files("model", OWN)
    hub.recover()
    assert ours.push(OWN, publication(files={"model.safetensors": b"x" * 99})).commit


def scenes(hub: LoopbackHub) -> dict[str, tuple[str, dict[str, Any]]]:
    """What is pushed to: repository and arguments, by what it is."""
    hub.add("model", "alice/there", {"README.md": PROSE})
    hub.add("model", THEIRS, {"README.md": PROSE})
    hub.add("model", "bob/open", {"README.md": PROSE})
    theirs = {"create_pr": True}
    return {
        "new": ("alice/new", {}),
        "own": ("alice/there", {}),
        "theirs": (THEIRS, theirs | {"agreed": THEIRS}),
        "again": ("bob/open", theirs | {"agreed": "bob/open"}),
    }


def written(hub: LoopbackHub, repo_id: str) -> int:
    """How often the card with this number was written, in whichever place."""
    if ("model", repo_id) not in hub._repos:
        return 0
    repo = hub._repos["model", repo_id]
    return sum(
        commit.title == TITLE and b"F1 0.75" in commit.files.get("README.md", b"")
        for commit in repo.commits.values()
    )


@pytest.mark.parametrize("late", [False, True], ids=["before it is done", "after it is done"])
@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("scene", ["new", "own", "theirs", "again"])
def test_whatever_fails_it_is_written_once_or_not_at_all_and_the_error_is_true(
    hub: LoopbackHub, tmp_path: Path, scene: str, answer: str, late: bool
) -> None:
    status, body = ANSWERS[answer]
    what = publication(0.75, files={".eval_results/run.yaml": b"[]"})
    step, failed, met = 0, 0, True
    while met:
        hub.recover()
        hub._repos.clear()
        repo_id, how = scenes(hub)[scene]
        ours = Hub(hub.url, tmp_path / f"{step}")
        if scene == "again":
            ours.push(repo_id, publication(0.5), **how)
        hub.fail(status, body=body, late=late, skip=step)
        raised: ZooError | None = None
        try:
            done = ours.push(repo_id, what, **how)
        except NetworkError as error:
            raised, failed = error, failed + 1
        met, step = hub._faults[0].left == 0, step + 1
        assert written(hub, repo_id) == (raised is None), raised
        assert len(hub.pulls("model", repo_id) if ("model", repo_id) in hub._repos else []) <= 1
        if raised:
            assert_tame(raised)
        else:
            files = hub.files("model", repo_id, "refs/pr/1" if how else "main")
            assert (b"F1 0.75" in files["README.md"], files[".eval_results/run.yaml"]) == (True, b"[]")
            assert done.commit
        hub.recover()
        ours.push(repo_id, what, **how)
        assert written(hub, repo_id) == 1, "the same command again ends well, and writes nothing twice"
    assert step > 6
    assert failed or late


@pytest.mark.parametrize("scene", ["new", "own", "theirs", "again"])
@pytest.mark.parametrize("answer", ANSWERS)
def test_an_answer_that_was_lost_is_looked_for(hub: LoopbackHub, ours: Hub, scene: str, answer: str) -> None:
    repo_id, how = scenes(hub)[scene]
    if scene == "again":
        ours.push(repo_id, publication(0.5), **how)
    hub.clear()
    hub.fail(*ANSWERS[answer][:1], "/commit/", body=ANSWERS[answer][1], late=True)
    done = ours.push(repo_id, publication(0.75), **how)
    assert any("answer was lost" in note for note in done.notes)
    assert done.commit == hub.sha("model", repo_id, "refs/pr/1" if how else "main")
    assert written(hub, repo_id) == 1
    assert len([path for path in writes(hub) if "/commit/" in path]) == 1
    assert (done.url or "").endswith("/discussions/1" if how else f"/commit/{done.commit}")


def test_what_cannot_be_known_is_not_claimed(hub: LoopbackHub, ours: Hub) -> None:
    hub.add("model", OWN, {"README.md": PROSE})
    hub.fail(0, "/commit/", late=True)
    hub.fail(403, "/commits/")
    with pytest.raises(NetworkError, match="not known whether") as unknown:
        ours.push(OWN, publication())
    assert "again" in str(unknown.value.fix)
    assert ours.push(OWN, publication()).files == {}
    assert commits(hub) == [TITLE, "initial commit"]


def test_somebody_elses_commit_is_not_taken_for_ours(hub: LoopbackHub, ours: Hub) -> None:
    hub.add("model", OWN, {"README.md": PROSE})
    hub.meanwhile("/commit/", lambda: hub.commit("model", OWN, {"a": b""}, message="Hello"))
    hub.fail(502, "/commit/")
    with pytest.raises(NetworkError) as refused:
        ours.push(OWN, publication())
    assert "nothing was written" in str(refused.value.why)


def test_a_repository_that_was_made_before_the_failure_is_named(hub: LoopbackHub, ours: Hub) -> None:
    hub.fail(502, "/commit/")
    with pytest.raises(NetworkError) as refused:
        ours.push(OWN, publication())
    assert f"{OWN} may have been made" in str(refused.value.why)


# --- hostile text -----------------------------------------------------------------------------------------


def assert_tame(error: ZooError) -> None:
    """What is raised is short, of one line a part, and of characters that only show."""
    for part in (error.message, error.why, error.fix):
        assert part is None or (part.isprintable() and len(part) < 700), part


SIGNS = "ab\x1b[31m\n\r\x00\x85\u2028\u202e|<>&\"'`/.-²é"
LATIN = st.characters(codec="latin-1", exclude_characters="\r\n\x00", exclude_categories=["Zs"])
hostile = st.text(st.sampled_from(SIGNS), min_size=1, max_size=400)


@STEADY
@given(
    said=st.text(LATIN, max_size=900),
    body=st.one_of(hostile.map(str.encode), st.just(json.dumps({"error": "x\ny" * 900}).encode())),
    status=st.sampled_from([200, 400, 401, 403, 404, 408, 409, 412, 418, 429, 500]),
    step=st.integers(0, 8),
    pause=st.sampled_from(["", "1", "²", "9" * 400, "-1", "soon"]),
)
def test_what_the_server_says_is_cut_to_a_line(
    said: str, body: bytes, status: int, step: int, pause: str
) -> None:
    with pytest.MonkeyPatch.context() as patch, LoopbackHub() as running, TemporaryDirectory() as cache:
        patch.setenv("HF_TOKEN", WRITE_TOKEN)
        patch.setattr("zookeeper.hub.client.sleep", lambda _: None)
        running.add("model", OWN, {"README.md": PROSE})
        headers = {"Retry-After": pause} | ({"X-Error-Message": said} if said else {})
        running.fail(status, skip=step, times=None, headers=headers, body=body)
        try:
            Hub(running.url, Path(cache)).push(OWN, publication())
        except ZooError as error:
            assert_tame(error)


@settings(STEADY, max_examples=100)
@given(name=hostile, owner=st.sampled_from(["alice/", "bob/", ""]))
def test_what_was_typed_is_cut_to_a_line(name: str, owner: str) -> None:
    with pytest.raises(ZooError) as refused:
        Hub("http://127.0.0.1:9", Path("unused")).push(owner + name, publication())
    assert_tame(refused.value)


# --- benchmarks, repositories -----------------------------------------------------------------------------

EXAM = b"name: Exam\ntasks:\n- id: easy\n- {id: hard, split: test}\n- id: easy\n"
OFFICIAL = {"tags": ["benchmark:official"]}


@pytest.mark.parametrize(
    ("files", "info", "tasks"),
    [
        ({"eval.yaml": EXAM}, OFFICIAL, ("easy", "hard")),
        ({"eval.yaml": EXAM}, {}, ()),
        ({}, OFFICIAL, ()),
        ({"eval.yaml": b"tasks: [1, {id: 2}, {id: [a]}, null]"}, OFFICIAL, ()),
        ({"eval.yaml": b"tasks: {id: a}"}, OFFICIAL, ()),
        ({"eval.yaml": b"\xff: ["}, OFFICIAL, ()),
        ({"eval.yaml": b"!!python/object:os.system {}"}, OFFICIAL, ()),
    ],
)
def test_tasks_of_a_benchmark(
    hub: LoopbackHub, ours: Hub, files: dict[str, bytes], info: dict[str, Any], tasks: tuple[str, ...]
) -> None:
    hub.add("dataset", "org/exam", files, info=info, alias="exam")
    hub.add("dataset", "org/exam2", {"eval.yaml": EXAM}, info=OFFICIAL)
    assert ours.benchmark_tasks("org/exam") == tasks
    assert ours.benchmark_tasks("exam") == tasks
    with pytest.raises(NotFoundError):
        ours.benchmark_tasks("org/nothing")


@pytest.mark.parametrize("kind", ["model", "dataset"])
def test_a_repository_is_resolved_with_all_its_files(hub: LoopbackHub, ours: Hub, kind: Any) -> None:
    files = {"README.md": b"hello", "data/a.parquet": b"12345", "code.py": b"print()"}
    first = hub.add(kind, "org/any", files)
    hub.commit(kind, "org/any", {"data/a.parquet": b"other"})
    there = ours.repository("org/any", first, kind=kind)
    assert (there.revision.commit, {file.path: file.size for file in there.files}) == (
        first,
        {path: len(data) for path, data in files.items()},
    )
    wanted = tuple(file for file in there.files if file.path.endswith(".parquet"))
    folder = ours.fetch(there.revision, wanted, kind=kind)
    assert (folder / "data/a.parquet").read_bytes() == b"12345"
    assert ours.repository("org/any", kind=kind).revision.commit == hub.sha(kind, "org/any")
