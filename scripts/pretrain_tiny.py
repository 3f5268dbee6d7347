"""Pre-train the embedded family: one tokenizer, a teacher and two students, from generated text alone.

    python scripts/pretrain_tiny.py --out src/kdscope/models/tiny

Under an hour on two cores in float32; the seeds are fixed, the device changes only the last bits.
The models are *base* models: they have read arithmetic, solved problems and answered questions,
a small part of it in the instruction format, and are not fine-tuned on any training set of the catalogue.
No test question of the catalogue's tiny tasks stands in the text.
"""

import argparse
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import (
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen2Tokenizer,
)

from kdscope.data import synthetic
from kdscope.data.prompts import TEMPLATES

END = "<|endoftext|>"
VOCABULARY = 1024  # of the students' heads; the teacher's head is padded further, as Qwen2.5's is
CONTEXT = 512
DOCUMENTS = 32  # per step
QUESTION_WEIGHT = 0.1  # of a question's tokens in the loss: names and numbers are drawn at random


class Cycle(NamedTuple):
    """One warm-up and decay."""

    steps: int
    grown: bool = True  # problems of every length from its first step, instead of the curriculum
    as_in_sets: float = 0.0  # share of problems worded and answered as in the data sets


@dataclass(frozen=True)
class Member:
    """One model of the family and how it is pre-trained."""

    name: str
    width: int
    layers: int
    heads: int
    head_rows: int
    cycles: tuple[Cycle, ...]
    learning_rate: float
    seed: int


# Only the teacher has read solutions in the many wordings of the data sets: that is what it has to teach.
TEACHER_CYCLES = (Cycle(2200, grown=False), Cycle(1100), Cycle(600, as_in_sets=0.6))
FAMILY = (
    Member("tiny-teacher", 192, 6, 6, 1088, TEACHER_CYCLES, 1.5e-3, 1),
    Member("tiny-student", 96, 4, 4, VOCABULARY, (Cycle(3000, grown=False),), 3e-3, 2),
    Member("tiny-student-small", 48, 4, 4, VOCABULARY, (Cycle(4000, grown=False),), 4e-3, 3),
)


def document(rng: random.Random, progress: float, as_in_sets: float = 0.0) -> tuple[str, str]:
    """A question (or nothing) and what follows it; longer and harder as training goes on.

    A tenth are facts of arithmetic; recitals and look-ups, half of the text at first, teach a model to copy
    from what it read; the rest are problems. A quarter of all are in the instruction format.
    """
    draw, hard = rng.random(), min(1.0, 1.5 * progress)
    in_sets = as_in_sets > 0 and rng.random() < as_in_sets
    easy = 0.4 * (1 - hard)
    if draw < 0.1:
        return "", synthetic.arithmetic(rng, rng.randint(3, 6))
    if draw < 0.15 + easy:
        problem = (synthetic.recital if rng.random() < 0.5 else synthetic.lookup)(
            rng, rng.randint(2, 4)
        )
    elif draw < 0.35 + 0.7 * easy:
        problem = synthetic.choice_problem(rng, by_letter=not in_sets)
    else:
        steps, distractors = rng.randint(1, 1 + round(4 * hard)), rng.randint(0, round(2 * hard))
        problem = synthetic.word_problem(rng, steps, distractors, rng if in_sets else None)
    if rng.random() < 0.25:
        template = TEMPLATES["clean"]
        return template.prompt(problem.question), template.response(problem.solution)
    return problem.question, f" {problem.solution}"


def train_tokenizer(count: int = 60_000) -> PreTrainedTokenizerFast:
    """A byte-level BPE that splits text as Qwen2 does: every digit is a token of its own."""
    rng = random.Random("tokenizer")
    like = Qwen2Tokenizer().backend_tokenizer  # whoever loads a Qwen2 model splits text as it does
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer, tokenizer.pre_tokenizer = like.normalizer, like.pre_tokenizer
    tokenizer.decoder = like.decoder
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = ("".join(document(rng, i / count)) for i in range(count))
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=END, pad_token=END, model_max_length=CONTEXT
    )


class Batch(NamedTuple):
    """Token ids [B, T], padded on the right, and the weight of each in the loss."""

    ids: torch.Tensor
    weights: torch.Tensor


def batches(
    seed: str, cycle: Cycle, tokenizer: PreTrainedTokenizerFast, avoid: frozenset[str]
) -> Iterator[Batch]:
    """One batch per step, its documents of similar length; none asks a question of a test set."""
    rng, end, pool = random.Random(seed), tokenizer.eos_token_id, 16
    for start in range(0, cycle.steps, pool):
        progress = 1.0 if cycle.grown else start / cycle.steps
        drawn: list[tuple[str, str]] = []
        while len(drawn) < pool * DOCUMENTS:
            question, text = document(rng, progress, cycle.as_in_sets)
            if not avoid.intersection((question, *_instruction(question))):
                drawn.append((question, text))
        questions = tokenizer([q for q, _ in drawn])["input_ids"]
        answers = tokenizer([text for _, text in drawn])["input_ids"]
        rows = [(q, [*a, end]) for q, a in zip(questions, answers, strict=True)]
        rows.sort(key=lambda row: len(row[0]) + len(row[1]))
        order = list(range(min(pool, cycle.steps - start)))
        rng.shuffle(order)
        for i in order:
            yield padded(rows[i * DOCUMENTS : (i + 1) * DOCUMENTS], end)


def _instruction(prompt: str) -> list[str]:
    """The question inside a prompt in the instruction format."""
    return prompt.split("\n")[1:2]


def padded(rows: list[tuple[list[int], list[int]]], end: int) -> Batch:
    """Rows of question and answer as one batch."""
    width = max(len(q) + len(a) for q, a in rows)
    ids, weights = torch.full((len(rows), width), end), torch.zeros(len(rows), width)
    for i, (question, answer) in enumerate(rows):
        length = len(question) + len(answer)
        ids[i, :length] = torch.tensor([*question, *answer])
        weights[i, : len(question)] = QUESTION_WEIGHT
        weights[i, len(question) : length] = 1.0
    return Batch(ids, weights)


def configuration(member: Member, end: int) -> Qwen2Config:
    """The member's architecture: Qwen2 with tied embeddings."""
    return Qwen2Config(
        vocab_size=member.head_rows,
        hidden_size=member.width,
        intermediate_size=member.width * 3,
        num_hidden_layers=member.layers,
        num_attention_heads=member.heads,
        num_key_value_heads=member.heads,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=end,
        eos_token_id=end,
        pad_token_id=end,
        rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
    )


def pretrain(model: Qwen2ForCausalLM, supply: Iterator[Batch], steps: int, rate: float) -> None:
    """Train for one cycle with AdamW; prints the loss on answers as it goes."""
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.05, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, rate, total_steps=steps, pct_start=0.05
    )
    started = time.monotonic()
    for step, batch in enumerate(supply):
        ids, weights = batch.ids.to(model.device), batch.weights[:, 1:].to(model.device)
        hidden = model.model(input_ids=ids[:, :-1]).last_hidden_state
        chosen = weights > 0
        nll = torch.nn.functional.cross_entropy(
            model.lm_head(hidden[chosen]), ids[:, 1:][chosen], reduction="none"
        )
        loss = (nll * weights[chosen]).sum() / weights.sum()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        if step % 100 == 0 or step == steps - 1:
            answers = nll[weights[chosen] == 1].mean().item()
            seconds = time.monotonic() - started
            print(f"  step {step:5d}  nll of answers {answers:.4f}  {seconds:6.0f} s", flush=True)


def make(
    member: Member,
    tokenizer: PreTrainedTokenizerFast,
    avoid: frozenset[str],
    device: str,
    resumed: Path | None = None,
) -> Qwen2ForCausalLM:
    """A member of the family, through all its cycles; between them its weights are rounded as shipped.

    ``resumed``: a checkpoint that has all cycles but the last behind it, which then is the only one run.
    """
    torch.manual_seed(member.seed)
    model = Qwen2ForCausalLM(configuration(member, tokenizer.eos_token_id))
    if resumed is not None:
        model = Qwen2ForCausalLM.from_pretrained(resumed)
    print(f"{member.name}: {model.num_parameters():,} parameters", flush=True)
    for number, cycle in enumerate(member.cycles):
        if resumed is not None and cycle is not member.cycles[-1]:
            continue
        model.to(device, torch.float32)
        seed = f"pretrain/{member.name}" + (f"/{number}" if number else "")
        supply = batches(seed, cycle, tokenizer, avoid)
        pretrain(model, supply, cycle.steps, member.learning_rate)
        model.to("cpu", torch.bfloat16)
    return model.eval()


def main() -> None:
    """Train the tokenizer and every member, and save them as bfloat16 safetensors."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument(
        "--resume", type=Path, help="folder of members that lack only their last cycle"
    )
    parser.add_argument("--only", nargs="*", default=[member.name for member in FAMILY])
    arguments = parser.parse_args()
    avoid = frozenset(
        i.question for task in synthetic.TEST_SIZES for i in synthetic.tiny_items(task)
    )
    tokenizer = train_tokenizer()
    print(f"tokenizer: {len(tokenizer)} tokens", flush=True)
    for member in FAMILY:
        if member.name in arguments.only:
            resumed = arguments.resume and arguments.resume / member.name
            model = make(member, tokenizer, avoid, arguments.device, resumed)
            model.save_pretrained(arguments.out / member.name)
            tokenizer.save_pretrained(arguments.out / member.name)


if __name__ == "__main__":
    main()
