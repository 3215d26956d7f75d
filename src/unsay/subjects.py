"""The models of a run: *before* θ0, *after* θu, *retrained* θr. What was made from the same things before is reused."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .config.decode import encode
from .config.plan import ModelSpec, Plan, Teach
from .data.example import Example, ForgetData, rows_fingerprint
from .errors import DamagedError
from .naming import derive_seed, digest
from .runs.manifest import ModelRecord
from .runs.run import Run
from .runs.store import Store
from .writers._obtain import named_files

if TYPE_CHECKING:
    from .models.lm import LM

_RECIPE = "taught-1"
"""Part of the store's key; change it when the meaning of teaching changes."""
_ADAPTER = "adapter-seeded"
"""Part of the key of what is trained as an adapter; change it when adapters begin otherwise."""


@dataclasses.dataclass
class Subject:
    """A model on disk, known by its content, in memory only while somebody needs it."""

    spec: ModelSpec
    """Loads it."""
    fingerprint: str
    _live: LM | None = None

    @classmethod
    def of(cls, spec: ModelSpec) -> Subject:
        """The model that `spec` names."""
        from .models.lm import LM

        lm = LM.load(spec)
        return cls(spec, lm.fingerprint(), lm)

    def load(self) -> LM:
        """The model, read again unless it is still in memory."""
        from .models.lm import LM

        if self._live is None:
            self._live = LM.load(self.spec)
        return self._live

    def drop(self) -> None:
        """Let go of the memory."""
        self._live = None


class Subjects:
    """Makes or finds the models of a run, one at a time in memory.

    Args:
        run: Where things go.
        base: The plan's model, loaded.
        taught: Rows the before model is taught; empty when it is given as it is.
    """

    def __init__(self, run: Run, base: LM, taught: Sequence[Example]):
        self._run, self._plan, self._taught_rows = run, run.plan, taught
        self._store = Store()
        self._plain = dataclasses.replace(run.plan.model, adapter=None)
        self._base = Subject(self._plain, base.fingerprint(), base)

    @property
    def base(self) -> Subject | None:
        """The model before it was taught; None where it is given as it is, and so is *before* itself."""
        return self._base if self._taught_rows else None

    def before(self) -> Subject:
        """θ0: the model as given, or taught the benchmark's rows."""
        if not self._taught_rows:
            return self._recorded("before", self._base, self._plan.model.path)
        return self._teach("before", self._taught_rows)

    def after(self, before: Subject, data: ForgetData) -> Subject:
        """θu: the method's result, saved as a plain folder and read back from it: what is judged is what was saved."""
        plan, run = self._plan, self._run
        folder = run.path("model")
        with run.stage("unlearn", key=self._unlearn_key(before, data)) as stage:
            if not stage.done:
                lm, adapter = before.load(), plan.model.adapter
                if adapter is not None:
                    from .models.adapters import attach

                    lm = attach(lm, adapter, derive_seed(plan.seed, "adapter"))
                self._base.drop()
                before.drop()
                after = plan.method.unlearn(lm, data, run)
                after.save(folder, merge=adapter is None or adapter.merge)
                _saved(run)
        made = Subject.of(dataclasses.replace(self._plain, path=str(folder), revision=None))
        if made.load().patches:
            from .models.patches import UNCHANGED

            run.note(UNCHANGED)
        return self._recorded("after", made, plan.model.path, "model")

    def _unlearn_key(self, before: Subject, data: ForgetData) -> str:
        """Hash of everything `after` depends on, the files that the method's settings name included."""
        plan = self._plan
        settings = [encode(part) for part in (plan.method, plan.train, plan.model)]
        parts = [before.fingerprint, data.fingerprint(), *settings, plan.seed]
        files = named_files(settings[0])
        parts += [files] if files else []
        done = self._run.manifest.stage("unlearn")
        # Adapters once began alike for every seed: what was finished then stays, what was not begins anew.
        stays = done is not None and done.status == "done" and done.key == digest(parts)
        return digest(parts if plan.model.adapter is None or stays else [*parts, _ADAPTER])

    def retrained(self, forget: Collection[Example]) -> Subject | None:
        """θr: given by the plan, or taught the same rows without `forget`; None when there is neither."""
        plan = self._plan
        if plan.retrained:
            made = Subject.of(dataclasses.replace(self._plain, path=plan.retrained, revision=None))
            return self._recorded("retrained", made, plan.retrained)
        if not (self._taught_rows and plan.teach and plan.teach.retrained):
            return None
        hidden = {row.id for row in forget}
        return self._teach("retrained", [row for row in self._taught_rows if row.id not in hidden])

    def taught(self, tag: str, rows: Sequence[Example]) -> Subject:
        """The plan's model taught `rows` by the plan's recipe: for experiments that compare several teachings.

        Args:
            tag: Its name in the manifest and in the stage ``teach TAG``.
            rows: Found in the store when the same rows were taught before.
        """
        return self._teach(tag, rows)

    def _teach(self, tag: str, rows: Sequence[Example]) -> Subject:
        from .methods.fine_tune import FineTune

        teach = self._plan.teach or Teach()
        seed = self._plan.seed if teach.seed is None else teach.seed
        key = digest([_RECIPE, self._base.fingerprint, rows_fingerprint(rows), encode(teach.train), seed])
        with self._run.stage(f"teach {tag}", key=key):
            path = self._store.model(key)
            if path is None:
                base = self._base.load()
                sub = self._run.sub(f"teach-{tag}", seed=seed, train=teach.train)
                made = FineTune(on="retain").unlearn(base, ForgetData(retain=rows), sub)
                with self._store.put_model(key) as folder:
                    made.save(folder / "model")
                _saved(sub)
                path = self._store.model(key)
        if path is None:
            raise DamagedError(f"the {tag} model in {self._store.root} is damaged", "check the disk, then run again")
        subject = Subject.of(dataclasses.replace(self._plain, path=str(path / "model"), revision=None))
        return self._recorded(tag, subject, subject.spec.path)

    def _recorded(self, tag: str, subject: Subject, origin: str, path: str = "") -> Subject:
        self._run.record(models={tag: ModelRecord(origin, subject.fingerprint, path)})
        return subject


def _saved(run: Run) -> None:
    """A saved model needs no checkpoints; each is three times its size."""
    from .training.trainer import discard_checkpoints

    discard_checkpoints(run)


def plan_models(plan: Plan, records: dict[str, ModelRecord], folder: Path) -> dict[str, ModelSpec]:
    """How to load the models that a finished run recorded, by tag.

    Args:
        plan: The run's plan.
        records: ``manifest.models``.
        folder: The run's folder.
    """
    return {
        tag: dataclasses.replace(
            plan.model,
            path=str(folder / record.path) if record.path else record.origin,
            # a hub's branch moves on; what the plan pinned is what the run had
            revision=plan.model.revision if not record.path and record.origin == plan.model.path else None,
            adapter=None,
        )
        for tag, record in records.items()
        if tag in ("before", "after", "retrained")
    }
