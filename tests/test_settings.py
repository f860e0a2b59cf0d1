"""Where a zoo lives: the user's word first, then the environment, then what other tools use."""

from __future__ import annotations

from pathlib import Path

import platformdirs
import pytest

from zookeeper.errors import UsageError
from zookeeper.settings import Settings

CACHE = Path.home() / ".cache"


def test_without_an_environment_everything_lies_where_other_tools_look() -> None:
    settings = Settings.from_environment({})
    assert settings == Settings(
        home=Path(platformdirs.user_data_dir("zookeeper")),
        cache=CACHE / "huggingface" / "assets" / "zookeeper",
        hub_cache=CACHE / "huggingface" / "hub",
        endpoint="https://huggingface.co",
        offline=False,
        device="auto",
    )


@pytest.mark.parametrize(
    ("environ", "hub_cache", "cache"),
    [
        ({"XDG_CACHE_HOME": "/xdg"}, "/xdg/huggingface/hub", "/xdg/huggingface/assets/zookeeper"),
        ({"HF_HOME": "/hf"}, "/hf/hub", "/hf/assets/zookeeper"),
        ({"HF_HOME": "/hf", "XDG_CACHE_HOME": "/xdg"}, "/hf/hub", "/hf/assets/zookeeper"),
        ({"HF_HOME": "/hf", "HF_HUB_CACHE": "/hub"}, "/hub", "/hf/assets/zookeeper"),
        ({"HF_HOME": "/hf", "HF_ASSETS_CACHE": "/assets"}, "/hf/hub", "/assets/zookeeper"),
        ({"HF_ASSETS_CACHE": "/assets", "HF_HOME": "/hf", "ZOO_CACHE": "/zoo"}, "/hf/hub", "/zoo"),
    ],
)
def test_the_nearer_setting_wins(environ: dict[str, str], hub_cache: str, cache: str) -> None:
    settings = Settings.from_environment(environ)
    assert (settings.hub_cache, settings.cache) == (Path(hub_cache), Path(cache))


def test_the_zoos_home_moves_alone() -> None:
    settings = Settings.from_environment({"ZOO_HOME": "/zoo", "HF_HOME": "/hf"})
    assert settings.home == Path("/zoo")
    assert settings.cache == Path("/hf/assets/zookeeper")


def test_a_home_that_is_named_overrides_the_environment_and_keeps_features_inside() -> None:
    environ = {"ZOO_HOME": "/zoo", "ZOO_CACHE": "/cache", "HF_HUB_CACHE": "/hub"}
    settings = Settings.from_environment(environ, home=Path("mine"))
    assert settings.home == Path.cwd() / "mine"
    assert settings.cache == Path.cwd() / "mine" / "cache"
    assert settings.hub_cache == Path("/hub")


@pytest.mark.parametrize("name", ["ZOO_HOME", "ZOO_CACHE", "HF_HOME", "HF_HUB_CACHE"])
def test_folders_may_be_relative_or_begin_with_a_tilde(name: str) -> None:
    for given, meant in (("~/there", Path.home() / "there"), ("there", Path.cwd() / "there")):
        settings = Settings.from_environment({name: given})
        found = {
            "ZOO_HOME": settings.home,
            "ZOO_CACHE": settings.cache,
            "HF_HOME": settings.hub_cache.parent,
            "HF_HUB_CACHE": settings.hub_cache,
        }
        assert found[name] == meant


@pytest.mark.parametrize("name", ["ZOO_HOME", "HF_HUB_CACHE"])
def test_a_folder_in_the_home_of_nobody_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=name) as refused:
        Settings.from_environment({name: "~no-such-user/x"})
    assert "nobody of that name" in str(refused.value.why)


def test_empty_is_as_good_as_unset() -> None:
    names = (
        "ZOO_HOME",
        "ZOO_CACHE",
        "ZOO_DEVICE",
        "HF_HOME",
        "HF_HUB_CACHE",
        "HF_ENDPOINT",
        "HF_HUB_OFFLINE",
    )
    assert Settings.from_environment(dict.fromkeys(names, "")) == Settings.from_environment({})


@pytest.mark.parametrize("given", ["http://127.0.0.1:8000", "http://127.0.0.1:8000/"])
def test_a_trailing_slash_of_the_endpoint_does_not_matter(given: str) -> None:
    assert Settings.from_environment({"HF_ENDPOINT": given}).endpoint == "http://127.0.0.1:8000"


@pytest.mark.parametrize("name", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
@pytest.mark.parametrize("given", ["1", "ON", "on", "YES", "True", "TRUE", "true"])
def test_every_spelling_of_offline(name: str, given: str) -> None:
    assert Settings.from_environment({name: given}).offline


@pytest.mark.parametrize("given", ["0", "", "no", "off", "false"])
def test_every_spelling_of_online(given: str) -> None:
    assert not Settings.from_environment({"HF_HUB_OFFLINE": given}).offline


def test_the_device_is_as_named() -> None:
    assert Settings.from_environment({"ZOO_DEVICE": "cuda:1"}).device == "cuda:1"


def test_a_memory_that_is_no_size_is_said_by_its_name() -> None:
    with pytest.raises(UsageError, match='ZOO_MEMORY is "lots"') as error:
        Settings.from_environment({"ZOO_MEMORY": "lots"})
    assert "8GB" in (error.value.fix or "")
