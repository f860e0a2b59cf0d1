"""`zoo rank` against transformer-ranker, in processor time of whole processes, one thread each.

    ZOO_PEER_PYTHON=PEER/bin/python python -m tests.bench.bench_rank FILE.conll CHECKPOINT... [--pairs N]

ZOO_PEER_PYTHON names an interpreter with transformer-ranker; without it, `zoo rank` alone is measured. Both
read all sentences of the file with the same checkpoints, in turn: the peer once for each of its scores,
`zoo rank` once for one score and once for all, each time with a new zoo, then the same again, warm. The
time to import is taken off both: that of a process which imports what such a run had imported.
"""

from __future__ import annotations

import argparse
import os
import resource
import shlex
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

# Of each score what zoo calls it and what the peer does; the first is the one of the comparison of one.
SCORES = {"hscore": "hscore", "logme": "logme", "knn": "knn"}

ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
}

# Runs a program and then writes down, in order, what it imported.
RECORD = """
import atexit, pathlib, runpy, sys
atexit.register(lambda file: file.write_text("\\n".join(sys.modules)), pathlib.Path(sys.argv.pop(1)))
"""

ZOO = """
sys.argv[0] = "zoo"
runpy.run_module("zookeeper", run_name="__main__")
"""

IMPORT = """
import importlib, sys
for name in open(sys.argv[1]).read().split("\\n"):
    if name not in sys.modules and name != "__main__":
        try:
            importlib.import_module(name)
        except Exception:
            pass
"""

PEER = """
import sys
from datasets import ClassLabel, Dataset, Features, List, Value
from transformer_ranker import TransformerRanker

path, score, *folders = sys.argv[1:]
with open(path, encoding="utf-8") as file:
    sentences = [[line.split() for line in part.splitlines()] for part in file.read().strip().split("\\n\\n")]
names = sorted({row[-1] for rows in sentences for row in rows})
number = {name: i for i, name in enumerate(names)}
data = Dataset.from_dict(
    {
        "tokens": [[row[0] for row in rows] for rows in sentences],
        "tags": [[number[row[-1]] for row in rows] for rows in sentences],
    },
    features=Features({"tokens": List(Value("string")), "tags": List(ClassLabel(names=names))}),
)
ranker = TransformerRanker(data, dataset_downsample=None, remove_bio_encoding=False)
ranker.run(folders, batch_size=32, estimator=score, layer_aggregator="layermean", device="cpu")
"""


@dataclass(frozen=True)
class Side:
    """One of the two programs, and where it runs."""

    python: str
    environment: dict[str, str]

    def seconds(self, *arguments: str) -> float:
        """Processor time of an interpreter with these arguments, and of its children.

        Raises:
            SystemExit: it failed.
        """
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            [self.python, *arguments],
            env=os.environ | ONE_THREAD | self.environment,
            capture_output=True,
            text=True,
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        if done.returncode:
            sys.exit(f"{done.stdout}\n{done.stderr}\nfailed: {arguments[-1]}")
        return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


class Zoo:
    """`zoo rank` with a new zoo."""

    def __init__(self, file: Path, folders: list[str], scratch: Path, more: list[str]) -> None:
        self._folders = folders
        self._scratch = scratch
        self._side = Side(sys.executable, {})
        self._imports = scratch / "zoo-imports.txt"
        self._rank = ["rank", "-t", str(file), "--max-examples", "0", "--layer", "mean", *more]

    def prepare(self, scores: list[str]) -> None:
        """Find out what a run imports."""
        self._cold(scores, "-c", RECORD + ZOO, str(self._imports))

    def imports(self) -> float:
        """Seconds to import."""
        return self._side.seconds("-c", IMPORT, str(self._imports))

    def cold_and_warm(self, scores: list[str]) -> tuple[float, float]:
        """Seconds of a run that reads the checkpoints, and of the same run once more."""
        cold, side = self._cold(scores, "-m", "zookeeper")
        return cold, side.seconds("-m", "zookeeper", *self._rank, *self._options(scores))

    def _cold(self, scores: list[str], *program: str) -> tuple[float, Side]:
        home = tempfile.mkdtemp(dir=self._scratch)
        side = replace(self._side, environment={"ZOO_HOME": f"{home}/zoo", "ZOO_CACHE": f"{home}/cache"})
        side.seconds("-m", "zookeeper", "add", *self._folders)
        return side.seconds(*program, *self._rank, *self._options(scores)), side

    @staticmethod
    def _options(scores: list[str]) -> list[str]:
        return [part for score in scores for part in ("--score", score)]


class Peer:
    """transformer-ranker."""

    def __init__(self, python: str, file: Path, folders: list[str], scratch: Path) -> None:
        self._file, self._folders = str(file), folders
        self._side = Side(python, {"HF_HOME": str(scratch / "hf")})
        self._imports = scratch / "peer-imports.txt"

    def prepare(self) -> None:
        """Find out what a run imports."""
        score = next(iter(SCORES.values()))
        self._side.seconds("-c", RECORD + PEER, str(self._imports), self._file, score, *self._folders)

    def imports(self) -> float:
        """Seconds to import."""
        return self._side.seconds("-c", IMPORT, str(self._imports))

    def run(self, score: str) -> float:
        """Seconds of a run with one of its scores."""
        return self._side.seconds("-c", PEER, self._file, score, *self._folders)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("file", type=Path, help=".conll file, the word first and the label last in a line")
    parser.add_argument("checkpoints", nargs="+", help="folders")
    parser.add_argument("--pairs", type=int, default=3, help="of runs [default: 3]")
    parser.add_argument("--scores", default=",".join(SCORES), help="that are compared, with commas between")
    parser.add_argument("--zoo-options", default="", help='more of zoo rank, such as "--bootstrap 0"')
    options = parser.parse_args()
    file = options.file.resolve()
    folders = [str(Path(folder).resolve()) for folder in options.checkpoints]
    scores = options.scores.split(",")
    with tempfile.TemporaryDirectory() as scratch:
        zoo = Zoo(file, folders, Path(scratch), shlex.split(options.zoo_options))
        zoo.prepare(scores)
        interpreter = os.environ.get("ZOO_PEER_PYTHON")
        peer = Peer(interpreter, file, folders, Path(scratch)) if interpreter else None
        if peer:
            peer.prepare()
        rows = [_pair(zoo, peer, scores) for _ in range(options.pairs)]
    _print(rows, scores)


def _pair(zoo: Zoo, peer: Peer | None, scores: list[str]) -> dict[str, float]:
    """Seconds of everything, once, in turn."""
    row = {"zoo imports": zoo.imports()}
    if peer:
        row["peer imports"] = peer.imports()
        row[f"peer {scores[0]}"] = peer.run(SCORES[scores[0]])
    row["zoo cold, one"], row["zoo warm, one"] = zoo.cold_and_warm(scores[:1])
    if len(scores) > 1:
        for score in scores[1:] if peer else ():
            row[f"peer {score}"] = peer.run(SCORES[score]) if peer else 0.0
        row["zoo cold, all"], row["zoo warm, all"] = zoo.cold_and_warm(scores)
    return row


def _print(rows: list[dict[str, float]], scores: list[str]) -> None:
    """Medians of the seconds and of the ratios within a pair."""
    for name in rows[0]:
        values = [row[name] for row in rows]
        sys.stdout.write(f"{name:34}{median(values):10.2f} s   [{min(values):.2f} to {max(values):.2f}]\n")
    for kind, theirs in (("one", scores[:1]), ("all", scores)):
        if f"zoo cold, {kind}" not in rows[0]:
            continue
        title = f"{len(theirs)} score{'s' if len(theirs) > 1 else ''}"
        if "peer imports" in rows[0]:
            whole = [sum(row[f"peer {score}"] for score in theirs) / row[f"zoo cold, {kind}"] for row in rows]
            _ratio(f"peer / zoo cold, {title}, whole", whole)
            _ratio(
                f"peer / zoo cold, {title}",
                [
                    sum(row[f"peer {score}"] - row["peer imports"] for score in theirs)
                    / (row[f"zoo cold, {kind}"] - row["zoo imports"])
                    for row in rows
                ],
            )
        _ratio(
            f"zoo cold / warm, {title}, whole",
            [row[f"zoo cold, {kind}"] / row[f"zoo warm, {kind}"] for row in rows],
        )


def _ratio(title: str, values: list[float]) -> None:
    sys.stdout.write(f"{title:34}{median(values):10.2f} x   [{min(values):.2f} to {max(values):.2f}]\n")


if __name__ == "__main__":
    main()
