"""Tiny checkpoints with random weights, and the text they were given tokenizers for."""

from __future__ import annotations

from pathlib import Path

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

TEXT = [
    "The keeper of the small zoo counted every animal twice before the gates were opened .",
    "A checkpoint is a set of numbers that somebody else has paid for , and nobody explains .",
    "When it rains in the morning , visitors stay at home and the tigers sleep until noon .",
    "Covariances are estimated from features , features from words , and words from old books .",
    "Two tokenizers never agree on where a word ends ; rows must agree nevertheless .",
    "He measured the distance between the cages with a rope and wrote it down in pencil .",
    "Nothing that was computed once should have to be computed again next Tuesday .",
    "Parrots repeat whatever they hear , which makes them honest and rather poor company .",
    "The committee read three reports about transferability and asked for a fourth one .",
    "Some models are wide , some are deep , and a few are both without being any better .",
    "She labelled nine thousand sentences by hand and found four mistakes in the guidelines .",
    "An index can be built again from what it points to , if somebody kept the originals .",
    "Giraffes look over fences ; that is most of what a giraffe does on an ordinary day .",
    "If the disk is full the program should say so , and say it before the work is lost .",
]

FAMILIES = ("bert", "roberta", "gpt2", "t5", "llama")

_SPECIAL = ["<pad>", "<s>", "</s>", "<unk>", "<mask>"]


def make_checkpoint(family: str, folder: Path, *, seed: int = 0, window: int = 48) -> Path:
    """A checkpoint of a family with random weights, in `folder`."""
    tokenizer = _tokenizer(family, window)
    torch.manual_seed(seed)
    model = _model(family, len(tokenizer), window)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _model(family: str, vocabulary: int, window: int) -> transformers.PreTrainedModel:
    ids = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    if family == "bert":
        return transformers.BertForMaskedLM(
            transformers.BertConfig(
                vocab_size=vocabulary, max_position_embeddings=window, pad_token_id=0, **sizes
            )
        )
    if family == "roberta":
        return transformers.RobertaForMaskedLM(
            transformers.RobertaConfig(
                vocab_size=vocabulary, max_position_embeddings=window + 1, type_vocab_size=1, **ids, **sizes
            )
        )
    if family == "gpt2":
        return transformers.GPT2LMHeadModel(
            transformers.GPT2Config(
                vocab_size=vocabulary,
                n_positions=window,
                n_embd=24,
                n_layer=2,
                n_head=2,
                bos_token_id=1,
                eos_token_id=2,
            )
        )
    if family == "t5":
        return transformers.T5ForConditionalGeneration(
            transformers.T5Config(
                vocab_size=vocabulary,
                d_model=16,
                d_kv=8,
                d_ff=32,
                num_layers=2,
                num_heads=2,
                decoder_start_token_id=0,
                pad_token_id=0,
                eos_token_id=2,
            )
        )
    return transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=vocabulary, max_position_embeddings=window, num_key_value_heads=2, **ids, **sizes
        )
    )


def _tokenizer(family: str, window: int) -> PreTrainedTokenizerFast:
    """WordPiece in lower case, byte-level BPE, or Unigram; only some have a padding token."""
    if family == "bert":
        raw = Tokenizer(models.WordPiece(unk_token="<unk>"))
        raw.normalizer = normalizers.BertNormalizer(lowercase=True)
        raw.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        raw.decoder = decoders.WordPiece()
        trainer: trainers.Trainer = trainers.WordPieceTrainer(vocab_size=300, special_tokens=_SPECIAL)
    elif family == "t5":
        raw = Tokenizer(models.Unigram())
        raw.pre_tokenizer = pre_tokenizers.Metaspace()
        raw.decoder = decoders.Metaspace()
        trainer = trainers.UnigramTrainer(vocab_size=200, special_tokens=_SPECIAL, unk_token="<unk>")
    else:
        raw = Tokenizer(models.BPE())
        raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
        raw.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=400, special_tokens=_SPECIAL, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
        )
    raw.train_from_iterator(TEXT, trainer)
    if family in ("bert", "roberta"):
        raw.post_processor = processors.TemplateProcessing(
            single="<s> $A </s>", pair="<s> $A </s> $B </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
        )
    named = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
    if family not in ("gpt2", "llama"):
        named |= {"pad_token": "<pad>", "mask_token": "<mask>"}
    return PreTrainedTokenizerFast(tokenizer_object=raw, model_max_length=window, **named)
