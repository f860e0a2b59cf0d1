"""Readers of what strangers wrote, each as a function of bytes.

Of whatever bytes, nothing may come out but an error of ours, and that soon. The tests draw some inputs in
every run; by night, and by hand, atheris looks for new ones with the help of what they make the code do:

    pip install atheris
    python -m tests.fuzz columns --runs 100000
"""

from __future__ import annotations

import json
import tempfile
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from zookeeper.errors import ZooError

LONGEST_SECONDS = 0.1
"""Of the processor, for an input of some KiB."""


@dataclass(frozen=True)
class Target:
    """Something that reads bytes.

    Attributes:
        read: does so.
        seeds: whole inputs, from which others are made.
        words: that mean something in them.
    """

    read: Callable[[bytes], object]
    seeds: tuple[bytes, ...]
    words: tuple[bytes, ...] = ()

    def __call__(self, data: bytes) -> None:
        """Read bytes; errors of ours are as good as an answer."""
        try:
            self.read(data)
        except ZooError as error:
            assert error.message


def shows_only(text: str) -> bool:
    """Whether a text is of characters that do nothing but show, and on one line."""
    return not {unicodedata.category(char) for char in text} & {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}


@cache
def _scratch() -> Path:
    return Path(tempfile.mkdtemp(prefix="zoo-fuzz-"))


def _file(name: str, data: bytes) -> Path:
    path = _scratch() / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


# What is read


def _columns(data: bytes) -> None:
    from zookeeper.data.tables import table_of

    table_of([_file("a.conll" if data[:1] < b"\x80" else "a.conllu", data)])


def _card(data: bytes) -> None:
    from zookeeper import sections
    from zookeeper.cards import check, subject_of

    text = data.decode("utf-8", "replace")
    for read in (sections.metadata_of, sections.section_of, subject_of):
        _tried(partial(read, text))
    said = sections.CardText({"tags": ["zookeeper"], "license": "mit"}, "# Ours")
    if _tried(partial(sections.spliced, text, said)):
        sections.left_out(text, said)
        check(text, said)


def _tried(read: Callable[[], object]) -> bool:
    try:
        read()
    except ZooError:
        return False
    return True


def _json_of(data: bytes, name: str) -> dict[str, Any]:
    from zookeeper.raw import parsed

    return parsed(data, name)


def _config(data: bytes) -> None:
    from zookeeper.extract import preflight
    from zookeeper.layouts import architecture_of, model_type_of

    config = _json_of(data, "config.json")
    architecture_of(config)
    model_type_of(config)
    json.dumps(preflight.cleaned_config(config))


def _tokenizer(data: bytes) -> None:
    from zookeeper.extract import preflight

    said = _json_of(data, "tokenizer.json")
    _tried(lambda: json.dumps(preflight.cleaned_tokenizer(said)))
    _tried(lambda: json.dumps(preflight.cleaned_companion(said)))
    preflight.check_index(said, {"model-00001-of-00001.safetensors": Path()})


def _weights(data: bytes) -> None:
    from zookeeper.raw import weights_of

    weights_of({"model.safetensors": _file("model.safetensors", data)})


def _manifest(data: bytes) -> None:
    from zookeeper.plain import decode
    from zookeeper.records import Checkpoint, FeatureSet
    from zookeeper.results import Ranking, Run

    for kind in (FeatureSet, Checkpoint, Ranking, Run):
        _tried(partial(decode, kind, data))


def _lock(data: bytes) -> None:
    from zookeeper import lockfile

    text = data.decode("utf-8", "replace")
    if lockfile.is_lock(text):
        _tried(lambda: lockfile.names_of(text))
    lockfile.read(text)


def _wire(data: bytes) -> None:
    from zookeeper.worker import wire

    try:
        wire.block_of(memoryview(data))
    except wire.NonsenseError as error:
        raise ZooError("it is no answer of a worker.") from error


def _covariance(data: bytes) -> None:
    from zookeeper.exchange import load_covariance, load_results

    path = _file("kappa.csv", data)
    _tried(lambda: load_results(path))
    _tried(lambda: load_covariance(path))
    load_covariance(_file("kappa.npy", data))


def _words(data: bytes) -> None:
    from zookeeper.hub.transport import retry_after
    from zookeeper.plain import brief, bytes_of, redacted, spelt_out

    text = data.decode("utf-8", "surrogateescape")
    retry_after({"Retry-After": text})
    assert shows_only(brief(text))
    assert shows_only(spelt_out(redacted(text)))
    bytes_of(text)


# What whole inputs look like

_REVISION = {"repo_id": "org/name", "asked": "main", "commit": "0123456789" * 4}
_CHECKPOINT = {
    "revision": _REVISION,
    "files": [{"path": "model.safetensors", "size": 34, "digest": "sha256:" + "b" * 64}],
    "model_type": "bert",
    "parameters": 1234,
    "tags": ["fill-mask"],
}
_CONFIG = {
    "model_type": "bert",
    "architectures": ["BertForMaskedLM"],
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "vocab_size": 100,
    "id2label": {"0": "a", "1": "b"},
    "auto_map": {"AutoModel": "evil.Model"},
    "quantization_config": {"bits": 4},
    "text_config": {"_attn_implementation": "x/y", "num_attention_heads": 2},
}
_TOKENIZER = {
    "version": "1.0",
    "padding": {"strategy": {"Fixed": 9}},
    "normalizer": {"type": "Replace", "pattern": {"String": "a"}, "content": "b"},
    "model": {"type": "WordPiece", "vocab": {"[UNK]": 0, "a": 1}},
    "metadata": {"total_size": 9},
    "weight_map": {"a": "model-00001-of-00001.safetensors"},
}
_HEADER = json.dumps(
    {"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}, "__metadata__": {"x": "y"}}
).encode()
_BLOCK = json.dumps({"rows": 1, "layers": {"last": 2}, "classes": 2, "empty": 0}).encode()
_JSON = (
    b"{",
    b"[",
    b"null",
    b"-1",
    b"1e999",
    b"NaN",
    b'"a":',
    b"[" * 70,
    b'{"a":' * 70,
    b"9" * 400,
    b'"\\ud800"',
    b"true",
)
_FRONT = (
    b"---\nlicense: mit\ntags: [a, b]\nmodel-index:\n- name: x\n  results:\n  - task: {type: t}\n"
    b"    dataset: {type: d, name: d}\n    metrics:\n    - type: f1\n      value: 0.5\n---\n# Card\n\ntext\n"
)
_MARKED = (
    b"---\n# zookeeper: begin (kept by zoo; write outside)\nlicense: mit\n# zookeeper: end\n---\n"
    b"<!-- zookeeper: begin -->\n\n# Ours\n\n<!-- zookeeper: end -->\n"
)
_YAML = (
    b"&a ",
    b"*a",
    b"<<: ",
    b"!!timestamp ",
    b"!!int ",
    b"!!python/name:os.system",
    b"---\n",
    b"? ",
    b"- ",
    b"2024-13-45",
    b"[" * 40,
    b"- " * 40,
    b"# zookeeper: end\n",
    b"<!-- zookeeper: begin -->\n",
    b"|+\n",
    b"\t",
    b"\r",
    b"model-index: ",
)


def _as_json(value: object) -> bytes:
    return json.dumps(value).encode()


TARGETS = {
    "columns": Target(
        _columns,
        (
            b"a O\nb B-X\n\nc O\n",
            b"-DOCSTART- O\n\na\tO\n",
            b"\xef\xbb\xbfa O\r\nb O\r\n",
            b"1\ta\tO\n2\tb\tO\n",
        ),
        (
            b"\n",
            b"\r",
            b"\t",
            b" ",
            b"\x00",
            b"\xef\xbb\xbf",
            b"-DOCSTART-",
            b"#",
            b"\xff",
            "\u2028\u00ad".encode(),
        ),
    ),
    "card": Target(_card, (_FRONT, _MARKED, b"# no front\n", b""), _YAML),
    "config": Target(_config, (_as_json(_CONFIG), b"{}"), _JSON),
    "tokenizer": Target(_tokenizer, (_as_json(_TOKENIZER), b"{}"), _JSON),
    "weights": Target(
        _weights,
        (len(_HEADER).to_bytes(8, "little") + _HEADER + b"\0\0\x80?", b"\x02" + b"\0" * 7 + b"{}"),
        _JSON,
    ),
    "manifest": Target(_manifest, (_as_json(_CHECKPOINT), b"{}"), _JSON),
    "lock": Target(
        _lock,
        (
            _as_json({"schema": "zoo.lock/1", "zoo": "0.1", "checkpoints": [_CHECKPOINT], "datasets": []}),
            b"{}",
        ),
        _JSON,
    ),
    "wire": Target(_wire, (len(_BLOCK).to_bytes(4, "little") + _BLOCK + bytes(8 + 16), b""), _JSON),
    "covariance": Target(
        _covariance,
        (b",a,b\na,1,0\nb,0,1\n", b"name,f1\na,0.5\nb,50%\n"),
        (b",", b'"', b"\n", b"nan", b"1e400", b"=", b"'", b"\x00", b"\x93NUMPY\x01\x00"),
    ),
    "words": Target(
        _words,
        (
            b"Authorization: Bearer hf_abcdefgh1234",
            b"http://user:word@host/",
            b"500MB",
            b"Wed, 21 Oct 2026 07:28:00 GMT",
        ),
        (b"\x1b", b"\x9b", b"hf_", b"://", b"@", "\u202e".encode(), b"9" * 400),
    ),
}
