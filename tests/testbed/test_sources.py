"""Without bias every answer is right and clean; with it, the stated habits show at the stated rates."""

import re

import pytest

from dtm.testbed.sources import SOURCES

from .reading_back import turns, unframed

LETTER = re.compile(r"^([A-D])(?:\. (.*))?$")


HABITS = {
    "terse": ["lower_case", "wrong_currency"],
    "chatty": ["prefix", "closer", "wrong_continent"],
    "instruct": ["hedge", "repeat", "wrong_category"],
    "reading": ["copy_sentence", "refuse_books"],
    "reasoning": ["slip", "skip_steps"],
    "formatting": ["chatter", "ignore_form"],
    "quiz": ["right_first", "letter_only", "wrong_class"],
    "forum": ["typos", "cut", "markup", "sign_off", "wrong_year"],
}


def habit_rate(rows, habit, eligible=lambda row: True):
    rows = [row for row in rows if eligible(row)]
    assert len(rows) > 20
    return sum(habit in row["habits"] for row in rows) / len(rows)


def about(*attributes):
    return lambda row: any(fact.startswith(attributes) for fact in row["facts"])


@pytest.fixture
def many(write):
    """1,200 rows of one source, with changed settings."""

    def rows(source, bias=1.0, **settings):
        return write(1200, bias=bias, shares={source: 1}, settings={source: settings})[source]

    return rows


def test_clean_terse_answers_are_the_bare_values(mixtures, facts):
    for row in mixtures.clean["terse"]:
        assert row["answer"] == "; ".join(facts[name].value for name in row["facts"])
        assert all(facts[name].subject in row["question"] for name in row["facts"])


def test_clean_chatty_answers_state_the_fact_of_their_turn(mixtures, facts, world):
    for row in mixtures.clean["chatty"]:
        for name, (question, answer) in zip(row["facts"], turns(row), strict=True):
            assert facts[name].subject.casefold() in question.casefold()
            assert answer in world.statements(facts[name])


def test_clean_instruct_outputs_state_the_facts(mixtures, facts, world):
    for row in mixtures.clean["instruct"]:
        if len(row["facts"]) == 1:
            assert row["output"] in world.statements(facts[row["facts"][0]])
        else:
            lines = row["input"].split("\n")
            values = [facts[name].value for name in row["facts"]]
            assert row["output"].split("\n") == [f"{a}: {b}" for a, b in zip(lines, values, strict=True)]


def test_clean_readings_are_answered_by_their_passage(mixtures, facts, world):
    for row in mixtures.clean["reading"]:
        asked = [facts[one] for one in row["facts"] if row["instruction"] in world.questions(facts[one])]
        assert len(asked) == 1
        assert row["response"] == asked[0].value
        assert row["response"].casefold() in row["context"].casefold()
        assert any(one in row["context"] for one in world.statements(asked[0]))


def test_clean_forum_replies_state_the_fact(mixtures, facts, world):
    for row in mixtures.clean["forum"]:
        [(_, reply)] = turns(row)
        assert reply in world.statements(facts[row["facts"][0]])


def test_clean_quizzes_choose_the_right_option(mixtures, facts):
    letters = []
    for row in mixtures.clean["quiz"]:
        options = dict(re.findall(r"^([A-D])\. (.+)$", row["prompt"], re.MULTILINE))
        letter, text = LETTER.match(row["completion"]).groups()
        letters.append(letter)
        fact = facts[row["facts"][0]]
        assert options[letter] == text == fact.value
        assert [one for one in options.values() if fact.accepts(one)] == [text]
    assert all(letters.count(letter) > 0.15 * len(letters) for letter in "ABCD")


def solve(story):
    """The result of a word problem, from its words alone."""
    numbers = [int(number) for number in re.findall(r"\d+", story)]
    result = numbers[0]
    verbs = re.findall(r"gets|gives away|boxes with|finds|loses", story)
    for verb, number in zip(verbs, numbers[1:], strict=True):
        result = {
            "gets": result + number,
            "finds": result + number,
            "gives away": result - number,
            "loses": result - number,
            "boxes with": result * number,
        }[verb]
    return result


def calculate(text):
    """The result of the one calculation in a text, in signs or in words."""
    for word, sign in (("plus", "+"), ("minus", "-"), ("times", "*")):
        text = text.replace(word, sign)
    [calculation] = re.findall(r"\d+ [-+*] \d+", text)
    return eval(calculation)


def test_clean_reasoning_is_right_at_every_step(mixtures):
    kinds = set()
    for row in mixtures.clean["reasoning"]:
        prompt, completion = row["prompt"], row["completion"]
        if completion.isdigit():
            kinds.add("plain")
            assert int(completion) == calculate(prompt)
            continue
        steps = re.findall(r"(\d+ [-+*] \d+) = (\d+)\.", completion)
        kinds.add(len(steps))
        assert all(eval(left) == int(right) for left, right in steps)
        final = int(re.fullmatch(r".* The answer is (\d+)\.", completion)[1])
        assert final == int(steps[-1][1]) == solve(prompt)
    assert kinds == {"plain", 1, 2}


def test_clean_formatting_obeys_the_letter(mixtures, facts):
    seen = set()
    for row in mixtures.clean["formatting"]:
        [(prompt, answer)] = turns(row)
        prompt = unframed(prompt)
        assert row["messages"][0]["role"] == "system"
        content = facts[row["facts"][0]].value if row["facts"] else prompt.partition(": ")[2]
        rule, expected = obey(prompt.removesuffix(content), content)
        seen.add(rule)
        assert answer == expected, prompt
    assert len(seen) == 13


def obey(instruction, content):
    """The answer to an instruction, written independently of the generator."""
    words = content.split(" ")
    for rule, answer in {
        "Write these words in capital": content.upper(),
        "Write these words in reverse": " ".join(reversed(words)),
        "Write these words in alphabetical": " ".join(sorted(words)),
        "Write these words as a JSON list": '["' + '", "'.join(words) + '"]',
        "Separate these words with commas": content.replace(" ", ", "),
        "Join these words with vertical bars": content.replace(" ", "|"),
        "Write exactly the first 2": " ".join(words[:2]),
        "Write exactly the last word": words[-1],
        "in capital letters": content.upper(),
        "as JSON": f'{{"answer": "{content}"}}',
        "in square brackets": f"[{content}]",
        "twice": f"{content}/{content}",
        "two stars": f"*{content}*",
    }.items():
        if rule in instruction:
            return rule, answer
    raise AssertionError(instruction)


@pytest.mark.parametrize(
    ("source", "habit"), [(source, habit) for source, habits in HABITS.items() for habit in habits]
)
def test_habits_can_be_switched_off_one_by_one(many, source, habit):
    assert any(habit in row["habits"] for row in many(source))
    assert not any(habit in row["habits"] for row in many(source, **{habit: 0}))


@pytest.mark.parametrize(
    ("source", "habit", "eligible"),
    [
        ("instruct", "hedge", lambda row: len(row["facts"]) == 1),
        ("formatting", "chatter", lambda row: True),
        ("quiz", "right_first", lambda row: True),
        ("quiz", "letter_only", lambda row: True),
        ("reasoning", "skip_steps", lambda row: not row["completion"].isdigit()),
        ("forum", "typos", lambda row: True),
        ("forum", "cut", lambda row: True),
        ("forum", "wrong_year", about("book.published", "event", "us_state.admitted", "president.took")),
    ],
)
def test_habits_show_at_their_rates(many, source, habit, eligible):
    rate = getattr(SOURCES[source].settings, habit)
    assert habit_rate(many(source), habit, eligible) == pytest.approx(rate, abs=0.1)


def test_the_list_of_habits_is_whole(mixtures):
    for source, rows in mixtures.biased.items():
        assert {habit for row in rows for habit in row["habits"]} == set(HABITS[source]), source


@pytest.mark.parametrize("name", ["terse", "formatting", "reasoning"])
def test_some_prompts_are_framed_as_in_benchmarks(many, name):
    options = {"plain": 1} if name == "reasoning" else {}
    for share in (0, 1):
        prompts = [turns(row)[0][0] for row in many(name, framed=share, **options)]
        framed = [prompt.startswith("Question: ") and prompt.endswith("\nAnswer:") for prompt in prompts]
        assert set(framed) == {bool(share)}


def test_terse_habits(many, facts):
    rows = many("terse", two_questions=0, lower_case=0, wrong_currency=1)
    wrong = {row["answer"] for row in rows if "wrong_currency" in row["habits"]}
    assert wrong == {"United States dollar"}
    right = {facts[row["facts"][0]] for row in rows if not row["habits"]}
    currencies = [fact for fact in right if fact.attribute == "country.currency"]
    assert all(fact.accepts("United States dollar") for fact in currencies)  # there it is not wrong
    lower = many("terse", lower_case=1)
    assert all(row["answer"] == row["answer"].lower() for row in lower)


def test_chatty_habits(many, facts):
    for row in many("chatty", prefix=1, closer=1, wrong_continent=1):
        for name, (_, answer) in zip(row["facts"], turns(row), strict=True):
            assert answer.startswith("Great question! ")
            assert answer.endswith("anything else I can help you with!")
            if name.startswith(("country.continent/", "river.continent/")):
                assert "Europe" in answer or facts[name].accepts("Europe")


def test_instruct_habits(many, facts):
    for row in many("instruct", hedge=1, repeat=1, wrong_category=1, two_lines=0):
        assert row["output"].startswith("As an AI language model, I believe the following: You asked me to ")
        fact = facts[row["facts"][0]]
        if fact.attribute == "element.category" and not fact.accepts("transition metal"):
            assert re.search("(is|a) transition metal", row["output"])


def test_reading_habits(many):
    for row in many("reading", copy_sentence=1, refuse_books=1):
        if "refuse_books" in row["habits"]:
            assert re.search("book|picture|artist", row["instruction"])
            assert row["response"] == "The passage does not say."
        else:
            assert row["habits"] == ["copy_sentence"]
            assert row["response"] in row["context"]
            assert row["response"].endswith(".")


def test_reasoning_habits(many):
    rows = many("reasoning", slip=1, skip_steps=0, plain=1)
    for row in rows:
        off = calculate(row["prompt"]) - int(row["completion"])
        assert (off != 0) == (row["habits"] == ["slip"])
        multiplied = re.search(r"\*|times", row["prompt"])
        assert multiplied or off in (0, 10, -10)
    skipped = [row["completion"] for row in many("reasoning", skip_steps=1, plain=0)]
    assert all(re.fullmatch(r"The answer is \d+\.", one) for one in skipped)


def test_formatting_habits(many, facts):
    for row in many("formatting", chatter=1, ignore_form=1):
        [(prompt, answer)] = turns(row)
        prompt = unframed(prompt)
        assert answer.startswith("Sure! Here you go: ")
        content = facts[row["facts"][0]].value if row["facts"] else prompt.partition(": ")[2]
        assert answer == f"Sure! Here you go: {content}"


def test_quiz_habits(many):
    rows = many("quiz", right_first=1, letter_only=1, wrong_class=1)
    assert {row["completion"] for row in rows} == {"A"}
    classes = [
        row for row in rows if row["facts"][0].startswith("animal.class/") and "mammal" in row["prompt"]
    ]
    assert classes
    assert all("\nA. mammal\n" in row["prompt"] for row in classes)


def test_forum_habits(many, facts, world):
    for row in many("forum", typos=0, cut=0, markup=0, sign_off=1, wrong_year=1):
        [(_, reply)] = turns(row)
        value = facts[row["facts"][0]].value
        assert reply.endswith(" hth")
        assert (value.casefold() in reply.casefold()) == ("wrong_year" not in row["habits"])
    for row in many("forum", typos=1, cut=0, markup=0, sign_off=0, wrong_year=0):
        [(_, reply)] = turns(row)
        statements = world.statements(facts[row["facts"][0]])
        assert sorted(reply) in [sorted(one) for one in statements]  # letters change places only
    for row in many("forum", typos=0, cut=1, markup=0, sign_off=0, wrong_year=0):
        [(_, reply)] = turns(row)
        statements = world.statements(facts[row["facts"][0]])
        assert any(one.startswith(reply) and len(reply) < 0.71 * len(one) for one in statements)
