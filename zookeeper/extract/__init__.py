"""A checkpoint and a corpus to features: one row for each word, or sentence, whatever the tokenizer.

Sentences longer than a model's window are read in windows that overlap by half, and each sub-word counts
in the window in which it stands furthest from a cut edge. A word that comes to no sub-word repeats the row
before it in its sentence (or the first after it): it adds nothing to what was read so far. So the rows are
those of the corpus for every checkpoint alike.

Reading for features and training go the same way: `load` a checkpoint, cut the corpus into windows with
`windows_of`, add the states that its `Encoder` makes of them up into rows.
"""

from zookeeper.extract.cutting import windows_of
from zookeeper.extract.loading import Loaded, load, theirs
from zookeeper.extract.reading import read
from zookeeper.extract.states import Encoder, compared
from zookeeper.extract.windows import Windows
from zookeeper.labels import ranges

__all__ = [
    "Encoder",
    "Loaded",
    "Windows",
    "compared",
    "load",
    "ranges",
    "read",
    "theirs",
    "windows_of",
]
