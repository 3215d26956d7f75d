"use strict";
(() => {
  const island = document.getElementById("data");
  if (!island) return;
  const data = JSON.parse(island.textContent);
  const known = ["before", "after", "retrained"];
  const byId = (id) => document.getElementById(id);
  const body = byId("table").tBodies[0];
  const tone = (tag) => "is-" + (known.includes(tag) ? tag : "other");
  const state = { query: "", split: "", metric: 0, sort: "row", down: false, page: 0, per: 25 };

  // Model text enters the page here and nowhere else, always as text.
  function make(name, className, text) {
    const element = document.createElement(name);
    if (className) element.className = className;
    if (text !== undefined) element.textContent = text;
    return element;
  }

  const words = (text) => text.toLowerCase().match(/[\p{L}\p{N}]+/gu) || [];
  const telling = (word) => word.length > 3 || /\p{N}/u.test(word);

  function textOf(text, kept) {
    const box = make("div", "text");
    if (!text) {
      box.className = "text empty";
      box.textContent = "(empty)";
      return box;
    }
    if (!kept || !kept.size) {
      box.textContent = text;
      return box;
    }
    for (const part of text.split(/([\p{L}\p{N}]+)/u)) {
      if (!part) continue;
      box.append(kept.has(part.toLowerCase()) ? make("mark", "", part) : document.createTextNode(part));
    }
    return box;
  }

  function show(value) {
    if (value === null || value === undefined) return "–";
    if (typeof value === "string") return value;
    const size = Math.abs(value);
    if (size !== 0 && size < 0.0005) return value.toExponential(1);
    return size >= 1000 ? value.toFixed(0) : size >= 10 ? value.toFixed(1) : value.toFixed(3);
  }

  const scoreOf = (row, metric, tag) => (row.v[metric] ? row.v[metric][tag] : null);

  function valueOf(row, tag) {
    const value = scoreOf(row, state.metric, tag);
    const line = make("div", "value");
    line.append(make("span", "", show(value)));
    if (typeof value === "number" && value >= 0 && value <= 1) {
      const bar = make("i");
      bar.style.setProperty("--share", value * 100 + "%");
      line.append(bar);
    }
    return line;
  }

  function allScores(row) {
    const line = make("tr", "all");
    const cell = line.insertCell();
    cell.colSpan = 2 + data.tags.length;
    const inner = make("table");
    const head = inner.createTHead().insertRow();
    for (const name of ["score", ...data.tags]) {
      const th = make("th", "", name);
      th.scope = "col";
      head.append(th);
    }
    const rows = inner.createTBody();
    data.metrics.forEach((name, metric) => {
      if (!row.v[metric]) return;
      const tr = rows.insertRow();
      tr.append(make("td", "", name));
      data.tags.forEach((_, tag) => tr.append(make("td", "num", show(scoreOf(row, metric, tag)))));
    });
    cell.append(rows.rows.length ? inner : make("span", "empty", "no score was given to this row alone"));
    return line;
  }

  function lineOf(row) {
    const line = make("tr");
    const first = line.insertCell();
    first.className = "first";
    first.append(textOf(row.p));
    const meta = make("div", "meta");
    meta.append(make("span", "chip", row.s), make("code", "", row.i));
    if (row.e) meta.append(make("span", "chip", row.e));
    const more = make("button", "more", "more");
    more.type = "button";
    more.setAttribute("aria-expanded", "false");
    more.addEventListener("click", () => {
      const open = line.classList.toggle("open");
      more.setAttribute("aria-expanded", String(open));
      more.textContent = open ? "less" : "more";
      if (open) line.after(allScores(row));
      else line.nextElementSibling.remove();
    });
    meta.append(more);
    first.append(meta);
    const target = line.insertCell();
    target.className = "texts target";
    target.dataset.label = "Target";
    target.append(textOf(row.t));
    const control = data.tags.indexOf("retrained");
    const given = new Set([...words(row.p), ...words((control >= 0 && row.a[control]) || "")]);
    const kept = new Set(words(row.t).filter((word) => telling(word) && !given.has(word)));
    data.tags.forEach((tag, at) => {
      const cell = line.insertCell();
      cell.className = "texts " + tone(tag);
      cell.dataset.label = tag;
      if (row.a[at] === null) cell.append(make("div", "text empty", "(no answer was generated)"));
      else cell.append(textOf(row.a[at], kept));
      cell.append(valueOf(row, at));
    });
    return line;
  }

  function keyOf(row) {
    if (state.sort === "question") return row.p;
    if (state.sort === "target") return row.t;
    return scoreOf(row, state.metric, Number(state.sort));
  }

  const order = new Intl.Collator(undefined, { numeric: true });
  function compare(a, b) {
    if (typeof a.key === "string") return order.compare(a.key, b.key);
    return a.key - b.key;
  }

  const haystacks = new Map();
  function matches(row, needles) {
    if (!needles.length) return true;
    let text = haystacks.get(row);
    if (text === undefined) {
      text = [row.i, row.s, row.e, row.p, row.t, ...row.a].join("\n").toLowerCase();
      haystacks.set(row, text);
    }
    return needles.every((needle) => text.includes(needle));
  }

  let found = [];
  function select() {
    const needles = state.query.toLowerCase().split(/\s+/).filter(Boolean);
    found = data.rows.filter((row) => (!state.split || row.s === state.split) && matches(row, needles));
    if (state.sort !== "row") {
      const keyed = found.map((row) => ({ row, key: keyOf(row) }));
      const none = keyed.filter((k) => k.key === null || k.key === undefined);
      const some = keyed.filter((k) => k.key !== null && k.key !== undefined);
      some.sort((a, b) => (state.down ? compare(b, a) : compare(a, b)));
      found = [...some, ...none].map((k) => k.row);
    }
    state.page = 0;
    render();
  }

  function render() {
    const start = state.page * state.per;
    const shown = found.slice(start, start + state.per);
    body.replaceChildren(...shown.map(lineOf));
    const total = found.length.toLocaleString("en");
    byId("count").textContent = found.length
      ? `${(start + 1).toLocaleString("en")}–${(start + shown.length).toLocaleString("en")} of ${total}`
      : "Nothing fits this search.";
    byId("previous").disabled = state.page === 0;
    byId("next").disabled = start + state.per >= found.length;
    for (const th of byId("table").tHead.rows[0].cells) {
      const sorted = th.dataset.sort === state.sort;
      th.setAttribute("aria-sort", sorted ? (state.down ? "descending" : "ascending") : "none");
    }
  }

  function header() {
    const head = byId("table").tHead.rows[0];
    const columns = [["question", "Question", ""], ["target", "Target", ""]];
    data.tags.forEach((tag, at) => columns.push([String(at), tag, tone(tag)]));
    for (const [sort, text, className] of columns) {
      const th = make("th", className);
      th.scope = "col";
      th.dataset.sort = sort;
      const button = make("button", "", text);
      button.type = "button";
      button.addEventListener("click", () => {
        // Scores start with the largest, texts with the first; a second click turns the order round.
        state.down = state.sort === sort ? !state.down : !["question", "target"].includes(sort);
        state.sort = sort;
        select();
      });
      th.append(button);
      head.append(th);
    }
  }

  function options(id, values) {
    for (const [value, text] of values) {
      const option = make("option", "", text);
      option.value = value;
      byId(id).append(option);
    }
  }

  header();
  const counts = new Map();
  for (const row of data.rows) counts.set(row.s, (counts.get(row.s) || 0) + 1);
  options("split", [["", `all (${data.rows.length})`], ...[...counts].map(([name, n]) => [name, `${name} (${n})`])]);
  options("metric", data.metrics.map((name, at) => [String(at), name]));
  if (!data.metrics.length) byId("metric").parentElement.hidden = true;
  if (counts.has("forget")) state.split = byId("split").value = "forget";
  if (data.metrics.length && data.tags.includes("after")) {
    state.sort = String(data.tags.indexOf("after"));
    state.down = true;
  }
  let timer = 0;
  byId("search").addEventListener("input", (event) => {
    clearTimeout(timer);
    timer = setTimeout(() => { state.query = event.target.value; select(); }, 80);
  });
  byId("split").addEventListener("change", (event) => { state.split = event.target.value; select(); });
  byId("metric").addEventListener("change", (event) => { state.metric = Number(event.target.value); select(); });
  byId("per").addEventListener("change", (event) => { state.per = Number(event.target.value); state.page = 0; render(); });
  byId("previous").addEventListener("click", () => { state.page -= 1; render(); });
  byId("next").addEventListener("click", () => { state.page += 1; render(); });
  byId("controls").hidden = byId("pager").hidden = false;
  select();
})();
