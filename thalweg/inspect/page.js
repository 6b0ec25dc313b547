"use strict";
const reports = JSON.parse(document.getElementById("data").textContent);
const main = document.getElementById("main");
const VIEWS = { passes: passes, fusion: fusion, kernels: kernels, schedule: schedule, memory: memory };
const shown = { graph: 0, view: "passes", stage: 0, kernel: 0, whole: false };

// --- building elements

function el(tag, attributes, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value !== undefined && value !== false) made.setAttribute(name, value);
  }
  made.append(...children.flat().filter(c => c !== null));
  return made;
}

function svg(tag, attributes, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

function bytes(n) {
  for (const [unit, size] of [["GB", 1e9], ["MB", 1e6], ["kB", 1e3]])
    if (n >= size) return (n / size).toFixed(2) + " " + unit;
  return n + " B";
}

function count(n) { return n.toLocaleString("en"); }

function facts(pairs) {
  return el("div", { class: "facts" }, pairs.map(([what, value]) =>
    el("div", {}, el("b", {}, String(value)), el("span", { class: "dim" }, what))));
}

function table(heads, rows) {
  return el("div", { class: "box" }, el("table", {},
    el("thead", {}, el("tr", {}, heads.map(([text, kind]) => el("th", { class: kind }, text)))),
    el("tbody", {}, rows)));
}

function line(where) {
  return el("td", { class: "dim", title: where }, where.split("/").slice(-2).join("/"));
}

function choice(text, more, on, act) {
  return el("button", { class: on ? "on" : undefined, onclick: act },
    el("span", {}, text), more ? el("span", { class: "dim" }, more) : null);
}

// --- views

function passes(report) {
  const stages = report.stages;
  const now = stages[shown.stage];
  const side = el("div", { class: "side" }, stages.map((stage, i) =>
    choice(stage.name, count(stage.nodes), i === shown.stage, () => go({ stage: i }))));
  const before = shown.stage ? stages[shown.stage - 1] : null;
  const head = el("div", {},
    el("h2", {}, now.name), el("p", {}, now.about),
    el("p", { class: "dim" }, before
      ? `${count(before.nodes)} nodes before, ${count(now.nodes)} after. ` + difference(before, now)
      : `${count(now.nodes)} nodes. ` + Object.entries(now.ops).slice(0, 12)
        .map(([op, n]) => `${op} ${n}`).join(", ")),
    el("p", {},
      el("button", { onclick: () => go({ stage: shown.stage - 1 }), disabled: !before }, "← earlier"), " ",
      el("button", { onclick: () => go({ stage: shown.stage + 1 }),
        disabled: shown.stage + 1 === stages.length }, "later →"), " ",
      before ? el("button", { class: shown.whole ? "on" : undefined,
        onclick: () => go({ whole: !shown.whole }) }, "whole text") : null));
  const text = before && !shown.whole ? diff(before, now) : el("pre", { class: "box" }, now.lines.join("\n"));
  return el("div", { class: "columns" }, side, el("div", { class: "wide" }, head, text));
}

function difference(before, after) {
  const names = new Set([...Object.keys(before.ops), ...Object.keys(after.ops)]);
  const rows = [...names].map(op => [op, (after.ops[op] || 0) - (before.ops[op] || 0)])
    .filter(([, n]) => n).sort((a, b) => Math.abs(b[1]) - Math.abs(a[1]));
  if (!rows.length) return "The same ops.";
  const told = rows.slice(0, 14).map(([op, n]) => `${op} ${n > 0 ? "+" : "−"}${Math.abs(n)}`);
  return told.join(", ") + (rows.length > 14 ? ", …" : "");
}

function diff(before, after) {
  const box = el("div", { class: "box code diff" });
  const row = (kind, mark, text) => el("div", { class: kind }, mark + " " + text);
  if (after.changes.every(([kind]) => kind === "equal"))
    box.append(el("div", { class: "dim" }, "This pass changes nothing here."));
  after.changes.forEach(([kind, a, b, c, d], k) => {
    if (kind !== "equal") {
      for (let i = a; i < b; i++) box.append(row("del", "−", before.lines[i]));
      for (let i = c; i < d; i++) box.append(row("add", "+", after.lines[i]));
      return;
    }
    const head = k ? 3 : 0, tail = k + 1 < after.changes.length ? 3 : 0;
    if (d - c <= head + tail + 2) {
      for (let i = c; i < d; i++) box.append(row("same", " ", after.lines[i]));
      return;
    }
    for (let i = c; i < c + head; i++) box.append(row("same", " ", after.lines[i]));
    const skip = el("div", { class: "skip" }, `… ${count(d - c - head - tail)} lines as before (click to see)`);
    skip.addEventListener("click", () => skip.replaceWith(
      ...after.lines.slice(c + head, d - tail).map(text => row("same", " ", text))));
    box.append(skip);
    for (let i = d - tail; i < d; i++) box.append(row("same", " ", after.lines[i]));
  });
  return box;
}

function fusion(report) {
  const [before, after] = report.traffic;
  const reasons = {};
  for (const [, why] of report.refused) reasons[why] = (reasons[why] || 0) + 1;
  const plain = report.stages[report.stages.length - 2].nodes;
  return el("div", {},
    facts([["ops", count(plain)], ["kernels", count(report.steps.length)],
      ["moved, one op a kernel", bytes(before)], ["moved by the kernels", bytes(after)]]),
    el("h2", {}, "What stayed apart, and why"),
    report.refused.length ? null : el("p", {}, "Nothing that could have been one kernel."),
    el("p", { class: "dim" }, Object.entries(reasons).sort((a, b) => b[1] - a[1])
      .map(([why, n]) => `${n} × ${why}`).join("; ")),
    table([["op that reads another kernel's value"], ["why it did not join it"], ["line"]],
      report.refused.map(([op, why, where]) => el("tr", {},
        el("td", { class: "code" }, op), el("td", {}, why), line(where)))));
}

function kernels(report) {
  const all = report.kernels;
  const uses = all.map(() => 0);
  report.steps.forEach(step => uses[step.kernel]++);
  if (!all.length) return el("p", {}, "No kernels: every result is an operand.");
  const now = all[shown.kernel];
  const side = el("div", { class: "side" }, all.map((kernel, i) =>
    choice(short(kernel.name), uses[i] > 1 ? "×" + uses[i] : "", i === shown.kernel, () => go({ kernel: i }))));
  return el("div", { class: "columns" }, side, el("div", { class: "wide" },
    el("h2", {}, now.name),
    facts([["kind", now.kind], ["arithmetic", now.flops ? count(now.flops) + " flops" : "–"],
      ["memory moved at least", now.nbytes ? bytes(now.nbytes) : "–"], ["scratch", bytes(now.scratch)],
      ["LLVM text", bytes(now.size)], ["launches", now.launches]]),
    now.reason ? el("p", {}, "Runs on the host: " + now.reason) : null,
    el("p", { class: "code" }, "(" + now.reads.join(", ") + ") → (" + now.writes.join(", ") + ")"),
    el("pre", { class: "box" }, now.text)));
}

function short(name) { return name.length > 34 ? name.slice(0, 32) + "…" : name; }

function schedule(report) {
  const most = Math.max(1, ...report.steps.map(step => step.live));
  return el("div", {},
    facts([["steps", count(report.steps.length)], ["most bytes live at once", bytes(report.least)]]),
    table([["#", "n"], ["kernel"], ["reads"], ["writes"], ["live in the arena", "n"], [""], ["line"]],
      report.steps.map((step, i) => el("tr", { class: "pick", onclick: () => go({ view: "kernels", kernel: step.kernel }) },
        el("td", { class: "n" }, String(i)), el("td", {}, step.name),
        el("td", { class: "code" }, step.reads.join("\n")), el("td", { class: "code" }, step.writes.join("\n")),
        el("td", { class: "n" }, bytes(step.live)),
        el("td", {}, el("span", { class: "bar", style: `width:${(120 * step.live / most).toFixed(1)}px` })),
        line(step.where)))));
}

function memory(report) {
  const width = 1200, height = 560, left = 70, bottom = 30;
  const steps = Math.max(report.steps.length, 1), arena = Math.max(report.arena, 1);
  const x = step => left + (width - left) * step / steps;
  const y = offset => (height - bottom) * (1 - offset / arena) + 6;
  const told = el("p", { class: "code" }, "Point at a block.");
  const parts = [];
  for (let k = 0; k <= 4; k++)
    parts.push(svg("text", { x: left - 6, y: y(arena * k / 4) + 4, "text-anchor": "end" }, bytes(Math.round(arena * k / 4))));
  const every = Math.ceil(steps / 12);
  for (let k = 0; k < steps; k += every)
    parts.push(svg("text", { x: x(k), y: height - 6 }, String(k)));
  for (const [offset, size, first, last, what] of report.blocks) {
    const block = svg("rect", { class: "block", x: x(first), width: Math.max(x(last + 1) - x(first), 1),
      y: y(offset + size), height: Math.max(y(offset) - y(offset + size), .5), fill: colour(what) });
    const says = `${what} · ${bytes(size)} at ${count(offset)} · steps ${first} to ${last}`;
    block.append(svg("title", {}, says));
    block.addEventListener("mouseenter", () => { told.textContent = says; });
    parts.push(block);
    if (block.width.baseVal.value > 9 * what.length && block.height.baseVal.value > 16)
      parts.push(svg("text", { class: "inside", x: x(first) + 6, y: y(offset + size) + 14 }, what));
  }
  return el("div", {},
    facts([["arena", bytes(report.arena)], ["least possible", bytes(report.least)],
      ["arena / least", report.least ? (report.arena / report.least).toFixed(3) : "–"],
      ["values", count(report.blocks.length)], ["results", bytes(report.results)], ["operands", bytes(report.inputs)]]),
    el("p", { class: "dim" }, "Across: the steps of the program. Upwards: places in the arena. Each block is a value, from the step that writes it to the last that reads it."),
    told, el("div", { class: "box" }, svg("svg", { viewBox: `0 0 ${width} ${height}` }, ...parts)));
}

function colour(what) {
  if (what === "scratch") return "#9aa3b2";
  const [name, type] = what.split(": ");
  let sum = 7;
  for (const letter of type || name) sum = (sum * 31 + letter.charCodeAt(0)) % 3600;
  return `hsl(${sum % 360} 45% ${38 + parseInt(name.slice(1), 10) % 7 * 4 || 50}%)`;
}

// --- moving about

function go(change) {
  Object.assign(shown, change);
  show();
}

function show() {
  const report = reports[shown.graph];
  document.getElementById("views").replaceChildren(...Object.keys(VIEWS).map(name =>
    choice(name, "", name === shown.view, () => go({ view: name }))));
  main.replaceChildren(report ? VIEWS[shown.view](report) : el("p", {}, "No graph ran."));
  location.hash = [shown.graph + 1, shown.view, shown.view === "kernels" ? shown.kernel : shown.stage].join("/");
}

const graphs = document.getElementById("graphs");
reports.forEach((report, i) => graphs.append(el("option", { value: i },
  `${i + 1}: ${count(report.nodes)} nodes, run ${report.runs}×`)));
graphs.addEventListener("change", () => go({ graph: +graphs.value, stage: 0, kernel: 0 }));
document.addEventListener("keydown", event => {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  const report = reports[shown.graph];
  if (!step || !report || event.target.tagName === "SELECT") return;
  const name = shown.view === "kernels" ? "kernel" : "stage";
  const end = name === "kernel" ? report.kernels.length : report.stages.length;
  if (name === "kernel" || shown.view === "passes")
    go({ [name]: Math.min(Math.max(shown[name] + step, 0), end - 1) });
});

const [graph, view, at] = location.hash.slice(1).split("/");
if (reports[graph - 1]) {
  shown.graph = graph - 1;
  graphs.value = String(shown.graph);
  if (view in VIEWS) shown.view = view;
  const report = reports[shown.graph];
  if (view === "kernels" && report.kernels[+at]) shown.kernel = +at;
  else if (report.stages[+at]) shown.stage = +at;
}
show();
