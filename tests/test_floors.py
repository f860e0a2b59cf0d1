"""The architecture: a module imports strictly lower floors, and every heavy library has one home."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "zookeeper"

FLOORS = {
    "errors": 0,
    "digests": 1,
    "plain": 1,
    "records": 1,
    "registry": 1,
    "reporter": 1,
    "blocks": 1,
    "hardware": 1,
    "interrupts": 1,
    "labels": 2,
    "layouts": 2,
    "outcomes": 2,
    "plans": 2,
    "probes": 2,
    "raw": 3,
    "publications": 4,
    "sections": 5,
    "recipes": 3,
    "results": 3,
    "arrangement": 4,
    "kernels": 4,
    "lineage": 4,
    "ensembles": 4,
    "selection": 4,
    "signatures": 4,
    "statistics": 4,
    "controls": 5,
    "convergence": 5,
    "optimum": 5,
    "uncertainty": 5,
    "evidence": 5,
    "gathering": 6,
    "resampling": 6,
    "scores": 6,
    "agreement": 7,
    "pictures": 7,
    "report": 7,
    "targeted": 7,
    "teaching": 7,
    "cards": 7,
    "data": 5,
    "demo": 5,
    "exchange": 5,
    "extract": 5,
    "hub": 6,
    "local": 5,
    "lockfile": 5,
    "settings": 5,
    "team": 5,
    "store": 5,
    "tuning": 8,
    "collection": 6,
    "worker": 6,
    "fetcher": 7,
    "settling": 6,
    "texts": 7,
    "reader": 8,
    "ranker": 9,
    "choices": 8,
    "collecting": 8,
    "probing": 9,
    "estimating": 10,
    "tuner": 9,
    "updating": 9,
    "runner": 11,
    "signing": 10,
    "space": 10,
    "selector": 11,
    "auditing": 9,
    "predicting": 9,
    "sharing": 11,
    "publisher": 12,
    "reporting": 12,
    "reproducing": 6,
    "sweeping": 11,
    "verifying": 11,
    "doctor": 12,
    "zoo": 13,
    "cli": 14,
}

HOMES = {
    "sqlite3": {"store"},
    "huggingface_hub": {"hub", "cards"},  # cards: the metadata's format, not the network
    "datasets": {"data", "tuning"},  # tuning: the features that evaluate's metrics declare
    "torch": {"demo", "extract", "tuner", "tuning"},
    "transformers": {"demo", "extract"},
    "peft": {"tuning"},
    "accelerate": {"tuning"},
    "evaluate": {"tuning"},
    "typer": {"cli"},
    "rich": {"cli"},
    "click": set(),
    "jinja2": {"cards", "report"},
    "matplotlib": {"pictures"},
    "pydantic": {"plain"},
}

# Numbers in, numbers out.
MATHS = {
    "agreement",
    "arrangement",
    "choices",
    "controls",
    "convergence",
    "ensembles",
    "evidence",
    "gathering",
    "kernels",
    "labels",
    "optimum",
    "resampling",
    "scores",
    "selection",
    "signatures",
    "statistics",
    "targeted",
    "teaching",
    "uncertainty",
}


def modules() -> Iterator[tuple[str, Path]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if name not in ("__init__", "__main__"):
            yield name, path


def imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize(
    ("name", "path"), list(modules()), ids=lambda v: v.name if isinstance(v, Path) else v
)
def test_a_module_imports_strictly_lower_floors(name: str, path: Path) -> None:
    for found in imports(ast.parse(path.read_text(encoding="utf-8"))):
        parts = found.split(".")
        if parts[0] != "zookeeper" or len(parts) < 2 or parts[1] == name:
            continue
        if parts[1] in FLOORS:
            assert FLOORS[parts[1]] < FLOORS[name], f"{path.name} imports {found}"


@pytest.mark.parametrize(
    ("name", "path"), list(modules()), ids=lambda v: v.name if isinstance(v, Path) else v
)
def test_every_heavy_library_has_one_home(name: str, path: Path) -> None:
    for found in imports(ast.parse(path.read_text(encoding="utf-8"))):
        library = found.split(".")[0]
        assert name in HOMES.get(library, {name}), f"{path.name} imports {library}"


def test_the_maths_floor_touches_neither_disk_nor_clock_nor_global_seed() -> None:
    allowed = {"numpy", "scipy", "sklearn", "zookeeper", "__future__"}
    allowed |= {
        "collections",
        "dataclasses",
        "functools",
        "inspect",
        "itertools",
        "math",
        "operator",
        "typing",
        "warnings",
    }
    for name, path in modules():
        if name in MATHS:
            used = {found.split(".")[0] for found in imports(ast.parse(path.read_text(encoding="utf-8")))}
            assert used <= allowed, path.name
            seedless = re.findall(
                r"np\.random\.(?!default_rng\((?:seed|0)\))", path.read_text(encoding="utf-8")
            )
            assert not seedless, path.name


def test_the_command_line_uses_the_zoo_and_records_only() -> None:
    allowed = {"cli", "interrupts", "zoo", "records", "plans", "results", "publications", "errors", "plain"}
    for name, path in modules():
        if name == "cli":
            for found in imports(ast.parse(path.read_text(encoding="utf-8"))):
                parts = found.split(".")
                if parts[0] == "zookeeper" and len(parts) > 1 and parts[1] in FLOORS:
                    assert parts[1] in allowed, f"{path.name} imports {found}"


def test_every_loading_of_a_checkpoint_forbids_its_code() -> None:
    for _, path in modules():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in ("from_pretrained", "from_config")
            ):
                given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
                assert given.get("trust_remote_code") == "False", f"{path.name}, line {node.lineno}"
                local = node.func.attr == "from_config" or given.get("local_files_only") == "True"
                assert local, f"{path.name}, line {node.lineno}"


def test_nothing_unpickles_or_evaluates() -> None:
    forbidden = {"eval", "exec", "compile", "pickle.load", "pickle.loads", "torch.load", "yaml.load"}
    forbidden |= {"yaml.unsafe_load", "yaml.full_load", "marshal.loads", "shelve.open", "joblib.load"}
    forbidden |= {"os.system", "os.popen", "pickle.Unpickler", "tempfile.mktemp", "ModelCard.from_template"}
    for _, path in modules():
        code = path.read_text(encoding="utf-8")
        calls = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call)]
        found = [call for call in calls if ast.unparse(call.func) in forbidden]
        # Pickles that were agreed to are converted in one place, as tensors and nothing else.
        agreed = ["torch.load"] if path == PACKAGE / "extract" / "converting.py" else []
        assert [ast.unparse(call.func) for call in found] == agreed, path.name
        for call in found:
            given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
            assert given["weights_only"] == "True", f"{path.name}, line {call.lineno}"
        assert "shell=True" not in code, path.name
        assert not any(
            keyword.arg == "allow_pickle" and ast.unparse(keyword.value) == "True"
            for call in calls
            if ast.unparse(call.func).startswith(("np.", "numpy."))
            for keyword in call.keywords
        ), path.name


def test_nothing_is_printed_past_what_makes_it_harmless() -> None:
    """Words go through one function; of what is put together on the way, every part is spelt out."""
    harmless = ("spelt_out(", "words(", "output.words(")
    for _, path in modules():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func)
            where = f"{path.relative_to(PACKAGE)}, line {node.lineno}"
            assert called not in ("print", "rich.print", "Text.from_markup", "Text.from_ansi"), where
            if called.endswith("console.print"):
                for given in node.args:
                    parts = [part for part in ast.walk(given) if isinstance(part, ast.FormattedValue)]
                    assert all(ast.unparse(part.value).startswith(harmless) for part in parts), where
                    assert isinstance(given, ast.Call | ast.BinOp | ast.Name), where
            if called == "Console":
                given_by_name = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
                assert {"markup", "emoji", "highlight"} <= given_by_name.keys(), where
                assert given_by_name["markup"] == "False", where


def test_every_file_of_a_stranger_is_read_as_yaml_in_one_place() -> None:
    for name, path in modules():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("yaml.safe_load", "yaml.parse"):
                assert name == "sections", f"{path.name}, line {node.lineno}"
