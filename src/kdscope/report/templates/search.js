"use strict";
// Full-text search: the chunks of text are read one after the other, so that the page stays usable,
// and dropped again, so that memory stays small. What was searched for one query is not read twice.
const textSearch = ({ rows, items, load, told }) => {
  let query = "", words = [], hits = new Uint8Array(0), seen = new Uint8Array(0), turn = 0, missing = 0;

  function ask(text) {
    if (text === query) return;
    query = text;
    words = text.split(" ");
    hits = new Uint8Array(rows.system.length);
    seen = new Uint8Array(chunkCount());
    turn++;
    missing = 0;
  }

  const chunkCount = () => items.chunk.reduce((most, k) => Math.max(most, k), 0) + 1;

  // Read the chunks that hold wanted items and were not read yet; `told` hears of every one.
  function run(itemMask) {
    const wanted = new Uint8Array(seen.length), own = ++turn;
    for (let i = 0; i < itemMask.length; i++) if (itemMask[i]) wanted[items.chunk[i]] = 1;
    const todo = [];
    wanted.forEach((yes, k) => { if (yes && !seen[k]) todo.push(k); });
    const total = todo.length;
    const next = () => {
      if (own !== turn) return;
      const k = todo.shift();
      if (k === undefined) { told({ done: total, total, missing }); return; }
      const after = () => {
        seen[k] = 1;
        told({ done: total - todo.length, total, missing, more: true });
        setTimeout(next, 0);
      };
      load(k, (data) => {
        if (own !== turn) return;
        scan(data);
        after();
      }, () => {
        if (own !== turn) return;
        missing++;
        after();
      });
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
