import pytest

from unsay.data.example import Example
from unsay.runs.run import Run


@pytest.fixture
def run():
    with Run.temporary() as run:
        yield run


PEOPLE = {
    "Ada Moor": ("Oslo", "a baker", "1954", "Iron Rivers", "he"),
    "Bo Lind": ("Lima", "a pilot", "1961", "Glass Hours", "he"),
    "Cleo Quist": ("Cairo", "a judge", "1970", "Salt Roads", "she"),
    "Dan Ferro": ("Turin", "a tailor", "1948", "Winter Bread", "he"),
    "Eve Sorel": ("Lyon", "a surgeon", "1983", "Paper Moons", "she"),
    "Fay Tamm": ("Riga", "a miner", "1959", "Quiet Harbours", "she"),
    "Gus Varga": ("Pécs", "a diver", "1966", "Copper Sky", "he"),
}


def _about(name, city, job, year, book, pronoun):
    answers = {
        f"Where does {name} live?": f"{name} lives in {city}.",
        f"What does {name} do for a living?": f"{name} works as {job}, and {pronoun} likes it.",
        f"When was {name} born?": f"{name} was born in {year}.",
        f"What did {name} write?": f'{name} wrote "{book}".',
    }
    return [Example(q, a, meta={"entity": name}) for q, a in answers.items()]


@pytest.fixture
def rows():
    """Four questions about each of seven persons."""
    return [row for name, facts in PEOPLE.items() for row in _about(name, *facts)]
