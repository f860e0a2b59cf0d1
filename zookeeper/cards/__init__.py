"""Cards: what was measured, as text that its reader can trust. Pure functions; nothing is guessed."""

from zookeeper.cards.files import about_weights, record_file, run_file, table_file, weights_file, weights_name
from zookeeper.cards.lint import check, contradictions, subject_of
from zookeeper.cards.measurements import measurements_card, ranking_card, selection_card
from zookeeper.cards.privacy import publishable, publishable_command
from zookeeper.cards.runs import account_of, benchmark_results, pictures_of, run_card

__all__ = [
    "about_weights",
    "account_of",
    "benchmark_results",
    "check",
    "contradictions",
    "measurements_card",
    "pictures_of",
    "publishable",
    "publishable_command",
    "ranking_card",
    "record_file",
    "run_card",
    "run_file",
    "selection_card",
    "subject_of",
    "table_file",
    "weights_file",
    "weights_name",
]
