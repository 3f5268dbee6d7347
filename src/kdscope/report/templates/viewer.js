"use strict";
const kdscope = (() => {
  const CORRECT = 1, VALID = 2, GRADED = 4, TEACHER_RIGHT = 8, TEACHER_GRADED = 16, AGREE = 32, NONE = 255, PAGE = 200;
  const $ = (id) => document.getElementById(id);
  const form = $("filters"), list = $("list"), detail = $("detail"), count = $("count");
  let study, rows, items, found = new Uint32Array(0), shown = 0, last = -1, current = -1, searchText = null;
  let settingNames = [], search = null, drawn = null, sought = [], searching = false, lastTold = 0;

  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const make = (tag, name, text) => {
    const node = document.createElement(tag);
    if (name) node.className = name;
    if (text !== undefined) node.textContent = text;
    return node;
  };
  const hidden = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]/g;
  const visible = (text) => String(text).replace(hidden, (c) => `⟨U+${c.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`);
  const dot = (system) => `dot m${study.methods.indexOf(system.method)}`;

  function index(data) {
    study = data;
    rows = {
      system: new Uint16Array(bytes(data.rows.system).buffer), item: new Uint32Array(bytes(data.rows.item).buffer),
      sample: bytes(data.rows.sample), flags: bytes(data.rows.flags), fidelity: bytes(data.rows.fidelity),
    };
    items = {
      ...data.items, task: new Uint16Array(bytes(data.items.task).buffer),
      leaked: bytes(data.items.leaked), chunk: new Uint16Array(bytes(data.items.chunk).buffer),
    };
    for (const system of data.systems) system.own = settingsOf(system);
    search = textSearch({ rows, items, load: texts.loadOnce, index: words, told: searched });
    drawn = answerDetail({ study, rows, items, make, visible, dot, sought: () => sought });
    const unique = (key) => [...new Set(data.systems.map((s) => s[key]).filter((v) => v !== null))];
    fill("task", data.tasks);
    fill("student", unique("student"));
    fill("teacher", unique("teacher"));
    fill("method", data.methods);
    fill("seed", unique("seed").sort((a, b) => a - b));
    settingFilters();
    restore();
    filter();
    if (current >= 0) open(current, false);
  }

  function settingsOf(system) {
    try { return JSON.parse(system.settings || "{}") || {}; } catch { return {}; }
  }

  // One filter for each setting that tells systems apart: temperature, noise and the like.
  function settingFilters() {
    settingNames = [...new Set(study.systems.flatMap((system) => Object.keys(system.own)))].sort();
    const place = form.elements.seed.closest("label");
    for (const name of settingNames) {
      const label = make("label", "", `${visible(titled(name))} `), select = make("select");
      select.name = `s.${name}`;
      label.append(select);
      place.before(label);
      const values = new Set(study.systems.filter((system) => name in system.own).map((s) => JSON.stringify(s.own[name])));
      fill(select.name, [...values].sort((a, b) => a - b || a.localeCompare(b)));
      select.options[0].after(new Option("the study's own", "own"));
    }
  }

  const titled = (name) => name.charAt(0).toUpperCase() + name.slice(1).replaceAll("_", " ");
  const fits = (system, wanted) => settingNames.every((name) => {
    const value = wanted[`s.${name}`];
    return !value || (value === "own" ? !(name in system.own) : JSON.stringify(system.own[name]) === value);
  });

  function fill(name, values) {
    const select = form.elements[name];
    select.append(new Option("any", ""), ...values.map((value) => new Option(visible(value), value)));
  }

  const state = () => Object.fromEntries(new FormData(form));

  function restore() {
    const wanted = new URLSearchParams(location.hash.slice(1));
    for (const control of form.elements) if (control.name) control.value = wanted.get(control.name) || "";
    for (const control of form.elements) if (control.tagName === "SELECT" && control.selectedIndex < 0) control.value = "";
    const row = Number(wanted.get("row"));
    current = wanted.has("row") && Number.isInteger(row) && row >= 0 && row < rows.system.length ? row : -1;
  }

  function remember() {
    const kept = new URLSearchParams(Object.entries(state()).filter(([, value]) => value));
    if (current >= 0) kept.set("row", current);
    history.replaceState(null, "", `#${kept}`);
  }

  function filter({ note = "", draw = true } = {}) {
    const wanted = state(), began = performance.now();
    const system = study.systems.map((s) => Number(
      (!wanted.student || s.student === wanted.student) && (!wanted.teacher || s.teacher === wanted.teacher) &&
      fits(s, wanted) && (!wanted.method || s.method === wanted.method) &&
      (!wanted.seed || String(s.seed) === wanted.seed)));
    sought = wanted.q.toLowerCase().split(/\s+/).filter(Boolean);
    const inAnswers = wanted.in === "answers" && sought.length > 0, item = itemMask(wanted, inAnswers ? [] : sought);
    if (inAnswers) search.ask(sought.join(" ")); else { search.stop(); searching = false; }
    const test = rowTest(wanted), n = rows.system.length, kept = new Uint32Array(n);
    let size = 0;
    for (let i = 0; i < n; i++) {
      if (system[rows.system[i]] && item[rows.item[i]] && test(rows.flags[i]) && (!inAnswers || search.hit(i))) kept[size++] = i;
    }
    found = ordered(kept.subarray(0, size), wanted.order);
    const spent = performance.now() - began;
    count.textContent = `${found.length.toLocaleString("en")} of ${n.toLocaleString("en")} answers${note}`;
    count.dataset.milliseconds = spent.toFixed(1);
    if (inAnswers && !note) searching = true;
    count.dataset.state = searching ? "searching" : "done";
    if (draw) {
      const top = note ? list.scrollTop : 0;
      shown = 0;
      list.replaceChildren();
      more();
      list.scrollTop = top;
      remember();
    }
    if (inAnswers && !note) search.run(item);
  }

  // The search has read a chunk: say how far it is, and add what it found to the list.
  function searched({ done, total, missing, more: goesOn }) {
    const lost = missing ? `, ${missing} files are missing: build the viewer again` : "";
    const now = performance.now();
    if (goesOn && now - lastTold < 200) return;
    lastTold = now;
    searching = Boolean(goesOn);
    filter({ note: goesOn ? `, ${done} of ${total} files searched${lost}` : `${lost} `, draw: false });
    if (shown && last !== found[shown - 1]) { shown = 0; list.replaceChildren(); }  // some came in between
    more(Math.max(shown, PAGE));
  }

  function itemMask(wanted, words) {
    const mask = new Uint8Array(items.id.length), task = study.tasks.indexOf(wanted.task);
    if (words.length && !searchText) {
      searchText = items.id.map((id, i) => `${id}\n${items.question[i]}\n${items.gold[i]}`.toLowerCase());
    }
    for (let i = 0; i < mask.length; i++) {
      mask[i] = (!wanted.task || items.task[i] === task) && (wanted.state !== "leaked" || items.leaked[i]) &&
        words.every((word) => searchText[i].includes(word)) ? 1 : 0;
    }
    return mask;
  }

  function rowTest({ quadrant, state: answer }) {
    const both = GRADED | TEACHER_GRADED;
    const tests = {
      rr: (f) => (f & both) === both && (f & TEACHER_RIGHT) && (f & CORRECT),
      rw: (f) => (f & both) === both && (f & TEACHER_RIGHT) && !(f & CORRECT),
      wr: (f) => (f & both) === both && !(f & TEACHER_RIGHT) && (f & CORRECT),
      ww: (f) => (f & both) === both && !(f & TEACHER_RIGHT) && !(f & CORRECT),
      ws: (f) => (f & both) === both && !(f & TEACHER_RIGHT) && !(f & CORRECT) && (f & AGREE),
      invalid: (f) => !(f & VALID), right: (f) => f & CORRECT, wrong: (f) => (f & GRADED) && !(f & CORRECT),
    };
    const first = tests[quadrant], second = tests[answer];
    return (f) => (!first || first(f)) && (!second || second(f));
  }

  function ordered(kept, order) {
    if (!order) return kept;
    const buckets = new Uint32Array(257), sorted = new Uint32Array(kept.length);
    const key = (i) => rows.fidelity[i] === NONE ? 255 : order === "low" ? rows.fidelity[i] : 250 - rows.fidelity[i];
    for (const i of kept) buckets[key(i) + 1]++;
    for (let k = 1; k < 257; k++) buckets[k] += buckets[k - 1];
    for (const i of kept) sorted[buckets[key(i)]++] = i;
    return sorted;
  }

  function more(upTo = shown + PAGE) {
    for (const node of list.querySelectorAll(".more, .missing")) node.remove();
    const part = document.createDocumentFragment();
    for (const end = Math.min(found.length, upTo); shown < end; shown++) part.append(entry(found[shown]));
    last = shown ? found[shown - 1] : -1;
    if (shown < found.length) {
      const button = make("button", "more", `Show ${Math.min(PAGE, found.length - shown)} more`);
      button.addEventListener("click", () => more());
      part.append(button);
    }
    if (!found.length) part.append(make("p", "missing", searching ? "Searching the answers." : "No answer passes these filters."));
    list.append(part);
  }

  function entry(i) {
    const system = study.systems[rows.system[i]], item = rows.item[i], button = make("button", "row");
    const who = make("span", "who");
    who.append(make("b", dot(system), visible(system.model)), drawn.verdict(rows.flags[i]));
    const fidelity = rows.fidelity[i] === NONE ? "" : ` · BLEU ${(rows.fidelity[i] / 250).toFixed(2)}`;
    button.append(who, make("span", "text", visible(items.question[item] || items.id[item])),
      make("span", "text", visible(items.id[item]) + (rows.sample[i] ? ` · sample ${rows.sample[i]}` : "") + fidelity));
    button.type = "button";
    button.dataset.row = i;
    if (i === current) button.setAttribute("aria-current", "true");
    button.addEventListener("click", () => open(i, true));
    return button;
  }

  function open(i, focus) {
    current = i;
    for (const node of list.querySelectorAll("[aria-current]")) node.removeAttribute("aria-current");
    const node = list.querySelector(`[data-row="${i}"]`);
    if (node) node.setAttribute("aria-current", "true");
    remember();
    texts.load(items.chunk[rows.item[i]], (data) => { if (current === i) drawn.show(i, data, focus); });
  }

  const lack = (name) => detail.replaceChildren(make("p", "missing", `The file ${name} is missing: build the viewer again.`));
  const texts = textChunks(lack), words = wordIndex(bytes);

  // Up and down walk through the list; Enter opens.
  list.addEventListener("keydown", (event) => {
    const row = event.target.closest(".row"), step = { ArrowDown: "nextElementSibling", ArrowUp: "previousElementSibling" }[event.key];
    if (!row || !step) return;
    event.preventDefault();
    if (row[step]) row[step].focus();
  });

  let timer = 0;
  form.addEventListener("input", (event) => {
    clearTimeout(timer);
    const wait = event.target.name === "q" ? (form.elements.in.value ? 400 : 120) : 0;
    timer = setTimeout(filter, wait);
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  addEventListener("hashchange", () => { if (study) { restore(); filter(); if (current >= 0) open(current, false); } });
  return { index, chunk: texts.take, words: words.take };
})();
