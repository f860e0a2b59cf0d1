"""Code of transformers that a checkpoint needs, imported ahead of it."""

from __future__ import annotations

from contextlib import suppress

import torch
import transformers.modeling_utils  # noqa: F401 transformers imports what it has when it is first used
from transformers import CONFIG_MAPPING, MODEL_MAPPING, PreTrainedTokenizerFast  # noqa: F401


def preload(family: str | None) -> None:
    """Import what the checkpoints of a family are made of; of one that nobody knows, nothing.

    Args:
        family: model type, such as ``roberta``.
    """
    with suppress(Exception):  # whatever it is, it comes up again where the checkpoint is loaded
        MODEL_MAPPING[CONFIG_MAPPING[family]]

        # A table of old names of weights, which takes as long to make as a small checkpoint to read.
        from transformers.conversion_mapping import get_checkpoint_conversion_mapping

        get_checkpoint_conversion_mapping(family)


def begin_threads() -> None:
    """Have OpenMP begin in this process, as it does anew after a fork, and not first when a room is closed.

    Intel's puts its name into shared memory then, and gives up where it may not.
    """
    torch.get_num_threads()
