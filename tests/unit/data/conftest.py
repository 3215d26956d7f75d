"""Small tokenizers built in memory, one of each habit met in the wild."""

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

CORPUS = [
    "What is the capital of France? The capital of France is Paris.",
    "Who wrote it? It was written by Ada, in 1984.\n\nYes. No! (really)",
    "system\nYou are a helpful assistant\nuser\nassistant\n",
] * 4

CHATML = (
    "{% if messages[0]['role'] != 'system' %}<|im_start|>system\nYou help.<|im_end|>\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
NO_SYSTEM = (  # refuses a system turn, calls the assistant "model", trims, writes BOS itself
    "<bos>{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('System role not supported') }}"
    "{% endif %}<|im_start|>{{ 'model' if m['role'] == 'assistant' else m['role'] }}\n{{ m['content'] | trim }}"
    "<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>model\n{% endif %}"
)
DROPS_SYSTEM = (
    "{% for m in messages %}{% if m['role'] != 'system' %}<|im_start|>{{ m['role'] }}: {{ m['content'] }}<|im_end|>"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant: {% endif %}"
)
LATE_SYSTEM = (  # writes the system text into the last user turn, which is none of ours in a longer conversation
    "{% set first = 1 if messages[0]['role'] == 'system' else 0 %}{% for m in messages[first:] %}"
    "{% if m['role'] == 'user' %}<|im_start|>{% if loop.last and first %}{{ messages[0]['content'] }} {% endif %}"
    "{{ m['content'] }}<|im_end|>{% else %}{{ m['content'] }}<eos>{% endif %}{% endfor %}"
)
DATED = (
    "<|im_start|>{{ strftime_now('%d %b %Y') }} {{ date_string }}\n{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{{ m['content'] }}<|im_end|>{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
BRACKETS = (  # an answer follows "] " and its own space; nothing but EOS ends it
    "{% for m in messages %}{% if m['role'] == 'assistant' %} {{ m['content'] }} <eos>{% else %}[{{ m['content'] }}]"
    "{% endif %}{% endfor %}"
)
NO_END = (
    "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)
THINKS = (  # a reasoning model: the generation prompt opens a block that the full rendering has closed
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% if m['role'] == 'assistant' and loop.last %}<think>\n\n"
    "</think>\n\n{% endif %}{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% if enable_thinking is defined and not enable_thinking %}"
    "<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
CONSTANT = (
    "<|im_start|>user\nTell me a joke<|im_end|>\n{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TWICE = "{% for m in messages %}{{ m['content'] }} {{ m['content'] }}<|im_end|>{% endfor %}"

SPECIAL = ["<eos>", "<bos>", "<pad>", "<|im_start|>", "<|im_end|>"]


def build(kind="bytes", *, chat=None, bos=False, pad=True, eos="<eos>", normaliser=None):
    """A fast tokenizer: ``bytes`` (GPT-2 like), ``pieces`` (SentencePiece like), ``chars`` or ``words``."""
    if kind == "bytes":
        tok = Tokenizer(models.BPE())
        tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tok.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=420,
            special_tokens=SPECIAL,
            show_progress=False,
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        )
    elif kind == "pieces":
        tok = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
        tok.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
        tok.decoder = decoders.Sequence(
            [decoders.Metaspace(prepend_scheme="first"), decoders.ByteFallback(), decoders.Fuse()]
        )
        trainer = trainers.BpeTrainer(vocab_size=200, special_tokens=["<unk>", *SPECIAL], show_progress=False)
    elif kind == "chars":
        tok = Tokenizer(models.WordLevel(unk_token="<unk>"))
        tok.pre_tokenizer = pre_tokenizers.Split("", "isolated")
        tok.decoder = decoders.Fuse()
        trainer = trainers.WordLevelTrainer(special_tokens=["<unk>", *SPECIAL], show_progress=False)
    else:
        tok = Tokenizer(models.WordLevel(unk_token="<unk>"))
        tok.pre_tokenizer = pre_tokenizers.Whitespace()
        trainer = trainers.WordLevelTrainer(special_tokens=["<unk>", *SPECIAL], show_progress=False)
    if normaliser:
        tok.normalizer = normaliser
    tok.train_from_iterator(CORPUS, trainer)
    if bos:
        tok.post_processor = processors.TemplateProcessing(
            single="<bos> $A", special_tokens=[("<bos>", tok.token_to_id("<bos>"))]
        )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tok,
        bos_token="<bos>" if bos else None,
        eos_token=eos,
        pad_token="<pad>" if pad else None,
        unk_token=None if kind == "bytes" else "<unk>",
        additional_special_tokens=["<|im_start|>", "<|im_end|>"],
    )
    fast.chat_template = chat
    return fast


@pytest.fixture(scope="session")
def make_tokenizer():
    return build


@pytest.fixture(scope="session")
def templates():
    return {
        "chatml": CHATML,
        "no_system": NO_SYSTEM,
        "drops_system": DROPS_SYSTEM,
        "late_system": LATE_SYSTEM,
        "dated": DATED,
        "brackets": BRACKETS,
        "no_end": NO_END,
        "thinks": THINKS,
        "constant": CONSTANT,
        "twice": TWICE,
    }


@pytest.fixture(scope="session")
def lower_case():
    return normalizers.Lowercase()
