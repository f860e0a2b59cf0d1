"""From what is stored to what others read: cards, and what is written to repositories."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from zookeeper.errors import AccessError, DataError, IntegrityError, NotFoundError, UsageError
from zookeeper.publications import CardText, EvalCard, Finding, Publication
from zookeeper.records import Target
from zookeeper.reporter import Reporter
from zookeeper.results import Comparison, Estimate, Ranking, Run, Selection, Trial, metric_title
from zookeeper.runner import Runner
from zookeeper.sections import left_out, spliced
from zookeeper.settings import Settings
from zookeeper.store import Store
from zookeeper.store.files import disk, write

if TYPE_CHECKING:
    from zookeeper.auditing import Audit
    from zookeeper.hub import Hub

Results = Literal["auto", "model-index", "eval-results", "both", "none"]
"""Where the numbers of a run go beside the text: `.eval_results` too where they are of the whole test split
of a task of a benchmark; or as it says."""

Subject = Run | Ranking | Selection


class Publisher:
    """Writes cards, and pushes what they are of.

    Args:
        settings: of the zoo.
        store: of the zoo.
        runner: knows what trials learned.
        hub: gives the Hub; called only when something is published.
        reporter: told what is left out.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        runner: Runner,
        hub: Callable[[], Hub],
        reporter: Reporter,
    ) -> None:
        self._settings, self._store, self._runner = settings, store, runner
        self._hub, self._reporter = hub, reporter

    def card(self, subject: Subject, title: str | None = None, repo_id: str | None = None) -> CardText:
        """What the card of something says."""
        from zookeeper import cards

        title = title or (repo_id.split("/")[-1] if repo_id else _title(subject))
        if isinstance(subject, Run):
            return cards.run_card(self._evaluated(subject, title, repo_id))
        if isinstance(subject, Ranking):
            return cards.ranking_card(subject, title)
        return cards.selection_card(subject, title)

    def comparison(self, run: Run) -> Comparison | None:
        """Of that run with other ensembles, if there was one."""
        latest = self._store.load_note("comparison", Comparison)
        if latest is not None and latest.run == run.id:
            return latest
        return self._store.load_note(f"comparison-{run.id}", Comparison)

    def save(self, subject: Subject, path: Path, title: str | None = None) -> tuple[Path, ...]:
        """Write a card into a file, around what else stands there, with its pictures beside it.

        Returns:
            What was written.

        Raises:
            DataError: the file is there and is no card that can be kept.
            StorageError: the disk refuses.
        """
        if path.is_dir() or path.suffix.lower() not in ("", ".md", ".markdown"):
            raise UsageError(f"{path} is no file for Markdown.", fix="-o README.md")
        old, card = _text(path), self.card(subject, title)
        pictures = self._pictures(subject)
        write(path, spliced(old, card).encode())
        if kept := left_out(old, card):
            self._reporter.note(f"The card keeps its own {', '.join(kept)}; zoo's are left out.")
        for name, data in pictures.items():
            write(path.parent / name, data)
        return (path, *(path.parent / name for name in pictures))

    def check(
        self, subject: Subject, path: Path | None = None, title: str | None = None
    ) -> tuple[Finding, ...]:
        """What is wrong with a card: the one in a file, or the one that would be made.

        Raises:
            IntegrityError: its numbers do not follow from what is stored.
        """
        from zookeeper import cards

        if isinstance(subject, Run):
            self._audit(subject).check()
        if path is None:
            card = self.card(subject, title)
            return cards.check(spliced("", card), card)
        if not path.exists():
            raise NotFoundError(f"there is no card {path}.", fix="zoo card … -o FILE writes one")
        text = _text(path)
        heading, repo_id = cards.subject_of(text)
        return cards.check(text, self.card(subject, title or heading, repo_id))

    def publication(
        self, subject: Subject, repo_id: str, *, own: bool = True, results: Results = "auto"
    ) -> Publication:
        """What is written to a repository: all there is to one's own, the results alone to another's.

        Args:
            subject: what it is of.
            repo_id: the repository.
            own: whether it is one's own.
            results: where numbers go.

        Raises:
            IntegrityError: the numbers do not follow from what is stored.
            AccessError: the repository is somebody else's, and not the one checkpoint that was tuned.
        """
        members = [m.revision.repo_id for m in subject.members] if isinstance(subject, Run) else []
        if not own and members != [repo_id]:
            raise AccessError(
                f"{repo_id} is not yours, and this is no result of what is in it alone.",
                fix="push it to a repository of your own",
            )
        if isinstance(subject, Run):
            self._audit(subject).check()
            return self._own(subject, repo_id, results) if own else self._others(subject, repo_id, results)
        from zookeeper import cards

        kind = "ranking" if isinstance(subject, Ranking) else "selection"
        files = {f"{kind}.json": cards.record_file(subject), f"{kind}.csv": cards.table_file(subject)}
        return Publication("dataset", _title(subject), self.card(subject, repo_id=repo_id), files)

    def _own(self, run: Run, repo_id: str, results: Results) -> Publication:
        from zookeeper import cards

        card = self._evaluated(run, repo_id.split("/")[-1], repo_id)
        files = {
            cards.weights_name(run): cards.weights_file(run, self._runner.published(run)),
            "run.json": cards.run_file(run),
            **self._pictures(run),
            **self._benchmark(card, results),
        }
        return Publication("model", _subject(run), _with_results(cards.run_card(card), results), files)

    def _others(self, run: Run, repo_id: str, results: Results) -> Publication:
        """No word of prose, no weights: one block of metadata, or one file."""
        from zookeeper import cards

        card = self._evaluated(run, repo_id.split("/")[-1], repo_id)
        files = self._benchmark(card, results)
        text = _with_results(cards.run_card(card), "eval-results" if files and results == "auto" else results)
        index = {name: value for name, value in text.metadata.items() if name == "model-index"}
        return Publication("model", _subject(run), CardText(index, ""), files, account=cards.account_of(card))

    def _benchmark(self, card: EvalCard, results: Results) -> dict[str, bytes]:
        """The results of a run in the form of benchmarks, by path."""
        from zookeeper import cards

        target = card.run.target
        if results in ("model-index", "none") or target.local:
            return {}
        tasks = self._hub().benchmark_tasks(target.dataset)
        if results == "auto" and (len(_tasks_meant(target, tasks)) != 1 or not _on_whole_test(card.run)):
            return {}
        meant = _tasks_meant(target, tasks or (target.config or "default",))
        if len(meant) != 1:
            raise UsageError(
                f"{target.dataset} is a benchmark of several tasks, and it is not known which this is.",
                why=f"they are: {', '.join(meant)}",
                fix="--results model-index",
            )
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", target.dataset)
        return {f".eval_results/{name}.yaml": cards.benchmark_results(card, meant[0])}

    def _evaluated(self, run: Run, title: str, repo_id: str | None) -> EvalCard:
        return EvalCard(run, title, repo_id, self._intervals(run), self.comparison(run))

    def _intervals(self, run: Run) -> Mapping[str, Estimate]:
        """None where what they are made of is gone, or the metric is none of ours and takes too long."""
        from zookeeper.tuning.metrics import METRICS

        if run.metric not in METRICS:
            return {}
        try:
            return self._audit(run).intervals()
        except (NotFoundError, IntegrityError):
            return {}

    def _audit(self, run: Run) -> Audit:
        from zookeeper.auditing import Audit, read_of
        from zookeeper.tuning.metrics import Judge

        make = partial(Judge.recorded, script=run.request.script) if run.request else Judge.of
        judge = make(run.metric, run.target.classes, run.target.kind, offline=self._settings.offline)
        return Audit(run, judge, lambda one: self._store.arrays(Trial, one.key.digest, read_of(one)))

    def _pictures(self, subject: Subject) -> dict[str, bytes]:
        """Those that the card of a run shows, by name."""
        if not isinstance(subject, Run):
            return {}
        from zookeeper import cards, pictures

        comparison = self.comparison(subject)
        draw = {
            "learning.png": partial(pictures.draw_curve, subject),
            **({"comparison.png": partial(pictures.draw_comparison, comparison)} if comparison else {}),
        }
        names = cards.pictures_of(EvalCard(subject, "", comparison=comparison))
        with tempfile.TemporaryDirectory(prefix="zoo-pictures-") as folder:
            paths = {name: Path(folder) / name for name in names}
            for name, path in paths.items():
                draw[name](path)
            return {name: path.read_bytes() for name, path in paths.items()}


def _tasks_meant(target: Target, tasks: Sequence[str]) -> Sequence[str]:
    """Those tasks of a benchmark that a target may be."""
    return [task for task in tasks if task == target.config] or tasks


def _on_whole_test(run: Run) -> bool:
    """Whether all of the test split was measured on, as a benchmark means it."""
    read = run.target.examples.get("test")
    return "test" in run.results and read == run.target.available.get("test", read)


def _title(subject: Subject) -> str:
    """What something goes by where nobody named it."""
    if isinstance(subject, Run):
        return f"{_last(subject.target.dataset)}-zoo{len(subject.members)}"
    if isinstance(subject, Ranking):
        return f"{_last(subject.target.dataset)}-ranking"
    of = f"{_last(subject.target.dataset)}-" if subject.target else ""
    return f"{of}selection-of-{len(subject.picks)}"


def _last(dataset: str) -> str:
    return dataset.split("/")[-1]


def _subject(run: Run) -> str:
    return f"{metric_title(run.metric)} on {run.target.dataset}, run {run.id}"


def _with_results(card: CardText, results: Results) -> CardText:
    """A card whose metadata hold results, or do not."""
    if results not in ("eval-results", "none"):
        return card
    return CardText({k: v for k, v in card.metadata.items() if k != "model-index"}, card.body)


def _text(path: Path) -> str:
    """The text of a file to the byte; nothing where there is none.

    Raises:
        DataError: it is not UTF-8.
    """
    if not path.exists():
        return ""
    try:
        with disk(path):
            return path.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8.", why=str(error), fix="convert it, or remove it") from error
