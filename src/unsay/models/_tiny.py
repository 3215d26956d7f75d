"""Tiny random models of real families with a character tokenizer, for tests and `unsay.testing`. Needs no file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..data.template import Kind, Template
from .lm import LM

SPECIALS = ("<|pad|>", "<|unk|>", "<|start|>", "<|end|>")
_CHAT = (
    "{% for message in messages %}"
    "{{ '<|start|>' + message['role'] + '\n' + message['content'] + '<|end|>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start|>assistant\n' }}{% endif %}"
)
_SHAPE = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 1024,
}
_GROUPED = _SHAPE | {"num_key_value_heads": 2}
_GEMMA = _GROUPED | {"head_dim": 8, "sliding_window": 64, "query_pre_attn_scalar": 8}

FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaConfig", _GROUPED | {"tie_word_embeddings": True, "num_hidden_layers": 3}),
    "mistral": ("MistralConfig", _GROUPED | {"head_dim": 8, "sliding_window": 64}),
    "qwen2": ("Qwen2Config", _GROUPED | {"tie_word_embeddings": True}),
    "qwen3": ("Qwen3Config", _GROUPED | {"head_dim": 8}),
    "gemma2": ("Gemma2Config", _GEMMA | {"final_logit_softcapping": 5.0, "attn_logit_softcapping": 10.0}),
    "gemma3": ("Gemma3TextConfig", _GEMMA | {"final_logit_softcapping": 5.0}),
    "gpt-neox": ("GPTNeoXConfig", _SHAPE),
    "phi": ("PhiConfig", _SHAPE),
    "phi3": ("Phi3Config", _GROUPED),
    "gpt2": ("GPT2Config", {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 1024}),
}
"""Family → configuration class of transformers and its sizes. Llama has a tied head, as SmolLM2 does."""


def tiny_tokenizer(family: str = "llama", corpus: Sequence[str] = ()) -> Any:
    """A fast tokenizer with one token for each ASCII character that prints, newline and tab, and a chat template.

    Its pad token differs from its end token ``<|end|>``; it adds no token of its own accord.

    Args:
        family: qwen2 gets the class that transformers insists on for it; it tokenises these characters alike.
        corpus: Texts each of whose words gets a token of its own; not with qwen2.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast, Qwen2Tokenizer

    # As byte-level tokenizers write them: a space is Ġ, a newline Ċ, a tab ĉ; printing ASCII is itself.
    characters = ["Ġ", *(chr(c) for c in range(33, 127)), "Ċ", "ĉ"]
    vocabulary = {token: i for i, token in enumerate([*SPECIALS, *characters])}
    if family == "qwen2":
        start: dict[str, Any] = {"vocab": vocabulary, "merges": []}
    else:
        backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<|unk|>"))
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
        backend.decoder = decoders.ByteLevel()
        backend.add_special_tokens(list(SPECIALS))
        if corpus:
            trainer = trainers.BpeTrainer(
                vocab_size=2**16, show_progress=False, special_tokens=list(SPECIALS), initial_alphabet=characters
            )
            backend.train_from_iterator(corpus, trainer)
        start = {"tokenizer_object": backend}
    return (Qwen2Tokenizer if family == "qwen2" else PreTrainedTokenizerFast)(
        **start,
        pad_token="<|pad|>",
        unk_token="<|unk|>",
        bos_token="<|start|>",
        eos_token="<|end|>",
        chat_template=_CHAT,
        model_max_length=1024,
        clean_up_tokenization_spaces=False,
    )


def tiny_lm(
    family: str = "llama", seed: int = 0, template: Kind = "auto", corpus: Sequence[str] = (), **settings: Any
) -> LM:
    """A random model of 20,000 to 60,000 parameters: width 32, 2 or 3 layers, 101 tokens, 1,024 positions; fp32, eval.

    Args:
        family: A key of `FAMILIES`.
        seed: Of the weights; the global random state is left alone.
        template: ``auto``, ``chat`` or ``plain``.
        corpus: See `tiny_tokenizer`.
        settings: Fields of the family's configuration to set instead, such as ``num_hidden_layers=4``.
    """
    import torch
    import transformers

    name, shape = FAMILIES[family]
    tokenizer = tiny_tokenizer(family, corpus)
    ids = {key: getattr(tokenizer, key) for key in ("pad_token_id", "bos_token_id", "eos_token_id")}
    config = getattr(transformers, name)(**({"vocab_size": len(tokenizer)} | ids | shape | settings))
    for dropout in ("attention_dropout", "hidden_dropout", "resid_pdrop", "embd_pdrop", "attn_pdrop"):
        if dropout in config.to_dict():
            setattr(config, dropout, 0.0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        # Wider than the usual initialisation, so that predictions depend on the input and tests can tell models apart.
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.dim() > 1:
                    parameter.normal_(0.0, 0.2)
    return LM(model.eval(), tokenizer, f"tiny-{family}", Template.of(tokenizer, template))
