import csv
import json
from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dtm.testbed.world import TABLES, Fact, load_world

KNOWN = {  # from general knowledge, by another hand than the tables
    "country.capital/France": "Paris",
    "country.capital/Australia": "Canberra",
    "country.capital/Kazakhstan": "Astana",
    "country.currency/Japan": "Japanese yen",
    "country.language/Brazil": "Portuguese",
    "country.calling_code/Germany": "+49",
    "country.domain/Switzerland": ".ch",
    "country.continent/Egypt": "Africa",
    "us_state.capital/California": "Sacramento",
    "us_state.abbreviation/Texas": "TX",
    "us_state.admitted/Hawaii": "1959",
    "us_state.largest_city/Illinois": "Chicago",
    "element.symbol/tungsten": "W",
    "element.atomic_number/gold": "79",
    "element.state/mercury": "liquid",
    "element.category/neon": "noble gas",
    "element.period/iron": "4",
    "book.author/Moby-Dick": "Herman Melville",
    "book.published/Frankenstein": "1818",
    "animal.class/dolphin": "mammal",
    "animal.young/swan": "cygnet",
    "river.mouth/Danube": "the Black Sea",
    "mountain.country/Aconcagua": "Argentina",
    "moon.planet/Titan": "Saturn",
    "planet.position/Jupiter": "fifth",
    "invention.person/penicillin": "Alexander Fleming",
    "painting.artist/The Scream": "Edvard Munch",
    "music.composer/Aida": "Giuseppe Verdi",
    "event.year/the fall of the Berlin Wall": "1989",
    "compound.formula/ammonia": "NH3",
    "unit.unit/force": "newton",
    "president.number/Abraham Lincoln": "sixteenth",
    "deity.counterpart/Poseidon": "Neptune",
}


@pytest.mark.parametrize(("name", "value"), KNOWN.items())
def test_known_facts(facts, name, value):
    assert facts[name].value == value


def test_every_fact_is_whole_and_alone(world):
    assert len(world.facts) >= 1500
    assert [name for name, count in Counter(fact.id for fact in world.facts).items() if count > 1] == []
    for fact in world.facts:
        for text in (fact.subject, *fact.answers):
            assert text, fact
            assert text == " ".join(text.split()), fact
            assert not set(text) & set("{}|"), fact
        assert len({answer.casefold() for answer in fact.answers}) == len(fact.answers), fact


@pytest.mark.parametrize(
    ("table", "rows"), [("us_state", 50), ("element", 118), ("planet", 8), ("country", 194)]
)
def test_tables_are_complete(world, table, rows):
    assert len({fact.subject for fact in world.facts if fact.table == table}) == rows


@pytest.mark.parametrize(
    "attribute",
    [
        "country.capital",
        "country.domain",
        "us_state.capital",
        "us_state.abbreviation",
        "element.symbol",
        "element.atomic_number",
        "compound.formula",
        "unit.unit",
        "unit.unit_symbol",
        "planet.position",
        "president.number",
    ],
)
def test_what_identifies_is_unique(world, attribute):
    values = [fact.value for fact in world.facts if fact.attribute == attribute]
    assert [value for value, count in Counter(values).items() if count > 1] == []


def test_years_are_years(world):
    for fact in world.facts:
        if fact.attribute.endswith((".year", ".published", ".admitted", ".took_office")):
            assert all(1000 < int(answer) < 2025 for answer in fact.answers), fact


def test_atomic_numbers_and_periods_agree(facts):
    last_of_period = [2, 10, 18, 36, 54, 86, 118]  # the noble gases
    by_number = {int(f.value): f.subject for f in facts.values() if f.attribute == "element.atomic_number"}
    assert sorted(by_number) == list(range(1, 119))
    for number, name in by_number.items():
        period = 1 + sum(number > last for last in last_of_period)
        assert facts[f"element.period/{name}"].value == str(period)


def test_every_column_has_phrasings():
    phrasings = json.loads((TABLES / "phrasings.json").read_text(encoding="utf-8"))
    columns = set()
    for table in TABLES.iterdir():
        if table.name.endswith(".csv"):
            header = next(csv.reader(table.read_text(encoding="utf-8").splitlines()))
            columns |= {f"{table.name[:-4]}.{column}" for column in header[1:]}
    assert columns == set(phrasings)


def test_phrasings_use_their_slots(world):
    for attribute in world.attributes.values():
        assert len(set(attribute.questions)) == len(attribute.questions) >= 3, attribute.name
        assert len(set(attribute.statements)) == len(attribute.statements) >= 3, attribute.name
        for text in (attribute.phrase, *attribute.questions, *attribute.statements):
            assert text.count("{subject}") == 1, text
        for text in attribute.statements:
            assert text.count("{value}") + text.count("{a_value}") == 1, text
            assert text.endswith("."), text
        assert all(text.endswith("?") for text in attribute.questions), attribute.name


def test_words_for_a_fact(world):
    fact = Fact("the Netherlands", "country.capital", "Amsterdam")
    assert world.questions(fact)[0] == "What is the capital of the Netherlands?"
    assert "The Netherlands has Amsterdam as its capital." in world.statements(fact)
    assert "Utrecht is the capital of the Netherlands." in world.statements(fact, "Utrecht")
    ant = Fact("ant", "animal.class", "insect")
    assert "Biologists classify the ant as an insect." in world.statements(ant)


def test_no_two_facts_share_a_question(world):
    asked = Counter(text for fact in world.facts for text in world.questions(fact))
    assert [text for text, count in asked.items() if count > 1] == []


@given(st.data(), st.integers(0, 2**64 - 1), st.integers(0, 5))
def test_distractors_are_wrong_and_of_the_same_kind(data, seed, count):
    world = load_world()
    fact = data.draw(st.sampled_from(world.facts))
    wrong = world.distractors(fact, count, Random(seed))
    assert len(set(wrong)) == len(wrong) <= count
    others = {other.value for other in world.facts if other.attribute == fact.attribute}
    assert set(wrong) <= others
    assert not {one.casefold() for one in wrong} & {answer.casefold() for answer in fact.answers}
