"use strict";
// Full-text search: the chunks of text are read one after the other, so that the page stays usable,
// and dropped again, so that memory stays small. What was searched for one query is not read twice.
const textSearch = ({ rows, items, load, index, told }) => {
  const AHEAD = 4;  // files that load while one is looked through
  let query = "", words = [], hits = new Uint8Array(0), seen = new Uint8Array(0), turn = 0, missing = 0, held = null;

  function ask(text) {
    if (text === query) return;
    query = text;
    words = text.split(" ");
    hits = new Uint8Array(rows.system.length);
    seen = new Uint8Array(chunkCount());
    held = null;
    turn++;
    missing = 0;
  }

  const chunkCount = () => items.chunk.reduce((most, k) => Math.max(most, k), 0) + 1;

  // Read the chunks that hold wanted items, may hold the words and were not read yet, in order; `told`
  // hears of every one.
  function run(itemMask) {
    const own = ++turn;
    index.ready(() => {
      if (own !== turn) return;
      held = held || index.candidates(words) || new Uint8Array(seen.length).fill(1);
      const wanted = new Uint8Array(seen.length);
      for (let i = 0; i < itemMask.length; i++) if (itemMask[i]) wanted[items.chunk[i]] = 1;
      const todo = [];
      wanted.forEach((yes, k) => { if (yes && held[k] && !seen[k]) todo.push(k); });
      read(todo, own);
    });
  }

  function read(todo, own) {
    const total = todo.length;
    let begun = 0, done = 0;
    const after = () => {
      if (own !== turn) return;
      done++;
      told({ done, total, missing, more: true });
      next();
    };
    const next = () => {
      if (done === total) { told({ done, total, missing }); return; }
      while (begun < total && begun < done + AHEAD) {
        const k = todo[begun++];
        load(k, (data) => {
          if (own === turn) { scan(data); seen[k] = 1; }
          after();
        }, () => {
          if (own === turn) { missing++; seen[k] = 1; }
          after();
        });
      }
    };
    next();
  }

  function scan(data) {
    const rest = new Map();
    data.texts.forEach((text, j) => {
      const i = data.row + j, item = rows.item[i];
      if (!rest.has(item)) rest.set(item, unmatched(data, item));
      const left = rest.get(item);
      if (!left.length) { hits[i] = 1; return; }
      const low = text === null ? "" : text.toLowerCase();
      hits[i] = left.every((word) => low.includes(word)) ? 1 : 0;
    });
  }

  // The words that the question itself does not hold; the answer must hold these.
  function unmatched(data, item) {
    const k = item - data.first, options = (data.options[k] || []).join("\n");
    const low = `${items.id[item]}\n${data.questions[k]}\n${items.gold[item]}\n${options}`.toLowerCase();
    return words.filter((word) => !low.includes(word));
  }

  return { ask, run, stop: () => { turn++; }, hit: (i) => hits[i], words: () => words };
};
