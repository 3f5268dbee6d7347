"use strict";
// The files of text: each is a script that hands its chunk over when it has loaded; a few are kept.
const textChunks = (lacking) => {
  const chunks = new Map(), waiting = new Map();
  const KEPT = 24;  // chunks of text in memory

  // Chunk `k` to `then`, its file's name to `failed` where it cannot be read.
  function load(k, then, failed = lacking) {
    if (chunks.has(k)) { then(chunks.get(k)); return; }
    if (waiting.has(k)) { waiting.get(k).push([then, failed]); return; }
    waiting.set(k, [[then, failed]]);
    const script = document.createElement("script");
    script.async = false;  // what was asked for first comes first
    script.src = `data/text-${String(k).padStart(5, "0")}.js`;
    script.addEventListener("load", () => script.remove());
    script.addEventListener("error", () => {
      const calls = waiting.get(k) || [];
      waiting.delete(k);
      script.remove();
      calls.forEach((call) => call[1](script.src.split("/").pop()));
    });
    document.head.append(script);
  }

  function take(k, data) {
    chunks.set(k, data);
    while (chunks.size > KEPT) chunks.delete(chunks.keys().next().value);
    const calls = waiting.get(k) || [];
    waiting.delete(k);
    calls.forEach((call) => call[0](data));
  }

  // For the search: a chunk that nobody looks at is dropped again.
  function loadOnce(k, then, failed) {
    const kept = chunks.has(k);
    load(k, (data) => { if (!kept) chunks.delete(k); then(data); }, failed);
  }

  return { load, loadOnce, take };
};
