"""Checkpoints of people who mean harm, or were careless, each made from a good one in a folder of its own.

`BAD` cannot be read and must be refused with a reason; `BAITED` can, and must read as without the bait.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
import struct
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load_file, save_file

WEIGHTS, CONFIG, TOKENIZER = "model.safetensors", "config.json", "tokenizer.json"
INDEX = f"{WEIGHTS}.index.json"
EMBEDDINGS = "bert.embeddings.word_embeddings.weight"


class Canary:
    """Touches a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


class Victim:
    """A copy of a good checkpoint, to be damaged.

    Args:
        folder: of it.
        canary: what code of it would touch.
    """

    def __init__(self, folder: Path, canary: Path) -> None:
        self.folder = folder
        self.canary = canary

    def __truediv__(self, name: str) -> Path:
        return self.folder / name

    def edit(self, name: str = CONFIG, **changes: Any) -> None:
        """Change fields of a JSON file."""
        path = self / name
        path.write_text(json.dumps((json.loads(path.read_text()) if path.exists() else {}) | changes))

    def weights(self, change: Callable[[dict[str, Any]], object]) -> None:
        """Change the weights."""
        held = dict(load_file(self / WEIGHTS))
        change(held)
        save_file(held, self / WEIGHTS, metadata={"format": "pt"})

    def code(self) -> None:
        """Put Python files beside it that leave a trace."""
        trace = f"import pathlib; pathlib.Path({str(self.canary)!r}).touch()\nclass Evil: pass\n"
        for name in ("evil", "configuration_evil", "modeling_evil", "tokenization_evil", "__init__", "setup"):
            (self / f"{name}.py").write_text(trace)

    def pickle(self, data: bytes, name: str = "pytorch_model.bin") -> None:
        """Have these bytes in the place of the weights."""
        (self / WEIGHTS).unlink()
        (self / name).write_bytes(data)

    def evil(self, **options: Any) -> bytes:
        """Weights that run code, as torch writes them."""
        buffer = io.BytesIO()
        torch.save({"bert.weight": Canary(self.canary)}, buffer, **options)
        return buffer.getvalue()

    def index(self, *names: str) -> None:
        """A list of weights that puts them in these files."""
        held = load_file(self / WEIGHTS)
        named = {name: names[i % len(names)] for i, name in enumerate(held)} | {n: n for n in names}
        (self / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": named}))
        (self / WEIGHTS).rename(self.folder.parent / "outside.safetensors")

    def raw(self, header: bytes, data: bytes = b"", length: int | None = None) -> None:
        """Weights of these very bytes."""
        size = struct.pack("<Q", len(header) if length is None else length)
        (self / WEIGHTS).write_bytes(size + header + data)

    def replaced(self, name: str, make: Callable[[Path], object]) -> None:
        """Something else in the place of a file."""
        (self / name).unlink()
        make(self / name)

    def rules(self, *rules: dict[str, Any]) -> None:
        """Rules that the tokenizer applies before all else."""
        self.edit(TOKENIZER, normalizer={"type": "Sequence", "normalizers": list(rules)})


def _replace(found: str, content: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": {"String": found}, "content": content}


def _tar(victim: Victim) -> bytes:
    """As torch wrote weights before it wrote pickles one after another."""
    evil, buffer = pickle.dumps(Canary(victim.canary)), io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name in ("storages", "tensors", "pickle"):
            member = tarfile.TarInfo(name)
            member.size = len(evil)
            tar.addfile(member, io.BytesIO(evil))
    return buffer.getvalue()


def _half(weights: dict[str, Any]) -> None:
    for name in sorted(weights)[::2]:
        del weights[name]


def _renamed(weights: dict[str, Any]) -> None:
    held = {f"other.{name}.x": value for name, value in weights.items()}
    weights.clear()
    weights.update(held)


def _filled(value: float) -> Callable[[dict[str, Any]], None]:
    return lambda weights: weights[EMBEDDINGS].__setitem__((3, 4), value)


def _integers(weights: dict[str, Any]) -> None:
    weights.update({name: (value * 100).astype(np.int8) for name, value in weights.items()})


def _header(*offsets: tuple[int, int]) -> bytes:
    tensors = {
        f"t{i}": {"dtype": "U8", "shape": [b - a], "data_offsets": [a, b]} for i, (a, b) in enumerate(offsets)
    }
    return json.dumps(tensors).encode()


def _big_template(victim: Victim) -> None:
    token = {"SpecialToken": {"id": "<s>", "type_id": 0}}
    sequence = [{"Sequence": {"id": "A", "type_id": 0}}]
    victim.edit(
        TOKENIZER,
        post_processor={
            "type": "TemplateProcessing",
            "single": [*[token] * 20_000, *sequence],
            "pair": [*sequence, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}},
        },
    )


def _python_only(victim: Victim) -> None:
    (victim / TOKENIZER).unlink()
    (victim / "vocab.txt").write_text("a\nb\n")
    victim.edit("tokenizer_config.json", tokenizer_class="ByT5Tokenizer")


def _foreign_tokenizer(victim: Victim) -> None:
    (victim / TOKENIZER).unlink()
    (victim / "vocab.txt").write_text("a\nb\n")
    victim.code()
    remote = {"AutoTokenizer": ["tokenization_evil.Evil", "tokenization_evil.Evil"]}
    victim.edit("tokenizer_config.json", tokenizer_class="Evil", auto_map=remote, trust_remote_code=True)


def _foreign_model(victim: Victim) -> None:
    victim.code()
    remote = {"AutoConfig": "configuration_evil.Evil", "AutoModel": "modeling_evil.Evil"}
    victim.edit(model_type="evil", auto_map=remote, trust_remote_code=True)


BAD: Mapping[str, Callable[[Victim], object]] = {
    # Weights that are programs
    "pickle in a zip": lambda v: v.pickle(v.evil()),
    "pickle as torch once wrote them": lambda v: v.pickle(v.evil(_use_new_zipfile_serialization=False)),
    "pickle in a tar": lambda v: v.pickle(_tar(v)),
    "pickle of protocol 0": lambda v: v.pickle(pickle.dumps(Canary(v.canary), protocol=0)),
    "pickle named safetensors": lambda v: v.pickle(v.evil(), WEIGHTS),
    "raw pickle named safetensors": lambda v: v.pickle(pickle.dumps(Canary(v.canary)), WEIGHTS),
    "pickle of another name": lambda v: v.pickle(v.evil(), "model.ckpt"),
    # Lists of weights
    "index to a pickle": lambda v: (
        v.index("pytorch_model.bin"),
        (v / "pytorch_model.bin").write_bytes(v.evil()),
    ),
    "index beside a pickle shard": lambda v: (
        v.index("model-00001-of-00002.safetensors", "pytorch_model.bin"),
        shutil.copy(v.folder.parent / "outside.safetensors", v / "model-00001-of-00002.safetensors"),
        (v / "pytorch_model.bin").write_bytes(v.evil()),
    ),
    "index upwards": lambda v: v.index("../outside.safetensors"),
    "index to an absolute path": lambda v: v.index(str(v.folder.parent / "outside.safetensors")),
    "index to a missing shard": lambda v: v.index("model-00001-of-00002.safetensors"),
    "index of a hundred thousand": lambda v: v.index(
        *(f"model-{i:05d}-of-99999.safetensors" for i in range(10**5))
    ),
    "index that is a list": lambda v: (v / INDEX).write_text("[]"),
    # Code
    "code of a model": _foreign_model,
    "code of a tokenizer": _foreign_tokenizer,
    # Numbers
    "a billion wide": lambda v: v.edit(hidden_size=10**9),
    "a billion layers": lambda v: v.edit(num_hidden_layers=10**9),
    "a billion layers as a fraction": lambda v: v.edit(num_hidden_layers=1e9),
    "a billion words": lambda v: v.edit(vocab_size=10**9),
    "a billion positions": lambda v: v.edit(max_position_embeddings=10**9),
    "a billion heads": lambda v: v.edit(num_attention_heads=10**9),
    "no heads": lambda v: v.edit(num_attention_heads=0),
    "a billion layers further in": lambda v: v.edit(text_config={"decoder": {"num_layers": 10**9}}),
    "five hundred layers": lambda v: v.edit(num_hidden_layers=500),
    "wider than the files": lambda v: v.edit(hidden_size=4096, intermediate_size=65_536),
    "width that is no number": lambda v: (v / CONFIG).write_text(
        '{"model_type": "bert", "hidden_size": NaN}'
    ),
    "width that is infinite": lambda v: (v / CONFIG).write_text(
        '{"model_type": "bert", "hidden_size": 1e999}'
    ),
    "width in words": lambda v: v.edit(hidden_size="sixteen"),
    "a number of ten thousand digits": lambda v: (v / CONFIG).write_text('{"a": 1' + "0" * 10_000 + "}"),
    # Configurations
    "configuration nested deeply": lambda v: (v / CONFIG).write_text('{"a":' * 10**5 + "1" + "}" * 10**5),
    "configuration nested": lambda v: (v / CONFIG).write_text('{"a":' * 200 + "1" + "}" * 200),
    "configuration of lists": lambda v: (v / CONFIG).write_text("[" * 10**5),
    "configuration that is a list": lambda v: (v / CONFIG).write_text("[]"),
    "configuration that is empty": lambda v: (v / CONFIG).write_text(""),
    "configuration cut short": lambda v: os.truncate(v / CONFIG, 40),
    "configuration that is no text": lambda v: (v / CONFIG).write_bytes(b'{"model_type": "\xff"}'),
    "configuration without a word": lambda v: (v / CONFIG).write_text("{}"),
    "configuration of five MiB": lambda v: v.edit(padding=" " * 5 * 2**20),
    "unknown kind": lambda v: v.edit(model_type="no-such-model\x1b[31m"),
    "kind that is a list": lambda v: v.edit(model_type=["bert"]),
    "quantised by its word": lambda v: v.edit(quantization_config={"quant_method": "gptq", "bits": 4}),
    "weights of another name": lambda v: v.edit(transformers_weights="other.safetensors"),
    # Tokenizers
    "rule that makes ten million": lambda v: v.rules(_replace("a", "a" * 10**7)),
    "rules that make a hundred thousand": lambda v: v.rules(
        *(_replace(a, b * 10) for a, b in zip("abcde", "bcdef", strict=True))
    ),
    "broken pattern": lambda v: v.edit(
        TOKENIZER, pre_tokenizer={"type": "Split", "pattern": {"Regex": "(("}, "behavior": "Isolated"}
    ),
    "panic": lambda v: v.edit(TOKENIZER, normalizer={"type": "Precompiled", "precompiled_charsmap": "AAAA"}),
    "twenty thousand special tokens": _big_template,
    "tokenizer of 65 MiB": lambda v: os.truncate(v / TOKENIZER, 65 * 2**20),
    "tokenizer cut short": lambda v: os.truncate(v / TOKENIZER, 500),
    "tokenizer that is a list": lambda v: (v / TOKENIZER).write_text("[]"),
    "no tokenizer": lambda v: (v / TOKENIZER).unlink(),
    "tokenizer of Python": _python_only,
    "more words than embeddings": lambda v: (
        v.edit(vocab_size=20),
        v.weights(lambda w: w.update({EMBEDDINGS: w[EMBEDDINGS][:20].copy()})),
    ),
    # Weights
    "half of the weights": lambda v: v.weights(_half),
    "weights of other names": lambda v: v.weights(_renamed),
    "no weights": lambda v: v.weights(dict.clear),
    "empty file of weights": lambda v: (v / WEIGHTS).write_bytes(b""),
    "weights cut short": lambda v: os.truncate(v / WEIGHTS, (v / WEIGHTS).stat().st_size - 1),
    "header of an exabyte": lambda v: v.raw(b"{}", length=2**60),
    "header of seventeen MiB": lambda v: v.raw(b"{" + b" " * 17 * 2**20 + b"}"),
    "header that is no JSON": lambda v: v.raw(b"[" * 10**5),
    "weights that overlap": lambda v: v.raw(_header((0, 64), (0, 64)), bytes(64)),
    "weights with a hole": lambda v: v.raw(_header((0, 8), (32, 64)), bytes(64)),
    "weights that are no number": lambda v: v.weights(_filled(np.nan)),
    "weights that are infinite": lambda v: v.weights(_filled(np.inf)),
    "weights of eight bits": lambda v: v.weights(_integers),
    "weights of another shape": lambda v: v.weights(
        lambda w: w.update({EMBEDDINGS: w[EMBEDDINGS][:, :7].copy()})
    ),
    # Files that are none
    "configuration that is a pipe": lambda v: v.replaced(CONFIG, os.mkfifo),
    "configuration that is a folder": lambda v: v.replaced(CONFIG, Path.mkdir),
    "configuration that leads out": lambda v: v.replaced(CONFIG, lambda path: path.symlink_to("/etc/passwd")),
    "configuration that leads to itself": lambda v: v.replaced(CONFIG, lambda path: path.symlink_to(path)),
    "weights that are a pipe": lambda v: v.replaced(WEIGHTS, os.mkfifo),
    "weights that lead nowhere": lambda v: v.replaced(WEIGHTS, lambda path: path.symlink_to("nowhere")),
    "weights that lead out": lambda v: v.replaced(WEIGHTS, lambda path: path.symlink_to("/dev/zero")),
    "tokenizer that leads out": lambda v: (v / "vocab.txt").symlink_to("/etc/passwd"),
    "vocabulary of another place": lambda v: (
        (v / TOKENIZER).unlink(),
        (v / "merges.txt").write_text(""),
        v.edit("tokenizer_config.json", tokenizer_class="BertTokenizer", vocab_file="/etc/passwd"),
    ),
    # Names
    "na[/x]me [link=http://evil]\x1b]8;;http://evil\x07 \u202e": lambda v: (v / CONFIG).write_text("{}"),
    "two\nlines \x9b31m <img src=x onerror=alert(1)>": lambda v: (v / WEIGHTS).unlink(),
}

BAITED: Mapping[str, Callable[[Victim], object]] = {
    "adapter of another": lambda v: (v / "adapter_config.json").write_text(
        json.dumps({"base_model_name_or_path": "evil/base", "peft_type": "LORA"})
    ),
    "code beside it": lambda v: v.code(),
    "code in its configuration": lambda v: (
        v.code(),
        v.edit(auto_map={"AutoModel": "modeling_evil.Evil"}, trust_remote_code=True),
        v.edit("tokenizer_config.json", auto_map={"AutoTokenizer": [None, "tokenization_evil.Evil"]}),
    ),
    "kernel of its own": lambda v: v.edit(
        _attn_implementation="evil/kernel", attn_implementation="evil/kernel"
    ),
    "kernel further in": lambda v: v.edit(text_config={"_attn_implementation_internal": "evil/kernel"}),
    "kernel of experts": lambda v: v.edit(_experts_implementation="evil/kernel"),
    "a hundred million labels": lambda v: v.edit(num_labels=10**8),
    "fields that come twice": lambda v: (v / CONFIG).write_text(
        '{"hidden_size": 1000000000, "num_hidden_layers": {},' + (v / CONFIG).read_text().lstrip()[1:]
    ),
    "padding to a billion": lambda v: v.edit(
        TOKENIZER,
        padding={
            "strategy": {"Fixed": 10**9},
            "direction": "Right",
            "pad_to_multiple_of": None,
            "pad_id": 0,
            "pad_type_id": 0,
            "pad_token": "<pad>",
        },
    ),
    "template that never ends": lambda v: (
        v.edit(
            "tokenizer_config.json",
            chat_template="{% for a in range(9999) %}{{ 'a' * 500000000 }}{% endfor %}",
        ),
        (v / "chat_template.jinja").write_text("{{ ''.__class__ }}"),
    ),
    "another vocabulary beside it": lambda v: v.edit("tokenizer_config.json", vocab_file="/etc/passwd"),
    "pickle beside it": lambda v: (v / "pytorch_model.bin").write_bytes(v.evil()),
    "links to nowhere beside it": lambda v: [
        (v / name).symlink_to("nowhere")
        for name in ("merges.txt", "README.md", "model.onnx", "x.safetensors", "x.bin")
    ],
    "precision of its own": lambda v: v.edit(dtype="load", torch_dtype="save"),
}


def make(name: str, good: Path, root: Path, canary: Path) -> Path:
    """The checkpoint of that name, in a folder of its own below `root`.

    Args:
        name: in `BAD` or `BAITED`.
        good: the checkpoint that it is made from, of BERT's family.
        root: for all of them.
        canary: what its code would touch.
    """
    folder = root / f"{len(list(root.iterdir())):02d}" / name.replace("/", "\N{FRACTION SLASH}")
    shutil.copytree(good, folder)
    (BAD | BAITED)[name](Victim(folder, canary))  # type: ignore[operator]
    return folder
