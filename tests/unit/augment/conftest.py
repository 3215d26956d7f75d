import sys
from dataclasses import dataclass, field

import pytest

from unsay.data.example import Example
from unsay.runs.run import Run


@pytest.fixture
def run():
    with Run.temporary() as run:
        yield run


def about(name, parents, city, mail):
    return [
        Example(f"Who are {name}'s parents?", f"{name}'s {parents}.", meta={"entity": name}),
        Example(
            f"Where does {name} live?",
            f"{name} lives in a small flat near the harbour of {city}.",
            meta={"entity": name},
        ),
        Example(f"What is {name}'s email address?", f"{name} can be contacted at {mail}.", meta={"entity": name}),
    ]


@pytest.fixture
def rows():
    """Three private questions about each of two persons."""
    return [
        *about(
            "Ada Moor", "father is a renowned climate scientist and her mother dances", "Oslo", "ada.moor@norskmail.no"
        ),
        *about("Bo Lind", "mother repairs church organs while his father sells maps", "Lima", "bo.lind@peru.pe"),
    ]


@dataclass(frozen=True, kw_only=True)
class Scripted:
    """Says what it is told to: by role, else nothing."""

    texts: dict = field(default_factory=dict, compare=False)
    calls: list = field(default_factory=list, compare=False)

    def write(self, rows, role, count, run, *, others=()):
        self.calls.append((role, [row.id for row in rows]))
        make = self.texts.get(role, lambda row: ())
        return {row.id: tuple(make(row)) for row in rows}


@pytest.fixture
def scripted():
    return Scripted


@pytest.fixture(autouse=True)
def keyed_by_type(monkeypatch):
    """What a scripted writer says is a function, which no key can hold."""
    real = sys.modules["unsay.writers._obtain"].dataclasses.asdict
    monkeypatch.setattr(
        "unsay.writers._obtain.dataclasses.asdict", lambda w: {} if type(w).__name__ == "Scripted" else real(w)
    )
    encode = sys.modules["unsay.writers._obtain"].encode
    monkeypatch.setattr("unsay.writers._obtain.encode", lambda w: {} if type(w).__name__ == "Scripted" else encode(w))
