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
    const left = !state.left ? "" : state.seconds_left === null
      ? `About ${time(state.predicted_seconds_left)} of work left, on one slot.` : `About ${time(state.seconds_left)} left.`;
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

  const count = (n) => n.toLocaleString("en", { maximumFractionDigits: 0 });
  const number = (x) => Number(x.toPrecision(4)).toLocaleString("en", { maximumSignificantDigits: 4 });

  // One step at work: how far it is by its own count, else by the time that was predicted.
  function runs(step) {
    const item = make("li", ""), known = step.predicted_seconds, told = [];
    told.push(time(step.seconds) + (known ? ` of about ${time(known)}` : ""));
    if (step.total) {
      told.push(`${count(step.done)} of ${count(step.total)} ${step.unit}`);
      if (step.rate) told.push(`${number(step.rate)} a second`);
      if (step.seconds_left !== null) told.push(`about ${time(step.seconds_left)} left`);
    }
    item.append(make("b", step.step), make("small", told.join(" · ")));
    if (step.total) item.append(bar(step.done, step.total, `${step.step}: ${step.unit} done`));
    else if (known) item.append(bar(step.seconds, Math.max(known, step.seconds), `${step.step}: time spent`));
    if (step.curve.length > 1) item.append(lossCurve(step.curve));
    return item;
  }

  function lossCurve(curve) {
    const drawn = document.createElement("figure"), at = ([step, loss]) => `${number(loss)} at step ${count(step)}`;
    const losses = curve.map((point) => point[1]), low = Math.min(...losses), high = Math.max(...losses);
    const from = curve[0][0], width = curve.at(-1)[0] - from || 1, tall = high - low || 1;
    const place = ([step, loss]) => `${(300 * (step - from) / width).toFixed(1)},${(42 - 40 * (loss - low) / tall).toFixed(1)}`;
    const words = `Loss: ${at(curve[0])}, ${at(curve.at(-1))}; lowest ${number(low)}, highest ${number(high)}.`;
    const picture = svg("svg", { viewBox: "0 0 300 44", preserveAspectRatio: "none", role: "img", "aria-label": words });
    picture.append(svg("polyline", { points: curve.map(place).join(" ") }));
    drawn.append(picture, make("figcaption", words));
    return drawn;
  }

  function svg(tag, attributes) {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    return node;
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
