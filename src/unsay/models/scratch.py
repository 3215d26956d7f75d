"""A small Llama with a tokenizer of its own, made from texts and a seed: for experiments that begin from nothing."""

from __future__ import annotations

from collections.abc import Sequence

from ..data.template import Template
from ..errors import PlanError
from .lm import LM

_HEAD = 16
"""Width of an attention head."""


def scratch_lm(texts: Sequence[str], *, vocabulary: int = 600, width: int = 64, layers: int = 2, seed: int = 0) -> LM:
    """An untrained model whose byte-level tokenizer was fitted to `texts`; it encodes any text. fp32, plain template.

    Args:
        texts: What the pieces of the vocabulary are learned from, the same in any order.
        vocabulary: Most tokens, at least the 257 that every text needs.
        width: Of the hidden states, a multiple of 32.
        layers: Decoder layers.
        seed: Of the weights; the global random state is left alone.

    Raises:
        PlanError: a size is out of its range.
    """
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    if width % 32 or width < 32 or layers < 1 or vocabulary < 257:
        raise PlanError(
            f"width {width}, {layers} layers, {vocabulary} tokens: no model is made of these",
            "width=64 layers=2 vocabulary=600",
        )
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=["<|end|>"], initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator(sorted(texts), trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token="<|end|>", pad_token="<|end|>", model_max_length=512
    )
    end = tokenizer.eos_token_id
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=width // _HEAD,
        num_key_value_heads=width // _HEAD,
        intermediate_size=3 * width,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=end,
        eos_token_id=end,
        pad_token_id=end,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
    return LM(model.float().eval(), tokenizer, "scratch", Template.of(tokenizer, "plain"))


def pieces(lm: LM) -> list[str]:
    """The printable pieces of a vocabulary that begin with a space or a letter, as text and sorted."""
    found = {str(lm.tokenizer.decode([i])) for i in range(len(lm.tokenizer))}
    return sorted(piece for piece in found if piece.isprintable() and piece.strip().isalpha() and piece.isascii())
