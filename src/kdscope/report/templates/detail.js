"use strict";
// One question with the teacher's answer and the chosen one side by side, and all others on demand.
const answerDetail = ({ study, rows, items, make, visible, dot, sought }) => {
  const VALID = 2, GRADED = 4, CORRECT = 1, { marked } = marking(make), detail = document.getElementById("detail");

  function verdict(flags) {
    if (!(flags & VALID)) return make("span", "verdict wrong", "no valid answer");
    if (!(flags & GRADED)) return make("span", "verdict", "not graded");
    return flags & CORRECT ? make("span", "verdict right", "✓ right") : make("span", "verdict wrong", "✗ wrong");
  }

  function show(i, data, focus) {
    const item = rows.item[i], k = item - data.first;
    let first = i, last = i;
    while (first > 0 && rows.item[first - 1] === item) first--;
    while (last + 1 < rows.item.length && rows.item[last + 1] === item) last++;
    const own = study.systems[rows.system[i]], text = (j) => data.texts[j - data.row] || "";
    const teacherOf = (j) => {
      const name = own.teacher, system = study.systems[rows.system[j]];
      return system.student === null && (name === null || system.teacher === name) && rows.sample[j] === 0;
    };
    let teacher = -1;
    for (let j = first; j <= last && teacher < 0; j++) if (j !== i && teacherOf(j)) teacher = j;
    const question = make("p", "question");
    question.append(make("span", "task", study.tasks[items.task[item]]), make("bdi", "", visible(data.questions[k] || items.question[item])));
    const gold = make("p", "gold", "gold ");
    gold.append(make("b", "", visible(items.gold[item])), ` · ${visible(items.id[item])}`);
    if (data.options[k]) gold.append(` · options ${visible(data.options[k].join(" / "))}`);
    if (items.leaked[item]) gold.append(make("b", "wrong", " · leaked into training"));
    const card = (j, other) => side(j, text(j), data.answers[j - data.row], other);
    const sides = make("div", "sides");
    if (teacher >= 0) sides.append(card(teacher, null));
    sides.append(card(i, teacher >= 0 ? text(teacher) : null));
    const others = make("details", "others"), rest = make("div", "sides");
    others.append(make("summary", "", `All ${last - first + 1} answers to this question`), rest);
    others.addEventListener("toggle", () => {
      if (!others.open || rest.childNodes.length) return;
      for (let j = first; j <= last; j++) if (j !== i && j !== teacher) rest.append(card(j, teacher >= 0 ? text(teacher) : null));
    });
    const legend = make("p", "legend");
    legend.append(make("mark", "", "answer"), " as the extractor read it · ", make("span", "q", "equation"), " · ",
      make("span", "d", "words that the teacher's text lacks"));
    detail.replaceChildren(question, gold, legend, sides, others);
    if (focus) detail.focus({ preventScroll: innerWidth > 832 });
  }

  function side(j, text, answer, other) {
    const system = study.systems[rows.system[j]], box = make("div"), head = make("h2", dot(system), visible(system.model));
    if (rows.sample[j]) head.append(` sample ${rows.sample[j]}`);
    const result = verdict(rows.flags[j]);
    if (answer !== null) result.textContent = `${visible(answer)} ${result.textContent}`;
    head.append(result);
    const pre = make("pre"), body = make("bdi");
    body.append(...marked(visible(text), answer === null ? null : visible(answer), other === null ? null : visible(other), sought()));
    pre.append(body);
    box.append(head, pre);
    return box;
  }

  return { verdict, show };
};
