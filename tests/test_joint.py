"""Members with different tokenizers, tuned together: rows as in reading, and gradients where they belong."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from tiny import FAMILIES, TEXT

from tests.extracted import extract
from tests.reference.examples import STEADY, seeds
from zookeeper.errors import CheckpointError, OutOfMemoryError, UsageError
from zookeeper.plans import Recipe, Setting
from zookeeper.recipes import recipe_of
from zookeeper.records import Corpus, Labelled, Reading, Unit
from zookeeper.tuning.batches import steps
from zookeeper.tuning.joint import Joint
from zookeeper.tuning.materials import Materials
from zookeeper.tuning.problem import Kind, Part, Problem

Checkpoints = dict[str, Path]

ZERO_WIDTH = "\u200b"
PLAIN = tuple(tuple(line.split()) for line in TEXT)
LONG = sum(PLAIN[:8], ())
GAPS = ((ZERO_WIDTH, *PLAIN[3], ZERO_WIDTH), (ZERO_WIDTH,), ("zoo", "👩\u200d👧"))
SENTENCES = (*PLAIN[:4], *GAPS, LONG)
NONE = np.zeros(0, dtype=np.int64)

every_recipe = pytest.mark.parametrize("name", ["full", "lora"])


def recipe(name: str = "full", reading: Reading | None = None, **changes: Setting) -> Recipe:
    return replace(recipe_of(name).with_settings(changes), reading=reading or Reading())


def problem_of(text: Corpus, labels: NDArray[Any], kind: Kind = "classes") -> Problem:
    """All sentences are there to learn from, and to validate on."""
    data = Labelled(text, labels)
    everything = np.arange(len(data.lengths))
    part = Part.of("train", data, everything)
    n = 0 if kind == "numbers" else labels.shape[1] if kind == "labels" else int(labels.max()) + 1
    return Problem({"train": part, "validation": part}, kind, tuple("abcdefgh"[:n]))


def joint_of(
    folders: Mapping[str, Path],
    names: Sequence[str] = ("bert", "gpt2"),
    how: Recipe | None = None,
    *,
    text: Corpus | None = None,
    labels: NDArray[Any] | None = None,
    kind: Kind = "classes",
    seed: int = 0,
) -> Joint:
    text = text or Corpus(PLAIN[:8], "word")
    labels = long_words(text) if labels is None else labels
    materials = Materials(tuple(names), {"train": text}, tuple(folders[name] for name in names))
    return Joint.of(materials, problem_of(text, labels, kind), how or recipe(), seed=seed, device="cpu")


def long_words(text: Corpus) -> NDArray[np.int64]:
    """A class of each row: of words and sentences by their length, of pairs by that of both."""
    if text.unit == "word":
        return np.array([min(len(word) // 4, 2) for words in text.sentences for word in words])
    together = 2 if text.unit == "pair" else 1
    return np.arange(len(text.sentences) // together) % 2


def everything(joint: Joint) -> NDArray[np.int64]:
    return np.arange(len(joint.sizes("train")))


def loss_of(joint: Joint, examples: NDArray[np.int64]) -> torch.Tensor:
    batch = joint.batch("train", examples)
    return joint.loss(joint.module(batch.inputs), batch)


def outputs(joint: Joint) -> torch.Tensor:
    with torch.no_grad():
        return joint.module.eval()(joint.batch("validation", everything(joint)).inputs)


def trained(joint: Joint, n_steps: int) -> Iterator[float]:
    """The mean loss of each step of a plain loop."""
    torch.manual_seed(0)
    joint.module.train()
    optimizer = torch.optim.AdamW(joint.groups())
    for _ in range(n_steps):
        optimizer.zero_grad()
        loss = loss_of(joint, everything(joint)) / joint.counts().sum()
        loss.backward()
        optimizer.step()
        yield float(loss.detach())


# Rows


@settings(STEADY, max_examples=8)
@given(
    unit=st.sampled_from(["word", "sentence", "pair"]),
    layer=st.sampled_from(["last", "mean", "0", "1", "-2"]),
    pooling=st.sampled_from(["auto", "first", "last", "mean"]),
    max_length=st.sampled_from([None, 9, 20]),
    seed=seeds,
)
def test_vectors_are_the_features_that_reading_gives(
    checkpoints: Checkpoints, unit: Unit, layer: str, pooling: Any, max_length: int | None, seed: int
) -> None:
    reading = Reading(layer=layer, pooling=pooling, max_length=max_length)
    text = Corpus(SENTENCES, unit)
    read = [extract(checkpoints[family], text, reading).features for family in FAMILIES]
    joint = joint_of(checkpoints, FAMILIES, recipe(reading=reading, normalize=False), text=text)
    order = np.random.default_rng(seed).permutation(everything(joint))
    made = np.full((text.n_rows, sum(f.shape[1] for f in read)), np.nan, dtype=np.float32)
    for examples in np.split(order, [1, len(order) // 2]):
        batch = joint.batch("validation", examples)
        made[batch.rows] = joint.module.eval().vectors(batch.inputs).detach().numpy()
    np.testing.assert_allclose(made, np.concatenate(read, axis=1), rtol=0, atol=1e-5)


def test_sentences_of_parts_are_those_of_the_problem(checkpoints: Checkpoints) -> None:
    text = Corpus(PLAIN, "word")
    data = Labelled(text, long_words(text))
    parts = {
        "train": Part.of("train", data, np.array([1, 4, 9])),
        "validation": Part.of("train", data, np.array([0, 5])),
    }
    materials = Materials(("bert",), {"train": text}, (checkpoints["bert"],))
    how = recipe(normalize=False)
    joint = Joint.of(materials, Problem(parts, "classes", ("a", "b", "c")), how, seed=0, device="cpu")
    read = extract(checkpoints["bert"], text, Reading()).features
    for name, part in parts.items():
        batch = joint.batch(name, np.array([1, 0]))
        made = joint.module.eval().vectors(batch.inputs).detach().numpy()
        np.testing.assert_allclose(made, read[part.rows[batch.rows]], rtol=0, atol=1e-5)
        assert (batch.labels.numpy() == part.labels[batch.rows]).all()


def test_normalized_vectors_of_members_weigh_the_same(checkpoints: Checkpoints, tmp_path: Path) -> None:
    loud = Path(shutil.copytree(checkpoints["bert"], tmp_path / "loud"))
    weights = load_file(loud / "model.safetensors")
    last = "bert.encoder.layer.1.output.LayerNorm.weight"
    save_file(weights | {last: weights[last] * 1000}, loud / "model.safetensors", metadata={"format": "pt"})
    folders = {"loud": loud, "gpt2": checkpoints["gpt2"]}
    joint = joint_of(folders, ("loud", "gpt2"))
    made = joint.module.eval().vectors(joint.batch("train", everything(joint)).inputs).detach()
    for side in made.split([16, 24], dim=1):
        assert side.mean(dim=1).abs().max() < 1e-4
        assert side.std(dim=1, correction=0).numpy() == pytest.approx(np.ones(len(side)), abs=1e-3)


# Gradients


@every_recipe
@pytest.mark.parametrize("layer", ["last", "mean", "1", "0"])
def test_gradients_reach_all_that_learns_and_nothing_else(
    checkpoints: Checkpoints, name: str, layer: str
) -> None:
    joint = joint_of(checkpoints, FAMILIES, recipe(name, Reading(layer=layer)))
    joint.module.train()
    loss_of(joint, everything(joint)).backward()
    for parameter in joint.module.parameters():
        assert (parameter.grad is not None) == parameter.requires_grad
    in_groups = [id(parameter) for group in joint.groups() for parameter in group["params"]]
    assert sorted(in_groups) == sorted(id(p) for p in joint.module.parameters() if p.requires_grad)


@pytest.mark.parametrize(
    ("layer", "still"),
    [("last", "pooler"), ("1", "encoder.layer.1"), ("0", "encoder.layer.0")],
)
def test_what_the_vectors_do_not_depend_on_does_not_learn(
    checkpoints: Checkpoints, layer: str, still: str
) -> None:
    learning = joint_of(checkpoints, ["bert"], recipe(reading=Reading(layer=layer))).learned()
    assert not any(still in name for name in learning)
    assert any("embeddings" in name for name in learning)


@pytest.mark.parametrize("unit", ["word", "sentence", "pair"])
@pytest.mark.parametrize("texts", [(), ((ZERO_WIDTH,), (ZERO_WIDTH, ZERO_WIDTH))])
def test_gradients_reach_everything_whatever_a_batch_holds(
    checkpoints: Checkpoints, unit: Unit, texts: Sequence[tuple[str, ...]]
) -> None:
    text = Corpus((*PLAIN[:6], *texts), unit)
    joint = joint_of(checkpoints, FAMILIES, text=text)
    joint.module.train()
    last = everything(joint)[-1:] if texts else NONE
    loss = loss_of(joint, last)
    loss.backward()
    assert torch.isfinite(loss)
    gradients = [p.grad for p in joint.module.parameters() if p.requires_grad]
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)
    if not texts:
        assert loss == 0
        assert not any(gradient.any() for gradient in gradients if gradient is not None)


@pytest.mark.parametrize(("kind", "shape"), [("numbers", ()), ("labels", (3,))])
def test_batch_of_no_example_has_no_loss(
    checkpoints: Checkpoints, kind: Kind, shape: tuple[int, ...]
) -> None:
    text = Corpus(PLAIN[:4], "sentence")
    labels = (np.arange(4 * int(np.prod(shape))).reshape(4, *shape) % 2).astype(np.float64)
    joint = joint_of(checkpoints, text=text, labels=labels, kind=kind)
    loss = loss_of(joint, NONE)
    loss.backward()
    assert loss == 0
    assert not any(p.grad.any() for p in joint.module.parameters() if p.grad is not None)


@every_recipe
def test_activations_computed_twice_give_the_same_gradients(checkpoints: Checkpoints, name: str) -> None:
    found = []
    for checkpointing in (False, True):
        joint = joint_of(checkpoints, FAMILIES, recipe(name, checkpointing=checkpointing))
        joint.module.train()
        torch.manual_seed(5)
        loss_of(joint, everything(joint)).backward()
        found.append([p.grad for p in joint.module.parameters() if p.grad is not None])
    assert len(found[0]) == len(found[1])
    assert all(torch.allclose(a, b, rtol=1e-4, atol=1e-5) for a, b in zip(*found, strict=True))


def test_mixed_precision_keeps_vectors_in_single(checkpoints: Checkpoints) -> None:
    joint = joint_of(checkpoints, FAMILIES, recipe(normalize=False))
    inputs = joint.batch("train", everything(joint)).inputs
    exact = joint.module.eval().vectors(inputs)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = joint.module.vectors(inputs)
    assert mixed.dtype == torch.float32
    assert 0 < float((mixed - exact).detach().norm() / exact.detach().norm()) < 0.05


# Learning


@every_recipe
def test_two_members_with_different_tokenizers_learn_words_by_heart(
    checkpoints: Checkpoints, name: str
) -> None:
    fast = {"adapter_rate" if name == "lora" else "backbone_rate": 3e-3}
    how = replace(recipe(name, head_dropout=0.0, **fast), learning_rate=5e-2)
    joint = joint_of(checkpoints, ("bert", "gpt2"), how)
    assert list(trained(joint, 140 if name == "lora" else 60))
    assert (outputs(joint).argmax(dim=1).numpy() == joint.problem.parts["validation"].labels).all()


@pytest.mark.parametrize(
    ("unit", "kind"),
    [
        ("sentence", "classes"),
        ("pair", "classes"),
        ("sentence", "labels"),
        ("pair", "numbers"),
        ("word", "numbers"),
    ],
)
def test_every_kind_of_example_is_learnt(checkpoints: Checkpoints, unit: Unit, kind: Kind) -> None:
    text = Corpus(PLAIN[:8], unit)
    rng = np.random.default_rng(0)
    labels: NDArray[Any] = long_words(text)
    if kind == "labels":
        labels = rng.integers(0, 2, size=(text.n_rows, 3)).astype(np.float64)
    elif kind == "numbers":
        labels = 100 + 5 * rng.normal(size=text.n_rows)
        labels[1] = np.nan
    how = replace(recipe(backbone_rate=3e-3, head_dropout=0.0), learning_rate=2e-2)
    losses = list(trained(joint_of(checkpoints, how=how, text=text, labels=labels, kind=kind), 40))
    assert losses[-1] < 0.2 * losses[0]


def test_rows_that_do_not_count_teach_nothing(checkpoints: Checkpoints) -> None:
    text = Corpus(PLAIN[:4], "word")
    labels = long_words(text)
    labels[: len(PLAIN[0])] = -100
    joint = joint_of(checkpoints, text=text, labels=labels)
    assert joint.counts().tolist() == [0, *(len(words) for words in PLAIN[1:4])]
    assert loss_of(joint, np.array([0])) == 0
    assert loss_of(joint, np.array([1])) > 0


def test_frozen_members_stay_as_they_are(checkpoints: Checkpoints) -> None:
    joint = joint_of(checkpoints, ("bert", "gpt2"), recipe(freeze="1", backbone_rate=1e-2))
    before = [{n: w.clone() for n, w in model.state_dict().items()} for model in joint.module.models]
    list(trained(joint, 3))
    after = [model.state_dict() for model in joint.module.models]
    assert all(torch.equal(before[0][name], after[0][name]) for name in before[0])
    assert not all(torch.equal(before[1][name], after[1][name]) for name in before[1])
    assert {name.partition(".")[0] for name in joint.learned()} == {"head", "1"}
    assert not joint.module.models[0].training, "dropout of what is frozen would be noise"
    assert joint.module.models[1].training


@pytest.mark.parametrize(
    ("freeze", "learns"),
    [("all", {"head"}), ("1,2", {"head"}), ("gpt2", {"head", "0"}), ("2 embeddings", {"head", "0"})],
)
def test_members_are_frozen_by_name_or_number(
    checkpoints: Checkpoints, freeze: str, learns: set[str]
) -> None:
    joint = joint_of(checkpoints, ("bert", "gpt2"), recipe(freeze=freeze))
    assert {name.partition(".")[0] for name in joint.learned()} == learns
    assert any("embeddings" in name for name in joint.learned()) == (freeze == "gpt2")
    loss_of(joint, everything(joint)).backward()


@pytest.mark.parametrize("freeze", ["3", "0", "roberta", "everything"])
def test_freezing_what_is_not_there_is_refused(checkpoints: Checkpoints, freeze: str) -> None:
    with pytest.raises(UsageError, match=f"no {freeze} to freeze") as caught:
        joint_of(checkpoints, ("bert", "gpt2"), recipe(freeze=freeze))
    assert "1 to 2: bert, gpt2" in (caught.value.fix or "")


def test_lora_changes_adapters_and_head_only(checkpoints: Checkpoints) -> None:
    joint = joint_of(checkpoints, FAMILIES, recipe("lora", rank=2))
    before = {name: p.detach().clone() for name, p in joint.module.named_parameters()}
    list(trained(joint, 3))
    changed = {name for name, p in joint.module.named_parameters() if not torch.equal(p, before[name])}
    assert changed
    assert all("lora_" in name or name.startswith("head.") for name in changed)
    assert all("lora_" in name or name.startswith("head.") for name in joint.learned())
    assert {name.partition(".")[0] for name in joint.learned()} == {"head", *map(str, range(len(FAMILIES)))}
    assert joint.details["learning"] < joint.details["parameters"] / 4


def test_adapters_change_nothing_before_they_learn(checkpoints: Checkpoints) -> None:
    plain, adapted = (joint_of(checkpoints, FAMILIES, recipe(name)) for name in ("full", "lora"))
    assert torch.allclose(outputs(plain), outputs(adapted), atol=1e-6)


def test_adapters_go_where_they_are_wished(checkpoints: Checkpoints) -> None:
    learned = joint_of(checkpoints, ["bert"], recipe("lora", modules="query, value")).learned()
    assert {name.split(".lora_")[0].rpartition(".")[2] for name in learned if "lora_" in name} == {
        "query",
        "value",
    }
    with pytest.raises(CheckpointError, match="bert: it takes no adapters at c_attn") as caught:
        joint_of(checkpoints, ["bert"], recipe("lora", modules="c_attn"))
    assert "query" in (caught.value.fix or "")


# Rates


@pytest.mark.parametrize("family", FAMILIES)
def test_lower_layers_learn_slower(checkpoints: Checkpoints, family: str) -> None:
    joint = joint_of(checkpoints, [family], recipe(layer_decay=0.5, backbone_rate=1e-3))
    rates = {name: rate for name, rate in joint.rates.items() if not name.startswith("head.")}
    layers = {name: re.search(r"[a-z]\.(\d)\.", name) for name in rates}
    of_layers = [
        {rates[name] for name, layer in layers.items() if layer and layer[1] == number} for number in "01"
    ]
    assert of_layers == [{5e-4}, {1e-3}]
    assert {rate for name, rate in rates.items() if "embed" in name or "wte" in name} == {2.5e-4}
    assert set(joint.rates.values()) == {2.5e-4, 5e-4, 1e-3, recipe().learning_rate}


def test_the_head_has_the_recipes_rate_and_biases_and_norms_do_not_decay(checkpoints: Checkpoints) -> None:
    joint = joint_of(checkpoints, FAMILIES)
    groups = joint.groups()
    assert groups[0]["lr"] == recipe().learning_rate
    assert {group["lr"] for group in groups} == {recipe().learning_rate, 2e-5}
    kept = {id(p) for group in groups if group.get("weight_decay") == 0 for p in group["params"]}
    for name, parameter in joint.module.named_parameters():
        if parameter.requires_grad:
            flat = name.endswith("bias") or "norm" in name.lower() or "ln_" in name
            assert (id(parameter) in kept) == flat, name


# What was learned


@every_recipe
def test_what_was_learned_gives_the_same_outputs_again(checkpoints: Checkpoints, name: str) -> None:
    first, other = (joint_of(checkpoints, FAMILIES, recipe(name), seed=seed) for seed in (0, 1))
    list(trained(first, 2))
    assert not torch.equal(outputs(first), outputs(other))
    other.restore(first.learned())
    assert torch.equal(outputs(first), outputs(other))
    assert all(value.dtype == np.float32 for value in first.learned().values())


@every_recipe
def test_beginning_leaves_the_head_alone(checkpoints: Checkpoints, name: str) -> None:
    first = joint_of(checkpoints, how=recipe(name))
    list(trained(first, 2))
    text = Corpus(PLAIN[:4], "word")
    other = joint_of(checkpoints, how=recipe(name), text=text, labels=long_words(text) % 2, seed=1)
    head = other.learned()["head.weight"]
    other.begin(first.learned())
    taken = other.learned()
    assert (taken["head.weight"] == head).all()
    assert all((taken[key] == value).all() for key, value in first.learned().items() if key[0].isdigit())


def test_what_it_began_with_is_kept_though_it_is_frozen(checkpoints: Checkpoints) -> None:
    first = joint_of(checkpoints)
    list(trained(first, 2))
    second, again = (joint_of(checkpoints, how=recipe(freeze="all")) for _ in range(2))
    second.begin(first.learned())
    again.restore(second.learned())
    assert torch.equal(outputs(second), outputs(again))
    assert not torch.equal(outputs(second), outputs(joint_of(checkpoints, how=recipe(freeze="all"))))


def test_what_others_learned_is_refused(checkpoints: Checkpoints) -> None:
    joint = joint_of(checkpoints, ("bert", "gpt2"))
    learned = joint.learned()
    swapped = joint_of(checkpoints, ("gpt2", "bert")).learned()
    fewer = {name: value for name, value in learned.items() if name != "head.bias"}
    misshapen = learned | {"head.bias": np.zeros(7, np.float32)}
    for odd in (swapped, fewer, misshapen, {}):
        with pytest.raises(UsageError, match="does not fit"):
            joint.restore(odd)
    for odd in (swapped, {"head.bias": learned["head.bias"]}):
        with pytest.raises(UsageError, match="does not fit"):
            joint.begin(odd)
    assert all((joint.learned()[name] == value).all() for name, value in learned.items())


def test_initial_weights_follow_from_the_seed_alone(checkpoints: Checkpoints) -> None:
    made = []
    for noise, seed in ((1, 0), (2, 0), (1, 1)):
        torch.manual_seed(noise)
        state = torch.get_rng_state()
        made.append(joint_of(checkpoints, how=recipe("lora"), seed=seed).learned())
        assert torch.equal(torch.get_rng_state(), state)
    same, other = ([(made[0][name] == one[name]).all() for name in made[0]] for one in made[1:])
    assert all(same)
    assert not other[0]


# Batches


def test_sizes_are_those_of_the_member_that_makes_the_most(checkpoints: Checkpoints) -> None:
    text = Corpus((*PLAIN[:3], LONG, (ZERO_WIDTH,)), "word")
    alone = [joint_of(checkpoints, [family], text=text).sizes("train") for family in FAMILIES]
    together = joint_of(checkpoints, FAMILIES, text=text).sizes("train")
    assert (together == np.max(alone, axis=0)).all()
    assert together.min() >= 1
    tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoints["bert"])
    assert alone[0][0] == len(tokenizer(list(PLAIN[0]), is_split_into_words=True)["input_ids"])
    assert alone[0][3] > len(tokenizer(list(LONG), is_split_into_words=True)["input_ids"]), "windows overlap"


def test_little_is_padded_however_members_differ_in_length(checkpoints: Checkpoints) -> None:
    rng = np.random.default_rng(0)
    words = [word for sentence in PLAIN for word in sentence]
    text = Corpus(tuple(tuple(rng.choice(words, size=n)) for n in rng.integers(2, 30, size=400)), "word")
    joint = joint_of(checkpoints, FAMILIES, text=text)
    assert joint.padded is None
    slots = filled = 0
    for step in steps(joint.sizes("train"), 1024, 2, [0]):
        for examples in step:
            for member in joint.batch("train", examples).inputs:
                for batch in member["batches"]:
                    slots += batch["ids"].numel()
                    filled += int(batch["mask"].sum())
    assert joint.padded == pytest.approx(1 - filled / slots)
    assert joint.padded <= 0.15


# Members that cannot be tuned


@pytest.fixture
def damaged(checkpoints: Checkpoints, tmp_path: Path) -> Path:
    folder = Path(shutil.copytree(checkpoints["bert"], tmp_path / "damaged"))
    weights = load_file(folder / "model.safetensors")
    weights.pop("bert.encoder.layer.1.output.dense.weight")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def test_a_member_that_is_not_whole_is_named(checkpoints: Checkpoints, damaged: Path) -> None:
    with pytest.raises(CheckpointError, match=r"org/broken: 1 of its weights are missing"):
        joint_of(checkpoints | {"org/broken": damaged}, ("gpt2", "org/broken"))


def test_a_member_that_reads_images_is_named(checkpoints: Checkpoints, tmp_path: Path) -> None:
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    model = transformers.ViTModel(transformers.ViTConfig(image_size=16, patch_size=8, **sizes))
    model.save_pretrained(tmp_path / "eye")
    with pytest.raises(CheckpointError, match="eye: it reads no text") as caught:
        joint_of(checkpoints | {"eye": tmp_path / "eye"}, ("gpt2", "eye"))
    assert "pixel_values" in (caught.value.why or "")


def test_a_layer_that_a_member_does_not_have_is_refused_by_its_name(checkpoints: Checkpoints) -> None:
    with pytest.raises(CheckpointError, match="bert: it has no layer 3"):
        joint_of(checkpoints, ["bert"], recipe(reading=Reading(layer="3")))
    with pytest.raises(UsageError, match="one layer"):
        joint_of(checkpoints, ["bert"], recipe(reading=Reading(layer="all")))


class Greedy(torch.nn.Module):
    """Wants more memory than there is."""

    def forward(self, **_: Any) -> torch.Tensor:
        return torch.empty(2**50)


class Full(torch.nn.Module):
    """Runs on an accelerator that has no memory left."""

    def forward(self, **_: Any) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")


class Wrong(torch.nn.Module):
    """Has a fault of its own."""

    def forward(self, **_: Any) -> torch.Tensor:
        return torch.ones(2) @ torch.ones(3)


@pytest.mark.parametrize("model", [Greedy(), Full()], ids=["processor", "accelerator"])
def test_a_member_that_there_is_no_memory_for_is_named(
    checkpoints: Checkpoints, model: torch.nn.Module
) -> None:
    joint = joint_of(checkpoints, ("bert", "gpt2"))
    joint.module.encoders[1].model = model
    with pytest.raises(OutOfMemoryError, match="not enough memory to train gpt2") as caught:
        loss_of(joint, everything(joint))
    assert "--micro-batch" in (caught.value.fix or "")


def test_other_faults_are_not_taken_for_lack_of_memory(checkpoints: Checkpoints) -> None:
    joint = joint_of(checkpoints, ("bert", "gpt2"))
    joint.module.encoders[1].model = Wrong()
    with pytest.raises(RuntimeError, match="size"):
        loss_of(joint, everything(joint))
