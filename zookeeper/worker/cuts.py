"""A corpus is cut into windows once for all checkpoints that have a tokenizer in common.

Nobody trusts another, but what one worker gives another checkpoint is read with. It is safe for two reasons.
A worker gives its windows before it reads any weights, so they are the work of files that the other has as
well; these are what windows are kept under. And no windows are taken from a worker later, or from one that
was given some. Who keeps them does not look into them; the worker that is given them does.
"""

from __future__ import annotations

import re
import threading
from pathlib import Path

from zookeeper.errors import CheckpointError
from zookeeper.layouts import CONFIG, INDEX
from zookeeper.raw import SMALL, content_of, files_of, parsed
from zookeeper.records import Checkpoint, Corpus, Reading, digest_of

# What a configuration says that is no business of tokenizers, and in which fine-tuned ones differ.
_OWN = {"architectures", "finetuning_task", "id2label", "label2id", "num_labels", "problem_type"}
_OWN |= {"_name_or_path", "dtype", "torch_dtype"}
_WITHOUT_SAY = re.compile(rf"{re.escape(CONFIG)}|{re.escape(INDEX)}|.*\.(safetensors|bin)")
_MOST_KEPT = 2**28


class Cuts:
    """The windows that were used last, in memory.

    Args:
        most: bytes that they may take together.
    """

    def __init__(self, most: int = _MOST_KEPT) -> None:
        self._most = most
        self._kept: dict[str, bytes] = {}  # by name, those that were used last at the end
        self._lock = threading.Lock()

    @staticmethod
    def name(checkpoint: Checkpoint, folder: Path, corpus: Corpus, reading: Reading) -> str:
        """The digest of everything that decides how a checkpoint cuts a corpus into windows.

        These are its files but for the weights, where of the configuration all counts but head and precision:
        how a tokenizer is built, and how long windows are, is not for the tokenizer's own files alone to say.

        Args:
            checkpoint: with the digests of its files.
            folder: that they are in.
            corpus: the text.
            reading: with pooling and window.

        Raises:
            CheckpointError: its configuration cannot be read.
        """
        try:
            path = files_of(folder)[CONFIG]
        except (OSError, KeyError) as error:
            raise CheckpointError(
                "its configuration is gone.", why=f"there is no {CONFIG} in {folder}"
            ) from error
        config = parsed(content_of(path, SMALL, CONFIG), CONFIG)
        return digest_of(
            [
                [[f.path, f.digest] for f in checkpoint.files if not _WITHOUT_SAY.fullmatch(f.path)],
                {field: value for field, value in config.items() if field not in _OWN},
                corpus.digest,
                reading.pooling,
                reading.max_length,
            ]
        )

    def get(self, name: str) -> bytes:
        """Windows under a name, or nothing."""
        with self._lock:
            windows = self._kept.pop(name, b"")
            if windows:
                self._kept[name] = windows
            return windows

    def keep(self, name: str, windows: bytes) -> None:
        """Keep windows under a name, in the place of those that were not used for longest."""
        with self._lock:
            self._kept.pop(name, None)
            self._kept[name] = windows
            while sum(map(len, self._kept.values())) > self._most:
                del self._kept[next(iter(self._kept))]
