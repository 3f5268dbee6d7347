"use strict";
// Which files of text may hold what is searched for. The list of words is read at the first search;
// without it (or where it is too long to be kept) every file may.
const wordIndex = (decoded) => {
  let words = null, counts, places, starts, files = 0, asked = null;

  function take(data) {
    files = data.files;
    if (data.words === null) return;
    words = data.words.split("\n");
    counts = new Uint16Array(decoded(data.counts).buffer);
    places = new Uint16Array(decoded(data.places).buffer);
    starts = new Uint32Array(words.length);
    for (let i = 1; i < words.length; i++) starts[i] = starts[i - 1] + counts[i - 1];
  }

  // Read the list once, then go on.
  function ready(then) {
    if (asked && asked.over) { then(); return; }
    if (asked) { asked.push(then); return; }
    asked = [then];
    const script = document.createElement("script"), over = () => {
      asked.over = true;
      script.remove();
      asked.forEach((call) => call());
    };
    script.src = "data/words.js";
    script.addEventListener("load", over);
    script.addEventListener("error", over);
    document.head.append(script);
  }

  // The files that may hold all of these (lower-case texts without blanks); null for all files.
  function candidates(sought) {
    if (!words) return null;
    let kept = null;
    for (const text of sought) {
      for (const run of text.matchAll(/[a-z0-9]+/g)) {
        const mask = holding(run[0], run.index > 0, run.index + run[0].length < text.length);
        if (mask) kept = kept ? kept.map((yes, k) => yes & mask[k]) : mask;
      }
    }
    return kept;
  }

  // Files with a word that holds `run`, at its beginning or end where the text searched for parts it there.
  function holding(run, begins, ends) {
    const fits = begins ? (ends ? (word) => word === run : (word) => word.startsWith(run))
      : ends ? (word) => word.endsWith(run) : (word) => word.includes(run);
    const mask = new Uint8Array(files);
    for (let i = 0; i < words.length; i++) {
      if (!fits(words[i])) continue;
      if (!counts[i]) return null;  // in most files: nothing is saved
      for (let j = starts[i]; j < starts[i] + counts[i]; j++) mask[places[j]] = 1;
    }
    return mask;
  }

  return { take, ready, candidates };
};
