"use strict";
// An answer with what a reader looks for marked: words that the teacher lacks, equations, the words
// searched for, the answer as it was read. All of it is text; nothing is interpreted.
const marking = (make) => {
  const equation = /[$£€]?\d[\d,.]*(?:\s*[-+*/×÷x−]\s*[$£€]?\d[\d,.]*)+\s*=\s*[$£€]?-?\d(?:[\d,.]*\d)?/g;
  const tokens = (text) => text.match(/\s+|[\p{L}\p{N}_]+|[^\p{L}\p{N}_\s]/gu) || [];

  function marked(text, answer, other, sought) {
    const kinds = new Array(text.length).fill(""), low = text.toLowerCase();
    if (other !== null) for (const [from, to] of newParts(tokens(text), tokens(other))) kinds.fill("d", from, to);
    for (const match of text.matchAll(equation)) {
      for (let i = match.index; i < match.index + match[0].length; i++) kinds[i] = `${kinds[i]} q`.trim();
    }
    for (const word of low.length === text.length ? sought : []) {
      for (let at = low.indexOf(word); at >= 0; at = low.indexOf(word, at + word.length)) {
        for (let i = at; i < at + word.length; i++) kinds[i] = `${kinds[i]} hit`.trim();
      }
    }
    if (answer) {
      const escaped = answer.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
      const all = [...text.matchAll(new RegExp(`(?<![\\p{L}\\p{N}_.])${escaped}(?![\\p{L}\\p{N}_])`, "giu"))];
      const place = all.length ? all[all.length - 1] : null;
      if (place) kinds.fill("mark", place.index, place.index + place[0].length);
    }
    const parts = [];
    for (let start = 0, i = 1; i <= text.length; i++) {
      if (i < text.length && kinds[i] === kinds[start]) continue;
      const piece = text.slice(start, i), kind = kinds[start];
      parts.push(kind === "mark" ? make("mark", "", piece) : kind ? make("span", kind, piece) : document.createTextNode(piece));
      start = i;
    }
    return parts;
  }

  function newParts(mine, theirs) {
    if (mine.length * theirs.length > 4e6) return [];
    const width = theirs.length + 1, table = new Uint16Array((mine.length + 1) * width), spans = [];
    for (let i = mine.length - 1; i >= 0; i--) {
      for (let j = theirs.length - 1; j >= 0; j--) {
        table[i * width + j] = mine[i] === theirs[j] ? table[(i + 1) * width + j + 1] + 1
          : Math.max(table[(i + 1) * width + j], table[i * width + j + 1]);
      }
    }
    let place = 0, j = 0;
    for (let i = 0; i < mine.length; i++) {
      while (j < theirs.length && mine[i] !== theirs[j] && table[i * width + j + 1] >= table[(i + 1) * width + j]) j++;
      if (j < theirs.length && mine[i] === theirs[j]) j++;
      else if (mine[i].trim()) spans.push([place, place + mine[i].length]);
      place += mine[i].length;
    }
    return spans;
  }

  return { marked };
};
