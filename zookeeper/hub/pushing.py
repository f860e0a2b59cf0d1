"""One commit with a card and files: to one's own repository or, by pull request, to somebody else's.

A commit is asked for once. Where the answer to it is lost, the repository is looked at for a commit of that
title on that parent before anything is said of it.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from huggingface_hub import CommitOperationAdd
from huggingface_hub.errors import LocalTokenNotFoundError
from huggingface_hub.hf_api import CommitInfo

from zookeeper.errors import AccessError, DataError, NetworkError, ZooError
from zookeeper.hub import rights
from zookeeper.hub.changes import Change, Standing
from zookeeper.hub.client import Client
from zookeeper.hub.faults import FOREIGN, status_of, unanswered
from zookeeper.hub.places import MAIN, Place, Pull
from zookeeper.hub.rights import Account
from zookeeper.plain import brief
from zookeeper.publications import Publication, Push
from zookeeper.records import is_commit
from zookeeper.sections import metadata_of

TITLE = "zookeeper: "
"""What the title of every commit and pull request of zoo begins with; by it they are found again."""

_LONGEST_TITLE = 150
_REMARK = "Warnings while validating metadata in README.md:"


@dataclass(frozen=True, slots=True)
class Errand:
    """What to write, and how; see `Hub.push`."""

    publication: Publication
    create_pr: bool
    private: bool
    agreed: str | None
    dry_run: bool

    @property
    def title(self) -> str:
        """What the commit and the pull request are called."""
        subject = " ".join(self.publication.subject.split())
        return TITLE + brief(subject, _LONGEST_TITLE).strip()


def account_of(client: Client) -> Account | None:
    """Whom the token stands for; None where there is none.

    Raises:
        AccessError: the token is invalid.
        NetworkError: the Hub cannot be reached.
    """

    def ask() -> Account | None:
        try:
            return Account.of(client.api.whoami(cache=True))
        except LocalTokenNotFoundError:
            return None

    return client.ask("who you are", ask)


def push(place: Place, errand: Errand) -> Push:
    """Write what is not there yet; see `Hub.push`."""
    account = account_of(place.client)
    if not errand.dry_run:
        rights.check_token(account, place.client.endpoint)
    main = place.standing_or_none()
    foreign = account is not None and not account.owns(place.repo_id)
    _check(place, main, errand, foreign=foreign)
    pull = _own_pull(place, account, foreign=foreign) if errand.create_pr and account else None
    base = place.standing(pull.ref) if pull else main
    with _about(place):
        for card in (there.card for there in (main, base) if there and errand.create_pr):
            rights.check_invitation(place.repo_id, metadata_of(card))
        change = Change.of(base, errand.publication)
    plan = Push(
        repo_id=place.repo_id,
        kind=place.kind,
        created=main is None,
        private=main.private if main else errand.private,
        files=change.sizes,
        diff=change.diff,
        dry_run=errand.dry_run,
        proposed=errand.create_pr,
        pull=pull.number if pull else None,
        notes=(*_notes(account, errand), *change.notes),
    )
    if base and not change.files:
        return replace(plan, url=place.url(pull.page if pull else ""), commit=base.revision.commit)
    if errand.dry_run or account is None:
        return plan
    with _noting_what_was_made(place, made=base is None):
        if base is None:
            place.make(private=errand.private)
            base = place.standing()
            change = Change.of(base, errand.publication)
        receipt = _Commit(place, errand, account, base, change, pull).receipt()
    return replace(
        plan,
        files=change.sizes,
        diff=change.diff,
        url=place.url(receipt.page),
        commit=receipt.commit,
        notes=(*plan.notes, *receipt.notes),
    )


def _check(place: Place, main: Standing | None, errand: Errand, *, foreign: bool) -> None:
    """Refuse what can be known to be wrong before anything is written."""
    if foreign:
        rights.check_proposal(place.repo_id, errand.publication.files, create_pr=errand.create_pr)
    if main is None and (foreign or errand.create_pr):
        raise place.missing()
    if foreign and not errand.dry_run:
        rights.check_consent(place.repo_id, errand.agreed)


def _own_pull(place: Place, account: Account, *, foreign: bool) -> Pull | None:
    """The open pull request of this account that zoo made.

    Raises:
        AccessError: somebody else declined one for good, by closing it.
    """
    ours = place.pulls(account.name, TITLE)
    declined = next((pull for pull in ours if pull.status == "closed"), None)
    if foreign and declined:
        raise AccessError(
            f"{place.repo_id} takes no pull requests by zoo.",
            why=f"pull request #{declined.number} was closed without being merged",
            fix=f"talk to its owner there: {place.url(declined.page)}",
        )
    return next((pull for pull in ours if pull.is_open), None)


def _notes(account: Account | None, errand: Errand) -> list[str]:
    """What a dry run has to say of the account that a push would be refused for."""
    if account is None:
        return ["You are not logged in: this is what the owner would see."]
    return [] if account.may_write else ["Your token may read only: to write, it takes another."]


@contextmanager
def _about(place: Place) -> Iterator[None]:
    """Say whose card it is that cannot be read."""
    try:
        yield
    except DataError as error:
        raise DataError(f"{place.what}: {error.message}", why=error.why, fix=error.fix) from error


@contextmanager
def _noting_what_was_made(place: Place, *, made: bool) -> Iterator[None]:
    """Say with an error that the repository was made before it."""
    try:
        yield
    except ZooError as error:
        if made:
            error.why = _joined(error.why, f"{place.repo_id} may have been made, and has no card yet")
        raise


def _joined(*reasons: str | None) -> str:
    return "; ".join(reason for reason in reasons if reason)


@dataclass(frozen=True, slots=True)
class _Receipt:
    """What became of a commit.

    Attributes:
        commit: 40 hex digits.
        page: where people look at it, below the page of the repository.
        notes: what a reader should know.
    """

    commit: str
    page: str
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, commit: str, pull: Pull | None, *notes: str) -> _Receipt:
        """Of a commit in a pull request, or on main."""
        return cls(commit, pull.page if pull else f"commit/{commit}", notes)


@dataclass(frozen=True, slots=True)
class _Commit:
    """A commit that is asked for once.

    Attributes:
        place: where to.
        errand: what for.
        account: by whom.
        base: what it changes.
        change: how.
        pull: the pull request that it goes into; None for main, or a new one.
    """

    place: Place
    errand: Errand
    account: Account
    base: Standing
    change: Change
    pull: Pull | None

    @property
    def opens(self) -> bool:
        """Whether it opens a pull request."""
        return self.errand.create_pr and self.pull is None

    def receipt(self) -> _Receipt:
        """Ask for it, and find out what became of it.

        Raises:
            AccessError: no rights; or the pull request was closed meanwhile.
            NetworkError: the branch moved, the Hub refuses, or it is not known what it did.
        """
        try:
            return self.place.ask(self._asked, once=True)
        except ZooError as error:
            if unanswered(error):
                return self._looked_for(error)
            if ended := self._ended():
                raise AccessError(
                    f"pull request #{ended.number} of {self.place.repo_id} was {ended.status} meanwhile.",
                    why="nothing was written, and zoo opens no second one by itself",
                    fix=f"look at {self.place.url(ended.page)}",
                ) from error
            if self.opens and status_of(error.__cause__) == 403:
                raise AccessError(
                    f"{self.place.repo_id} did not take a pull request.",
                    why=error.why,
                    fix="its owner may have turned them off; if not, check your token's rights",
                ) from error
            raise

    def _asked(self) -> _Receipt:
        with warnings.catch_warnings(record=True) as remarks, _uploading():
            warnings.filterwarnings("always", message=_REMARK)
            info: CommitInfo = self.place.client.api.create_commit(
                self.place.repo_id,
                [CommitOperationAdd(path, content) for path, content in self.change.files.items()],
                commit_message=self.errand.title,
                commit_description=self._text,
                repo_type=self.place.kind,
                revision=self.pull.ref if self.pull else MAIN,
                create_pr=self.opens,
                parent_commit=self.base.revision.commit,
            )
        if not is_commit(info.oid) or (self.opens and not info.pr_num):
            raise ValueError("it does not say which commit it made")
        pull = Pull(info.pr_num, "open") if info.pr_num else self.pull
        return _Receipt.of(info.oid, pull, *_remarks(remarks))

    @property
    def _text(self) -> str:
        publication = self.errand.publication
        return rights.invitation(self.account, publication) if self.errand.create_pr else publication.account

    def _looked_for(self, error: ZooError) -> _Receipt:
        """What became of it, where the answer was lost."""
        try:
            found = self._found()
        except ZooError as trouble:
            raise NetworkError(
                f"it is not known whether {self.place.what} was written to.",
                why=_joined(error.message.rstrip("."), trouble.message.rstrip(".")),
                fix="run the same command again: what is there by then is not written twice",
            ) from error
        if found is None:
            error.why = _joined(error.why, "nothing was written")
            raise error
        return found

    def _found(self) -> _Receipt | None:
        pull = self._own_open_pull() if self.opens else self.pull
        if self.opens and pull is None:
            return None
        branch = pull.ref if pull else MAIN
        commit = self.place.child(self.base.revision.commit, self.errand.title, branch)
        note = "The Hub's answer was lost on the way; what was written is there."
        return _Receipt.of(commit, pull, note) if commit else None

    def _own_open_pull(self) -> Pull | None:
        ours = self.place.pulls(self.account.name, self.errand.title)
        return next((pull for pull in ours if pull.is_open), None)

    def _ended(self) -> Pull | None:
        """The pull request that it was to go into, if that is known not to be open any more."""
        if self.pull is None:
            return None
        try:
            ours = self.place.pulls(self.account.name, TITLE)
        except ZooError:
            return None
        return next((pull for pull in ours if pull.number == self.pull.number and not pull.is_open), None)


@contextmanager
def _uploading() -> Iterator[None]:
    """Raise what a large file failed by, not that it failed."""
    try:
        yield
    except RuntimeError as error:
        if isinstance(error.__cause__, FOREIGN):
            raise error.__cause__ from error
        raise


def _remarks(caught: list[warnings.WarningMessage]) -> Iterator[str]:
    """What the Hub remarks on a card that it takes."""
    for remark in caught:
        text = str(remark.message)
        if text.startswith(_REMARK):
            yield f"The Hub remarks: {brief(text.removeprefix(_REMARK)).removeprefix('- ')}"
