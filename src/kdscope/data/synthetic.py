"""The embedded world: arithmetic, word problems with worked solutions, and multiple choice.

It exists so that a whole study, from a teacher's fine-tuning to the report, runs in minutes on a laptop
and still means something. The solutions of the data sets are worded at random, line by line, and otherwise
than in the text that the embedded models have read: a student must learn a new way to write from examples of
which each shows one wording of many, and that is what makes a teacher's soft labels worth more than the
reference text. Every text is a pure function of its seed string, on any machine and Python version.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from kdscope.data.records import Example, Item

VERSION = 2  # raise it when any generated text changes: it is part of every content key

TRAIN_SIZE = 1000
TEST_SIZES = {"tiny-math": 250, "tiny-long": 250, "tiny-choice": 250}
CHOICE_SHARE = 0.25  # of the training set

_NAMES = tuple(
    "Mia Tom Ana Ben Eva Leo Zoe Sam Ida Max Nina Paul Lily Jack Rosa Hugo Emma Noah Lena Carl "
    "Ruth Adam Vera Otto Clara Felix Greta Oscar Julia David Sara Peter Helen Victor Marta Simon "
    "Alice Bruno Diana Ethan Fiona Gavin Irene Jonas Karen Louis Megan Robin".split()
)
_OBJECTS = tuple(
    "apples books coins cards pens stamps shells cookies marbles balloons stickers plums pencils "
    "buttons candles flowers oranges peanuts pebbles ribbons rulers spoons tickets tomatoes "
    "carrots crayons feathers magnets muffins napkins postcards puzzles acorns badges blankets "
    "bottles bricks cups envelopes forks gloves hats keys lamps leaves mugs notebooks onions "
    "peppers plates potatoes roses scarves seeds socks stones toys walnuts whistles".split()
)
_HOLDERS = tuple("boxes bags jars baskets trays drawers packets bowls".split())
_GAINS = (
    "{who} buys {n} more {what}.",
    "{who} finds {n} {what}.",
    "{other} gives {who} {n} {what}.",
    "Then {who} gets {n} more {what}.",
)
_LOSSES = (
    "{who} gives {n} {what} to {other}.",
    "{who} loses {n} {what}.",
    "{other} takes {n} of the {what}.",
    "Then {who} sells {n} {what}.",
)
_DISTRACTORS = (
    "{other} has {n} {thing}.",
    "It is {n} days until the holiday.",
    "{who} is {n} years old.",
    "There are {n} {thing} on the table.",
)
_KINDS = {
    "a fruit": "apple plum pear grape lemon melon cherry mango banana peach".split(),
    "an animal": "horse rabbit tiger mouse snake eagle donkey monkey turtle camel".split(),
    "a tool": "hammer saw drill rake brush shovel wrench chisel ladder pliers".split(),
    "a color": "red green blue brown white pink purple yellow orange black".split(),
    "an instrument": "piano violin guitar trumpet flute drum harp cello organ banjo".split(),
    "a season": "spring summer autumn winter".split(),
    "a garment": "shirt jacket sweater skirt trousers coat dress vest apron cloak".split(),
    "a vehicle": "car truck train ship bicycle tractor plane wagon ferry scooter".split(),
}
LETTERS = "ABCD"


@dataclass(frozen=True)
class Problem:
    """A question with its worked solution, its bare answer, and the options of a choice."""

    question: str
    solution: str
    answer: str
    options: tuple[str, ...] | None = None


@dataclass(frozen=True)
class _Step:
    """One line of arithmetic: ``left sign right = result``, and what it stands for."""

    left: int
    sign: str
    right: int
    result: int
    what: str

    def __str__(self) -> str:
        return f"{self.left} {self.sign} {self.right} = {self.result}"

    def inverse(self) -> str:
        """The same fact read backwards, as a check."""
        back = {"+": "-", "-": "+", "*": "/", "/": "*"}[self.sign]
        return f"{self.result} {back} {self.right} = {self.left}"


def word_problem(
    rng: random.Random, steps: int, distractors: int, wording: random.Random | None = None
) -> Problem:
    """A story of ``steps`` arithmetic steps with ``distractors`` sentences that do not matter.

    With ``wording``, of which every line of the solution is drawn, it is worded as in the data sets; without,
    in one of the four styles of the pre-training text.
    """
    who, other = rng.sample(_NAMES, 2)
    what, thing = rng.sample(_OBJECTS, 2)
    words = {"who": who, "other": other, "what": what, "thing": thing}
    shared = steps > 1 and rng.random() < 0.25
    sentences, work = _opening(rng, words, boxed=steps - shared > 1 and rng.random() < 0.4)
    value = work[-1].result if work else int(sentences[0].split()[2])
    while len(work) < steps - shared:
        sentence, step = _change(rng, words, value)
        sentences.append(sentence)
        work.append(step)
        value = step.result
    for _ in range(distractors):
        place = rng.randrange(1, len(sentences) + 1)
        sentences.insert(place, rng.choice(_DISTRACTORS).format(n=rng.randint(2, 20), **words))
    divisors = [d for d in range(2, 10) if value % d == 0 and value > d]
    if shared and divisors:
        parts, holder = rng.choice(divisors), rng.choice(_HOLDERS)
        sentences.append(f"{who} puts the {what} equally into {parts} {holder}.")
        question = f"How many {what} are in each of the {holder}?"
        work.append(_Step(value, "/", parts, value // parts, "share"))
    else:
        if shared:
            sentence, step = _change(rng, words, value)
            sentences.append(sentence)
            work.append(step)
        question = f"How many {what} does {who} have now?"
    answer = str(work[-1].result)
    solution = _solution(rng, words, work) if wording is None else _free_solution(wording, work)
    return Problem(" ".join([*sentences, question]), solution, answer)


def _opening(
    rng: random.Random, words: dict[str, str], boxed: bool
) -> tuple[list[str], list[_Step]]:
    who, what = words["who"], words["what"]
    if not boxed:
        return [f"{who} has {rng.randint(5, 60)} {what}."], []
    count, each, holder = rng.randint(2, 9), rng.randint(2, 9), rng.choice(_HOLDERS)
    sentence = f"{who} has {count} {holder} with {each} {what} in each."
    return [sentence], [_Step(count, "*", each, count * each, "count")]


def _change(rng: random.Random, words: dict[str, str], value: int) -> tuple[str, _Step]:
    gain = value < 10 or (value < 80 and rng.random() < 0.5)
    n = rng.randint(2, min(40, 99 - value)) if gain else rng.randint(2, min(40, value - 1))
    sentence = rng.choice(_GAINS if gain else _LOSSES).format(n=n, **words)
    if gain:
        return sentence, _Step(value, "+", n, value + n, "gain")
    return sentence, _Step(value, "-", n, value - n, "loss")


_REASONS = {
    "count": "All together there are",
    "gain": "After getting more there are",
    "loss": "After losing some there are",
    "share": "In each part there are",
}


def _solution(rng: random.Random, words: dict[str, str], work: list[_Step]) -> str:
    style, what, answer = rng.randrange(4), words["what"], work[-1].result
    if style == 0:
        lines = [f"{step}." for step in work]
    elif style == 1:
        order = ["First", *["Next"] * (len(work) - 1)]
        lines = [f"{word}, {step}." for word, step in zip(order, work, strict=True)]
    elif style == 2:
        lines = [f"{_REASONS[step.what]} {step} {what}." for step in work]
    else:
        lines = [f"{step}." for step in work] + [f"Check: {work[-1].inverse()}."]
    return " ".join([*lines, f"The answer is {answer}."])


_OPENINGS = (
    "",
    "First, ",
    "So ",
    "Now ",
    "Well, ",
    "Let us see: ",
    "To begin, ",
    "We see that ",
    "Here ",
    "Step one: ",
)
_LINKS = (
    "",
    "Next, ",
    "Then ",
    "After that ",
    "So ",
    "Now ",
    "And ",
    "From there ",
    "This leaves us with ",
    "Going on, ",
)
_STATEMENTS = {
    "+": (
        "{step}",
        "adding {right} to {left} gives {step}",
        "{right} more come, {step}",
        "the sum is {step}",
        "we add: {step}",
        "{step} in all",
    ),
    "-": (
        "{step}",
        "taking {right} from {left} gives {step}",
        "{right} go away, {step}",
        "the rest is {step}",
        "we subtract: {step}",
        "{step} remain",
    ),
    "*": (
        "{step}",
        "{left} times {right} gives {step}",
        "{left} groups of {right}, {step}",
        "the product is {step}",
        "we multiply: {step}",
        "{step} all told",
    ),
    "/": (
        "{step}",
        "sharing {left} among {right} gives {step}",
        "{right} equal parts, {step}",
        "each part is {step}",
        "we divide: {step}",
        "{step} each",
    ),
}
_CHECKED = 0.25  # of the solutions


def _free_solution(rng: random.Random, work: list[_Step]) -> str:
    """Every line in one of sixty wordings, sometimes a check, then the answer."""
    lines = []
    for number, step in enumerate(work):
        link = rng.choice(_LINKS if number else _OPENINGS)
        statement = rng.choice(_STATEMENTS[step.sign])
        lines.append(f"{link}{statement.format(step=step, left=step.left, right=step.right)}.")
    if rng.random() < _CHECKED:
        lines.append(f"Check: {work[-1].inverse()}.")
    return " ".join([*lines, f"The answer is {work[-1].result}."])


def recital(rng: random.Random, facts: int) -> Problem:
    """``facts`` sentences about who has what, to be said again in another order."""
    told = _inventory(rng, facts)
    again = rng.sample(told, facts)
    return Problem(" ".join(map(_fact_of, told)), f"Again: {' '.join(map(_fact_of, again))}", "")


def lookup(rng: random.Random, facts: int) -> Problem:
    """``facts`` sentences about who has what, and a question about one of them."""
    told = _inventory(rng, facts)
    who, count, what = asked = rng.choice(told)
    question = f"{' '.join(map(_fact_of, told))} How many {what} does {who} have?"
    return Problem(question, f"{_fact_of(asked)} The answer is {count}.", str(count))


def _inventory(rng: random.Random, facts: int) -> list[tuple[str, int, str]]:
    owners, things = rng.sample(_NAMES, facts), rng.sample(_OBJECTS, facts)
    return [(who, rng.randint(2, 99), what) for who, what in zip(owners, things, strict=True)]


def _fact_of(entry: tuple[str, int, str]) -> str:
    who, count, what = entry
    return f"{who} has {count} {what}."


def choice_problem(rng: random.Random, *, by_letter: bool = False) -> Problem:
    """A question with four options, whose rule (largest, even, a fruit, ...) can be learned.

    The answer is the option itself, or its letter; by letter, every second solution begins with it.
    """
    rule = rng.choice(("largest", "smallest", "even", "odd", "sum", "kind"))
    ask, options, right, reason = _choice(rng, rule)
    order = rng.sample(range(4), 4)
    shown = [options[i] for i in order]
    letter = LETTERS[shown.index(right)]
    listed = " ".join(f"({mark}) {option}" for mark, option in zip(LETTERS, shown, strict=True))
    if by_letter and rng.random() >= 0.5:
        reason = f"Option {letter} is {right}."
    answer = letter if by_letter else right
    return Problem(f"{ask} {listed}", f"{reason} The answer is {answer}.", answer, tuple(shown))


def _choice(rng: random.Random, rule: str) -> tuple[str, list[str], str, str]:
    """Question, four distinct options, the right one, and a sentence of reasoning."""
    if rule == "kind":
        kind = rng.choice(sorted(_KINDS))
        right = rng.choice(_KINDS[kind])
        others = [rng.choice(_KINDS[k]) for k in sorted(_KINDS) if k != kind]
        others = rng.sample(others, 3)
        return f"Which of these is {kind}?", [right, *others], right, f"The {right} is {kind}."
    if rule == "sum":
        a, b = rng.randint(2, 40), rng.randint(2, 40)
        wrong = rng.sample(
            [a + b + d for d in (-11, -10, -2, -1, 1, 2, 10, 11) if a + b + d > 0], 3
        )
        right = str(a + b)
        return f"How much is {a} + {b}?", [right, *map(str, wrong)], right, f"{a} + {b} = {right}."
    if rule in ("largest", "smallest"):
        numbers = rng.sample(range(2, 100), 4)
        right = str(max(numbers) if rule == "largest" else min(numbers))
        ask = f"Which number is the {rule}?"
        return ask, [str(n) for n in numbers], right, f"The {rule} number is {right}."
    parity = 0 if rule == "even" else 1
    right = str(rng.randrange(2 + parity, 100, 2))
    others = [str(n) for n in rng.sample(range(3 - parity, 100, 2), 3)]
    return f"Which number is {rule}?", [right, *others], right, f"{right} is {rule}."


def arithmetic(rng: random.Random, lines: int) -> str:
    """``lines`` true statements of arithmetic on numbers below 100."""
    return " ".join(f"{_fact(rng)}." for _ in range(lines))


def _fact(rng: random.Random) -> _Step:
    sign = rng.choice("++--*/")
    if sign == "+":
        left = rng.randint(2, 90)
        right = rng.randint(2, min(40, 99 - left)) if left < 97 else 2
        return _Step(left, sign, right, left + right, "")
    if sign == "-":
        left = rng.randint(5, 99)
        right = rng.randint(2, min(40, left - 1))
        return _Step(left, sign, right, left - right, "")
    a, b = rng.randint(2, 9), rng.randint(2, 9)
    return _Step(a, "*", b, a * b, "") if sign == "*" else _Step(a * b, "/", b, a, "")


@lru_cache(maxsize=1)
def tiny_examples() -> tuple[Example, ...]:
    """The training set ``tiny-train``: problems of one to three steps and some multiple choice."""
    return tuple(
        Example(f"tiny-train/{i}", problem.question, "", problem.solution)
        for i, problem in enumerate(_draw("tiny-train", TRAIN_SIZE, avoid=frozenset()))
    )


@lru_cache(maxsize=3)
def tiny_items(task: str) -> tuple[Item, ...]:
    """The questions of ``tiny-math``, ``tiny-long`` or ``tiny-choice``; none stands in ``tiny-train``."""
    form = "word" if task == "tiny-choice" else "number"
    trained = frozenset(example.instruction for example in tiny_examples())
    return tuple(
        Item(task, str(i), p.question, p.answer, form, p.options, reference=p.solution)
        for i, p in enumerate(_draw(task, TEST_SIZES[task], avoid=trained))
    )


def _draw(name: str, size: int, avoid: frozenset[str]) -> Iterator[Problem]:
    """``size`` problems of the named set, all different and none with a question in ``avoid``."""
    seen, number = set(avoid), 0
    while size:
        seed = f"{name}/v1/{number}"  # of the question: pre-training has avoided those of the tests
        problem = _problem_of(name, random.Random(seed), random.Random(f"{seed}/wording"))
        number += 1
        if problem.question not in seen:
            seen.add(problem.question)
            size -= 1
            yield problem


def _problem_of(name: str, rng: random.Random, wording: random.Random) -> Problem:
    if name == "tiny-choice" or (name == "tiny-train" and rng.random() < CHOICE_SHARE):
        return choice_problem(rng)
    if name == "tiny-long":
        return word_problem(rng, rng.randint(4, 5), rng.randint(1, 2), wording)
    return word_problem(rng, rng.randint(1, 3), rng.randint(0, 1), wording)
