"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const make = (tag, text, name) => {
    const node = document.createElement(tag);
    node.textContent = text;
    if (name) node.className = name;
    return node;
  };
  const say = (node, text) => { if (node.textContent !== text) node.textContent = text; };

  function time(seconds) {
    const s = Math.round(seconds);
    if (s < 60) return `${s} s`;
    if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
    return `${Math.floor(s / 3600)} h ${Math.floor(s % 3600 / 60)} min`;
  }

  function bar(done, total, label) {
    const node = document.createElement("progress");
    node.max = Math.max(total, 1e-9);
    node.value = Math.min(done, total);
    node.setAttribute("aria-label", label);
    return node;
  }

  function draw(state) {
    const over = !state.active && state.left === 0;
    if (over && state.page) { location.replace("index.html"); return; }
    document.title = `${state.done} of ${state.steps} · ${state.name}`;
    say($("name"), state.name);
    say($("headline"), `${state.done} of ${state.steps} steps are done.`);
    $("all").max = Math.max(state.steps, 1);
    $("all").value = state.done;
    const left = state.left ? `About ${time(state.predicted_seconds_left)} of work left, on one slot.` : "";
    say($("rest"), state.active ? left : over ? "All steps are done; there is no report yet."
      : "Nothing runs in this folder now. The same kdscope run goes on where it stopped.");
    $("page").hidden = !state.page;
    $("running").replaceChildren(...state.running.map(runs));
    if (!state.running.length) $("running").append(make("li", "nothing"));
    $("kinds").replaceChildren(...Object.entries(state.kinds).map(([kind, n]) => row(kind, n.steps - n.left, n.steps)));
    const failed = Object.entries(state.failed);
    $("failures").hidden = !failed.length;
    $("failed").replaceChildren(...failed.map(([step, message]) => {
      const item = make("li", step);
      item.append(make("small", message));
      return item;
    }));
  }

  function runs(step) {
    const item = make("li", step.step), known = step.predicted_seconds;
    item.append(make("small", time(step.seconds) + (known ? ` of about ${time(known)}` : "")));
    if (known) item.append(bar(step.seconds, Math.max(known, step.seconds), `${step.step}: time spent`));
    return item;
  }

  function row(kind, done, total) {
    const line = make("tr", ""), share = make("td", "");
    share.append(bar(done, total, `${kind}: done`));
    line.append(make("td", kind), make("td", String(done), "n"), make("td", String(total), "n"), share);
    return line;
  }

  async function ask() {
    try {
      const answer = await fetch("live.json", { cache: "no-store" });
      if (!answer.ok) throw new Error(String(answer.status));
      draw(await answer.json());
    } catch {
      say($("rest"), "kdscope view does not answer; start it again to go on.");
    }
    setTimeout(ask, 2000);
  }
  ask();
})();
