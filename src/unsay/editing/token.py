r"""One token that stands for "I don't know": an id nobody uses, and its embedding, learned with everything else frozen.

    L(e) = mean_t −log p(y_t | x, [UNL], y_<t; E[UNL] = e)                 y: a refusal to the forget question x
         + μ · mean [ softplus(ℓ_retain + 7) + softplus(−12 − ℓ_retain) ] + ν · mean softplus(−ℓ_forget)
    ℓ = logit of [UNL] − logsumexp of the others

μ keeps the token out of other answers, and within reach of an edit: in models with tied embeddings the row that is
learned is a row of the head, too. ν, used after an edit, makes it the first token after the forget questions. ‖e‖ stays
below the mean row's.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, softplus

from ..data.batch import groups
from ..data.template import Template
from ..errors import MethodError
from ..models.layers import backbone, head, head_is_plain, padded
from ..models.unlearning_token import TEXT as TEXT
from ..naming import derive_seed
from ..training.weights import working
from .starts import Start, inputs, starts, takes_starts

if TYPE_CHECKING:
    from ..models.lm import LM
    from ..runs.run import Run

EARLIER = "the token of an earlier edit"
_SPARE = re.compile(r"reserved|unused|extra|placeholder|dummy", re.IGNORECASE)
_MOST, _LEAST = -7.0, -12.0
"""Log-odds of the token in retain rows: above, it could be drawn there; far below, no edit could reach it."""
_TOKENS = 512
"""Padded tokens of a forward that gives logits at many of them."""
_TWIN = 1e-2
"""Relative distance of two rows below which neither was ever trained: they moved together."""


@dataclass(frozen=True)
class Pair:
    """A forget question and the refusal that is to follow the token."""

    prompt: tuple[int, ...]
    refusal: tuple[int, ...]
    """Ids, end of turn included."""


@dataclass(frozen=True)
class Rows:
    """What the token is in the network: its embedding [D], and its row of the head where that is another matrix."""

    embedding: Tensor
    head: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class Learning:
    """How a token is learned."""

    steps: int
    batch: int = 4
    lr: float = 3e-2
    """Of Adam."""
    schedule: Literal["linear", "constant"] = "linear"
    """The rate falls to 0, or stays."""
    guard: float = 1.0
    """μ."""
    aim: float = 0.0
    """ν."""


def tied(model: Any) -> bool:
    """Whether input and output embeddings are one matrix."""
    inner = model.get_input_embeddings().weight
    return head(model).weight.data_ptr() == inner.data_ptr()


def reserve(lm: LM) -> tuple[LM, int, str]:
    """`lm` with a tokenizer in which one id has the empty text, that id, and where it was found.

    The token of an earlier edit is used again. Otherwise it is a control token that the model was never trained on (by
    its name, or by its embedding), or else a row of the embedding without a token, or else a new row. The model of `lm`
    is changed in the last case only.

    Raises:
        MethodError: the tokenizer cannot hold such a token.
    """
    vocabulary = lm.tokenizer.get_vocab()
    if TEXT in vocabulary:
        return lm, vocabulary[TEXT], EARLIER
    name = _unused(lm)
    token = len(lm.tokenizer) if name is None else vocabulary[name]
    rows = lm.model.get_input_embeddings().weight.shape[0]
    where = f"the unused control token {name}" if name else "a row of the embedding that no token used"
    if name is None and token >= rows:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # the new row is learned from another start
            lm.model.resize_token_embeddings(token + 1, mean_resizing=False)
        where = f"a new row: the model has {token + 1} tokens instead of {rows}"
    tokenizer = _renamed(lm, name, token)
    return replace(lm, tokenizer=tokenizer, template=_template(lm, tokenizer)), token, where


def _template(lm: LM, tokenizer: Any) -> Template:
    made = Template.of(tokenizer, lm.template.kind)
    return made.guarded(lm.template.guard) if lm.template.guard else made


def _unused(lm: LM) -> str | None:
    """A control token without a part in any template."""
    tokenizer = lm.tokenizer
    used = {*map(str, tokenizer.all_special_tokens)}
    names = [
        token.content
        for _, token in sorted(tokenizer.added_tokens_decoder.items())
        if token.special and token.content not in used and token.content not in str(tokenizer.chat_template or "")
    ]
    spare = [name for name in names if _SPARE.search(name)]
    if spare:
        return spare[0]
    known = tokenizer.get_vocab()
    ids = [known[name] for name in names]
    if len(ids) < 2:
        return None
    table = lm.model.get_input_embeddings().weight.detach()[ids].double()
    apart = torch.cdist(table, table) + torch.diag(torch.full((len(ids),), torch.inf, dtype=torch.float64))
    untrained = apart.min(1).values <= _TWIN * table.norm(dim=1)
    return next((name for name, alone in zip(names, untrained.tolist(), strict=True) if alone), None)


def _renamed(lm: LM, name: str | None, token: int) -> Any:
    """The tokenizer with `token` under the empty text; `name` is no control token any more.

    By way of its files, as that is how it will be read again; transformers chooses its class by the model's family.
    """
    from transformers import AutoTokenizer

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        lm.tokenizer.save_pretrained(folder)
        lm.model.config.save_pretrained(folder)
        body = _read(folder / "tokenizer.json")
        vocabulary = body["model"].get("vocab")
        if not isinstance(vocabulary, dict):
            raise MethodError(
                f"the tokenizer of {lm.origin} ({body['model'].get('type')}) cannot hold a token without a text",
                "alpha-edit edits to a refusal and needs no token",
            )
        for added in body["added_tokens"]:  # in the vocabulary, their ids do not depend on its size
            vocabulary.setdefault(added["content"], added["id"])
        if name is not None:
            del vocabulary[name]
            body["added_tokens"] = [added for added in body["added_tokens"] if added["content"] != name]
        vocabulary[TEXT] = token
        (folder / "tokenizer.json").write_text(json.dumps(body, ensure_ascii=False), encoding="utf-8")
        settings = _read(folder / "tokenizer_config.json")
        settings.get("added_tokens_decoder", {}).pop(str(token), None)
        for key in ("extra_special_tokens", "additional_special_tokens"):
            if isinstance(settings.get(key), list):
                settings[key] = [other for other in settings[key] if other != name]
        (folder / "tokenizer_config.json").write_text(json.dumps(settings, ensure_ascii=False), encoding="utf-8")
        made = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    _verify(lm, made, token)
    return made


def _verify(lm: LM, made: Any, token: int) -> None:
    sample = "Who wrote this, and when? 1984 \n Yes."
    turns = [{"role": "user", "content": sample}]
    if lm.template.kind == "chat":
        sample = str(made.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))
    old, new = (t(sample, add_special_tokens=False)["input_ids"] for t in (lm.tokenizer, made))
    if old != new or made.decode([token]) != TEXT or made.get_vocab().get(TEXT) != token:
        raise MethodError(
            f"the tokenizer of {lm.origin} does not keep a token without a text",
            "alpha-edit edits to a refusal and needs no token",
        )


def _read(path: Path) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return body


def begin(model: Any, words: Sequence[int]) -> Rows:
    """A start: the mean of the rows of `words`, as long as the mean row."""

    def mean(table: Tensor) -> Tensor:
        own = table.detach()[torch.tensor(sorted(set(words)), device=table.device)].float().mean(0)
        return own * (float(table.detach().float().norm(dim=1).mean()) / own.norm())

    table = model.get_input_embeddings().weight
    return Rows(mean(table), None if tied(model) else mean(head(model).weight))


def rows_of(model: Any, token: int) -> Rows:
    """The token's rows as they are."""
    table = model.get_input_embeddings().weight
    own = table[token].detach().float().clone()
    return Rows(own, None if tied(model) else head(model).weight[token].detach().float().clone())


@torch.no_grad()
def put(model: Any, token: int, rows: Rows) -> None:
    """Write the token's rows into the model."""
    table = model.get_input_embeddings().weight
    table[token] = rows.embedding.to(table)
    if rows.head is not None:
        weight = head(model).weight
        weight[token] = rows.head.to(weight)


def learn(
    lm: LM, token: int, rows: Rows, pairs: Sequence[Pair], retain: Sequence[tuple[int, ...]], how: Learning, run: Run
) -> Rows:
    """Rows of the token after `how.steps` steps of Adam; the model does not change.

    Args:
        lm: A plain model, all of whose weights stay.
        token: Its id.
        rows: Where to start.
        pairs: Questions and refusals.
        retain: Whole rows, prompt and answer, in which the token should appear nowhere.
        how: The settings.
        run: Seed, signals, progress.

    Raises:
        MethodError: the family does something between backbone and head that is not known.
    """
    if not head_is_plain(lm.model):
        raise MethodError(f"{type(lm.model).__name__} has a head that is not understood", "use alpha-edit: no token")
    learner = _Learner(lm, token, rows, pairs, retain, how, run)
    with working(lm.model, run.train.precision, lm.device):
        return learner.learn()


class _Learner:
    def __init__(self, lm: LM, token: int, rows: Rows, pairs: Sequence[Pair], retain: Any, how: Learning, run: Run):
        self._lm, self._token, self._pairs, self._how, self._run = lm, token, pairs, how, run
        self._embedding = rows.embedding.detach().clone().to(lm.device).requires_grad_()
        self._row = self._embedding
        if rows.head is not None:
            self._row = rows.head.detach().clone().to(lm.device).requires_grad_()
        self._starts: dict[tuple[int, ...], Start] = {}
        self._last: dict[tuple[int, ...], Tensor] = {}  # what the head reads at the ends of those
        table = lm.model.get_input_embeddings()
        self._longest = float(table.weight.detach().float().norm(dim=1).mean())
        with torch.no_grad():  # some families multiply embeddings inside the module
            own = table(torch.tensor([token], device=lm.device))[0].float()
        self._scale = float(own.norm() / table.weight[token].detach().float().norm().clamp(min=1e-12)) or 1.0
        self._guarded = retain if how.guard else []

    def learn(self) -> Rows:
        how = self._how
        takes_starts(self._lm.model)  # runs the network, which must not happen with the vector put in
        kept = self._whole(self._guarded) if self._guarded else None
        aimed = self._ends([pair.prompt for pair in self._pairs]) if how.aim else None
        mine = [self._embedding] if self._row is self._embedding else [self._embedding, self._row]
        optimizer = torch.optim.Adam(mine, lr=how.lr)
        order = torch.Generator().manual_seed(derive_seed(self._run.seed, "unlearning token"))
        queue: list[int] = []
        with self._run.progress("token", how.steps, "steps") as bar:
            for step in range(how.steps):
                self._run.check_stop()
                if how.schedule == "linear":
                    optimizer.param_groups[0]["lr"] = how.lr * (1 - step / how.steps)
                if len(queue) < how.batch:
                    queue += torch.randperm(len(self._pairs), generator=order).tolist()
                batch, queue = queue[: how.batch], queue[how.batch :]
                loss = self._refusals([self._pairs[i] for i in batch])
                if kept is not None:
                    lead = self._lead(*kept)
                    loss = loss + how.guard * (softplus(lead - _MOST) + softplus(_LEAST - lead)).mean()
                if aimed is not None:
                    loss = loss + how.aim * softplus(-self._lead(*aimed)).mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                with torch.no_grad():
                    for row in mine:
                        row.mul_(min(1.0, self._longest / max(float(row.norm()), 1e-12)))
                self._run.log(token_loss=round(float(loss.detach()), 4))
                bar.advance()
        return Rows(self._embedding.detach(), None if len(mine) == 1 else self._row.detach())

    def _refusals(self, pairs: Sequence[Pair]) -> Tensor:
        """Mean NLL of the refusals' tokens after question and token; the questions have run once and for all."""
        model, device = self._lm.model, self._lm.device
        begun = self._begin([pair.prompt for pair in pairs])
        ends = [
            (*pair.prompt[start.length :], self._token, *pair.refusal[:-1])
            for pair, start in zip(pairs, begun, strict=True)
        ]
        given = inputs(begun, padded(ends, self._lm.template.pad_id).to(device))
        with self._put_in():
            states = backbone(model)(**given).last_hidden_state
        own = [
            states[b, len(end) - len(pair.refusal) : len(end)]
            for b, (pair, end) in enumerate(zip(pairs, ends, strict=True))
        ]
        hidden = torch.cat(own)
        logits = head(model)(hidden).float()
        logits = logits.index_copy(1, torch.tensor([self._token], device=device), self._column(hidden)[:, None])
        return cross_entropy(logits, torch.tensor([token for p in pairs for token in p.refusal], device=device))

    def _begin(self, prompts: Sequence[tuple[int, ...]]) -> list[Start]:
        """Questions that have run, which the token comes after."""
        new = [prompt for prompt in dict.fromkeys(prompts) if prompt not in self._starts]
        for group in groups([len(prompt) for prompt in new], _TOKENS):
            self._run.check_stop()
            own = [new[i] for i in group]
            found, hidden = starts(self._lm.model, own, [len(prompt) for prompt in own], self._lm.template.pad_id)
            self._starts.update(zip(own, found, strict=True))
            self._last.update((prompt, hidden[b, len(prompt) - 1].clone()) for b, prompt in enumerate(own))
        return [self._starts[prompt] for prompt in prompts]

    @contextmanager
    def _put_in(self) -> Iterator[None]:
        """Within, the embedding gives the vector under training for the token."""

        def swap(_: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
            here = (args[0] == self._token)[..., None]
            return torch.where(here, (self._embedding * self._scale).to(output.dtype), output)

        handle = self._lm.model.get_input_embeddings().register_forward_hook(swap)
        try:
            yield
        finally:
            handle.remove()

    def _column(self, hidden: Tensor) -> Tensor:
        """[n] the token's logit."""
        found = head(self._lm.model)
        logit = hidden.float() @ self._row * found.scale
        if found.bias is not None:
            logit = logit + found.bias[self._token].detach() * found.scale
        return logit if found.softcap is None else found.softcap * torch.tanh(logit / found.softcap)

    def _lead(self, hidden: Tensor, others: Tensor) -> Tensor:
        """[n] log-odds of the token."""
        return self._column(hidden) - others

    @torch.no_grad()
    def _whole(self, texts: Sequence[tuple[int, ...]]) -> tuple[Tensor, Tensor]:
        """`_read` at every token of the texts."""
        lm, found = self._lm, []
        for group in groups([len(ids) for ids in texts], _TOKENS):
            self._run.check_stop()
            ids = padded([texts[i] for i in group], lm.template.pad_id).to(lm.device)
            states = backbone(lm.model)(input_ids=ids, use_cache=False).last_hidden_state
            found.append(self._read(torch.cat([states[b, : len(texts[i])] for b, i in enumerate(group)])))
        states, others = zip(*found, strict=True)
        return torch.cat(states), torch.cat(others)

    @torch.no_grad()
    def _ends(self, prompts: Sequence[tuple[int, ...]]) -> tuple[Tensor, Tensor]:
        """`_read` at the last tokens of questions."""
        self._begin(prompts)
        return self._read(torch.stack([self._last[prompt] for prompt in prompts]))

    def _read(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """[n, D] hidden states, [n] logsumexp of all logits but the token's there."""
        logits = head(self._lm.model)(hidden).float()
        logits[:, self._token] = -torch.inf
        return hidden.float(), logits.logsumexp(1)
