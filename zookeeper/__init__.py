"""Choose, from two million checkpoints, the few that serve your task."""

from importlib.metadata import version

from zookeeper.errors import ZooError
from zookeeper.predicting import load_ensemble
from zookeeper.zoo import Zoo

__all__ = ["Zoo", "ZooError", "load_ensemble"]
__version__ = version("hf-zoo")
