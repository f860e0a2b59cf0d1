"""The named probes, unlabelled text that every checkpoint of a zoo reads, and the named targets."""

from __future__ import annotations

from zookeeper.records import Probe, TargetSource
from zookeeper.registry import Registry

PROBES = Registry[Probe](
    "probe",
    "zookeeper.probes",
    {
        # The probe of Huang, Qiu, Church (NeurIPS 2021): training lines of at least ten words.
        "wikitext2": Probe(
            name="wikitext2",
            dataset="Salesforce/wikitext",
            commit="b08601e04326c79dfdd32d625aee71d232d685c3",
            config="wikitext-2-v1",
            split="train",
            column="text",
            min_words=10,
        ),
    },
)

TARGETS = Registry[TargetSource](
    "target",
    "zookeeper.targets",
    {
        # The repository holds a loading script, which no client runs any more; the Hub's own conversion
        # of it to parquet is what can be read.
        "conll2000": TargetSource(
            name="conll2000",
            dataset="eriktks/conll2000",
            revision="refs/convert/parquet",
            config="conll2000",
            text_column="tokens",
            label_column="chunk_tags",
        ),
    },
)
