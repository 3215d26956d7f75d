"""Evaluation of a model that only answers: a server is asked every question, its answers are judged as any other's.

What needs the model itself (token probabilities, gradients, layers) is unscored, with the reason. Answers are kept in
the store one by one, by address, model name, length limit and question, so that a call that was interrupted goes on
where it stopped. A server may change what is behind a name: `again` asks anew.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from typing import Any

from ..data.example import Example, Prompt
from ..metrics._shared import join
from ..metrics.have import Answers, Measurements, Texts
from ..metrics.needs import FirstToken, Generations, GradNorms, Judged, Lens, Need
from ..metrics.score import Metric, Score, metric_id
from ..models.chat_server import ChatServer, Reply
from ..naming import digest
from ..runs.run import Run
from ..runs.store import Store
from .collect import Collector
from .judges import Judges
from .samples import sample_rows
from .texts import asked_of, prompts_of
from .token_stats import MICRO_TOKENS

_VERSION = 1
"""Part of the store's keys; raise it when questions are put otherwise."""
_MAX_LENGTH = 1024
"""Tokens that a reading model reads of a question and its answer."""
TOKENS = "needs token probabilities, which this endpoint does not give"
_LACKS: tuple[tuple[type[Any], str], ...] = (
    (GradNorms, "needs gradients, which an endpoint does not give"),
    (FirstToken, TOKENS),
    (Lens, "needs the layers of the network, which an endpoint does not give"),
)
_Ask = tuple[Prompt, int]
"""A question, and how many tokens the answer may have."""


class EndpointEvaluator:
    """Measures the model behind a server on splits and scores it.

    Args:
        splits: Rows by split.
        metrics: What is computed on them.
        server: Who answers.
        store: Where answers and judgements are kept and looked up.
        run: Whose progress, notes and signals to use.
        again: Ask also what the store has an answer to.
    """

    def __init__(
        self,
        splits: Mapping[str, Sequence[Example]],
        metrics: Sequence[Metric],
        server: ChatServer,
        *,
        store: Store,
        run: Run,
        again: bool = False,
    ) -> None:
        self._splits = dict(splits)
        self._metrics = {metric_id(metric): metric for metric in metrics}
        self._server, self._store, self._run, self._again = server, store, run, again
        self._judges = Judges(store, run, Collector(store, run, _MAX_LENGTH, MICRO_TOKENS), _MAX_LENGTH)
        self._answers: dict[Need, Answers] = {}
        self._missing: dict[Need, str] = {}
        self._remarks: dict[Need, str] = {}
        self._cut: dict[Generations, tuple[int, int]] = {}
        self._tag = ""
        self.asked = 0
        """Questions that were sent; the others were in the store."""

    def measure(self, tag: str) -> None:
        """Ask every question that a metric needs an answer to. Repeated, it goes on where it stopped.

        Args:
            tag: The model's name in the run.

        Raises:
            ModelError: the server does not answer, or not with chat completions; what was answered is kept.
            PlanError: the key's variable is not set.
            Interrupted: a signal asked the run to stop; what was answered is kept.
        """
        self._tag = tag
        needs = list(dict.fromkeys(need for metric in self._metrics.values() for need in metric.needs))
        judged = [need for need in needs if isinstance(need, Judged) and need.model == "subject"]
        texts = [need for need in needs if isinstance(need, Generations) and need.model == "subject"]
        texts = list(dict.fromkeys([*texts, *(asked_of(need.generations) for need in judged)]))  # type: ignore[list-item]
        for need in needs:
            if need not in judged and need not in texts:
                self._missing[need] = self._lacks(need)
        for need in [need for need in texts if need.sampling]:
            self._missing[need] = "needs sampled answers; an endpoint is asked for its likeliest ones"
            texts.remove(need)
        questions = {need: self._questions(need) for need in texts}
        wanted = [(p, n.max_new_tokens) for n, rows in questions.items() for prompts in rows.values() for p in prompts]
        replies = self._collect(list(dict.fromkeys(wanted)))
        for need, rows in questions.items():
            found = {i: [replies[p, need.max_new_tokens] for p in prompts] for i, prompts in rows.items()}
            self._answers[need] = {i: tuple(reply.text for reply in of) for i, of in found.items()}
            every = [reply for of in found.values() for reply in of]
            self._cut[need] = sum(reply.cut for reply in every), len(every)
            self._note(need)
        for one in judged:
            own: Any = asked_of(one.generations)
            if own in self._missing:
                self._missing[one] = self._missing[own]
                continue
            given: Texts = self._answers[own]  # type: ignore[assignment]
            said = self._judges.answer(tag, one, self._splits.get(one.split, ()), given, "fp32")
            if said.answers is None:
                self._missing[one] = said.missing
            else:
                self._answers[one], self._remarks[one] = said.answers, said.remark

    def scores(self) -> dict[str, dict[str, Score]]:
        """Tag → metric id → score; notes say where answers were cut."""
        have = Measurements(self._splits, self._answers, self._missing, self._remarks)
        return {self._tag: {name: self._noted(metric, metric.score(have)) for name, metric in self._metrics.items()}}

    def samples(self) -> list[dict[str, Any]]:
        """Rows of samples.jsonl."""
        return sample_rows(self._splits, self._metrics, {self._tag: self._answers}, self.scores())

    def _questions(self, need: Generations) -> dict[str, tuple[Prompt, ...]]:
        """Prompts by example id; plain text has no question, so nobody can be asked it."""
        rows = self._splits.get(need.split, ())
        found = {row.id: prompts_of(row, need.prompt) for row in rows}
        return {i: prompts for i, prompts in found.items() if prompts and all(prompts)}

    def _collect(self, asks: Sequence[_Ask]) -> dict[_Ask, Reply]:
        """The reply to every question, from the store or from the server."""
        found: dict[_Ask, Reply] = {}
        for ask in asks if not self._again else ():
            table = self._store.get_table(self._key(ask))
            if table is not None:
                found[ask] = Reply(str(table["text"][0]), bool(table["cut"][0]))
        left = [ask for ask in asks if ask not in found]
        if not left:
            return found
        key = self._server.key()
        with (
            self._run.progress(f"ask {self._tag}", len(left), "answers") as bar,
            self._server.session(key) as session,
            ThreadPoolExecutor(self._server.parallel) as workers,
        ):
            jobs = {workers.submit(self._server.ask, session, key, _body(ask)): ask for ask in left}
            try:
                for job in as_completed(jobs):
                    self._take(jobs[job], job.result()[0], found)
                    bar.advance(1)
                    self._run.check_stop()
            except BaseException:
                for job in jobs:
                    job.cancel()
                for job in jobs:  # those under way are finished and kept
                    if jobs[job] not in found and not job.cancelled():
                        with contextlib.suppress(Exception):
                            self._take(jobs[job], job.result()[0], found)
                raise
        return found

    def _take(self, ask: _Ask, reply: Reply, found: dict[_Ask, Reply]) -> None:
        self._store.put_table(self._key(ask), {"text": [reply.text], "cut": [reply.cut]})
        found[ask] = reply
        self.asked += 1

    def _key(self, ask: _Ask) -> str:
        prompt, limit = ask
        who = [self._server.base_url.rstrip("/"), self._server.model]
        return digest(["endpoint", _VERSION, *who, limit, _messages(prompt)])

    def _lacks(self, need: Need) -> str:
        if isinstance(need, Generations | Judged):
            return f"needs the answers of the model {need.model!r}, and an endpoint is one model"
        return next((why for kind, why in _LACKS if isinstance(need, kind)), TOKENS)

    def _note(self, need: Generations) -> None:
        cut, total = self._cut[need]
        if cut:
            self._run.note(f"{cut} of {total} answers to {need.split} were cut at max_tokens={need.max_new_tokens}")

    def _noted(self, metric: Metric, score: Score) -> Score:
        if not score.scored:
            return score
        read = [asked_of(n.generations) if isinstance(n, Judged) else n for n in metric.needs]
        counts = {n: self._cut[n] for n in read if isinstance(n, Generations) and self._cut.get(n, (0, 0))[0]}
        cut = [f"{k} of {total} answers cut at max_tokens={n.max_new_tokens}" for n, (k, total) in counts.items()]
        return replace(score, note=join(score.note, *cut))


def _messages(prompt: Prompt) -> list[dict[str, str]]:
    if isinstance(prompt, str):
        return [{"role": "user", "content": prompt}]
    return [{"role": turn.role, "content": turn.content} for turn in prompt]


def _body(ask: _Ask) -> dict[str, Any]:
    prompt, limit = ask
    return {"messages": _messages(prompt), "temperature": 0, "max_tokens": limit, "seed": 0}
