"use strict";
// Sorting, filtering, highlights, read-outs and permalinks. The page is whole without it; text is only ever set as text.
(() => {
  const all = (query, root = document) => [...root.querySelectorAll(query)];
  const make = (tag, text = "", name = "") => Object.assign(document.createElement(tag), { textContent: text, className: name });
  const state = { find: "", method: "", show: "", stage: "" };

  // --- sorting: a click sorts, the next one the other way round, the third restores the study's order ---
  const sortable = (table) => {
    const body = table.tBodies[0], rows = [...body.rows];
    rows.forEach((row, i) => { row.dataset.order = i; });
    all("thead th", table).forEach((head, column) => {
      if (head.matches(".figure, .unsorted") || !head.textContent.trim()) return;
      const button = make("button", "", "sort");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const number = (cell) => cell?.dataset.value ?? cell?.dataset.low; // an interval sorts by its lower end
        const numeric = rows.some((row) => number(row.cells[column]) !== undefined);
        const turns = numeric ? ["descending", "ascending", ""] : ["ascending", "descending", ""];
        const turn = turns[(turns.indexOf(head.getAttribute("aria-sort") ?? "") + 1) % 3];
        all("thead th", table).forEach((other) => other.removeAttribute("aria-sort"));
        if (turn) head.setAttribute("aria-sort", turn);
        const value = (row) => {
          const cell = row.cells[column];
          if (!cell) return null;
          return numeric ? (number(cell) === undefined ? null : Number(number(cell))) : cell.textContent.trim();
        };
        const sign = turn === "descending" ? -1 : 1;
        const compare = (a, b) => {
          const [x, y] = [value(a), value(b)];
          if (!turn || x === y) return a.dataset.order - b.dataset.order;
          if (x === null || y === null) return x === null ? 1 : -1; // what is unknown stays last
          return sign * (numeric ? x - y : x.localeCompare(y, "en", { numeric: true }));
        };
        body.append(...rows.sort(compare));
      });
    });
  };

  // --- filters ---
  const named = (element, text) =>
    [element.dataset.method, element.dataset.other].some((name) => name?.toLowerCase().includes(text));
  const apply = () => {
    const text = state.find.toLowerCase();
    all("main [data-method]").forEach((one) => one.toggleAttribute("hidden", text !== "" && !named(one, text)));
    all("table:has([data-column])").forEach((table) => {
      const rows = all("tbody tr[data-method]", table); // of methods against methods, one left is shown against all
      const narrow = text !== "" && (!rows.length || rows.filter((row) => !row.hidden).length > 1);
      all("[data-column]", table).forEach((head) => {
        const off = narrow && !head.dataset.column.toLowerCase().includes(text);
        [...table.rows].forEach((row) => { row.cells[head.cellIndex].hidden = off; });
      });
    });
    let items = 0, shown = 0;
    all(".item").forEach((item) => {
      const rows = all("tr", item);
      rows.forEach((row) => {
        const hit = (!state.method || row.dataset.method === state.method) && (!state.stage || row.dataset.stage === state.stage);
        if (!hit) row.hidden = true;
      });
      item.hidden = (state.show !== "" && item.dataset.agreement !== state.show) || rows.every((row) => row.hidden);
      items += 1;
      shown += item.hidden ? 0 : 1;
    });
    const count = document.getElementById("count");
    if (count) count.textContent = shown === items ? `${items} items` : `${shown} of ${items} items`;
    filtered.hidden = !text;
    filtered.firstChild.textContent = `Filtered: methods whose name has "${state.find}".`;
  };
  const unfold = () => { if (state.show || state.method || state.stage) all(".browser").forEach((one) => { one.open = true; }); };
  const filtered = make("p", " "); // stands above everything, on paper too, so that a filtered page does not pass for a whole one
  filtered.id = "filtered";
  const clear = Object.assign(make("button", "clear"), { type: "button" });
  clear.addEventListener("click", () => { state.find = document.querySelector("[name=find]").value = ""; apply(); remember(); });
  filtered.append(clear);
  const choose = (name, label, options) => {
    const select = make("select");
    select.name = name;
    select.append(...options.map(([value, told]) => Object.assign(make("option", told), { value })));
    select.addEventListener("change", () => { state[name] = select.value; unfold(); apply(); remember(); });
    const box = make("label", label + " ");
    box.append(select);
    return box;
  };
  const controls = () => {
    const find = make("input");
    Object.assign(find, { type: "search", name: "find", placeholder: "filter methods" });
    find.setAttribute("aria-label", "Filter methods");
    find.addEventListener("input", () => { state.find = find.value; apply(); remember(); });
    const box = make("div", "", "tools");
    box.append(find);
    document.querySelector("nav .links").append(box);
    document.querySelector("nav").after(filtered);
    const browse = document.getElementById("browse");
    if (!browse) return;
    const methods = [...new Set(all(".item tr").map((row) => row.dataset.method))];
    const stages = [...new Set(all(".item tr").map((row) => row.dataset.stage))].filter(Boolean).sort();
    browse.append(choose("show", "items", [["", "all"], ["differ", "methods differ"], ["right", "all right"], ["wrong", "all wrong"]]));
    browse.append(choose("method", "method", [["", "all"], ...methods.map((name) => [name, name])]));
    if (stages.length) browse.append(choose("stage", "decided by", [["", "any"], ...stages.map((name) => [name, name])]));
    browse.append(Object.assign(make("span"), { id: "count" }));
    browse.hidden = false;
  };

  // --- permalinks: #section, and what is filtered: #samples&show=differ&method=lora ---
  const place = () => location.hash.slice(1).split("&")[0];
  const remember = (id) => {
    const set = Object.entries(state).filter(([, value]) => value);
    const told = set.map(([name, value]) => `&${name}=${encodeURIComponent(value)}`).join("");
    history.replaceState(null, "", "#" + (id ?? (told && state.find === "" ? "samples" : place())) + told);
  };
  const recall = (moved) => {
    const [id, ...set] = location.hash.slice(1).split("&");
    if (set.length) {
      const known = new Map(set.map((one) => one.split("=", 2)));
      for (const name of Object.keys(state)) {
        let value = "";
        try { value = decodeURIComponent(known.get(name) ?? ""); } catch { /* a broken link filters nothing */ }
        const field = document.querySelector(`[name=${name}]`);
        if (field) { field.value = value; value = field.value; }
        state[name] = value;
      }
      unfold();
      apply();
    } else if (Object.values(state).some(Boolean)) remember(id); // a link within the page keeps what is filtered
    const target = id && document.getElementById(id);
    if (!target) return;
    for (let one = target; one; one = one.parentElement) if (one.tagName === "DETAILS") one.open = true;
    target.scrollIntoView({ behavior: moved ? "auto" : "instant" }); // a page that is opened at a place is there
  };

  // --- hover: a method stands out in its figure; what a figure tells is shown beside the pointer ---
  const tip = make("div");
  tip.id = "tip";
  tip.hidden = true;
  const told = new WeakMap();
  all("main svg title").forEach((title) => {
    told.set(title.parentElement, title.textContent);
    if (!title.parentElement.hasAttribute("aria-label")) title.parentElement.setAttribute("aria-label", title.textContent);
    title.remove();
  });
  const won = (cell) => {
    if (!cell) return "";
    const [wins, lost] = [cell.firstChild, cell.querySelector("span")].map((one) => one.textContent.trim());
    const column = cell.closest("table").tHead.rows[0].cells[cell.cellIndex];
    return `${cell.parentElement.dataset.method} wins ${wins}, ${column.dataset.column} wins ${lost}`;
  };
  const over = (event) => {
    const figure = event.target.closest("figure");
    all(".dim, .lit").forEach((one) => one.classList.remove("dim", "lit"));
    const one = event.target.closest("[data-method]");
    if (figure && one && figure.contains(one) && !event.target.closest(".heat"))
      all("[data-method]", figure).forEach((other) => other.classList.add(other.dataset.method === one.dataset.method ? "lit" : "dim"));
    let source = event.target;
    while (source && !told.has(source)) source = source.parentElement;
    const text = source ? told.get(source) : won(event.target.closest(".wins td[data-value]"));
    tip.hidden = !text;
    if (text) tip.textContent = text;
  };
  const follow = (event) => {
    if (tip.hidden) return;
    const { width, height } = tip.getBoundingClientRect();
    tip.style.left = `${Math.max(8, Math.min(event.clientX + 14, innerWidth - width - 8))}px`;
    tip.style.top = `${event.clientY + 18 + height > innerHeight ? event.clientY - height - 10 : event.clientY + 18}px`;
  };

  // --- learning curves: the loss at the step under the pointer ---
  const readable = (figure, lines) => {
    const plane = figure.querySelector(".plane"), at = figure.querySelector(".at"), rest = at.textContent;
    const reads = new Map(all(".legend [data-method]", figure).map((one) => [one.dataset.method, one.querySelector(".read")]));
    const ends = new Map([...reads].map(([name, read]) => [name, read.textContent]));
    const last = Math.max(...lines.flatMap((line) => line.step));
    plane.addEventListener("pointermove", (event) => {
      const box = plane.getBoundingClientRect(), step = (last * (event.clientX - box.left)) / box.width;
      at.textContent = `loss at step ${Math.round(step)}`;
      for (const line of lines) {
        const near = line.step.reduce((best, value, i) => (Math.abs(value - step) < Math.abs(line.step[best] - step) ? i : best), 0);
        reads.get(line.method).textContent = line.mean[near].toFixed(3);
      }
    });
    plane.addEventListener("pointerleave", () => {
      at.textContent = rest;
      reads.forEach((read, name) => { read.textContent = ends.get(name); });
    });
  };

  all("table.sortable").forEach(sortable);
  controls();
  apply();
  document.body.append(tip);
  document.addEventListener("pointerover", over);
  document.addEventListener("pointermove", follow);
  const data = JSON.parse(document.getElementById("data").textContent);
  for (const [id, lines] of Object.entries(data)) readable(document.getElementById(id), lines);
  // on paper nothing can be unfolded: all of it is printed, but samples only where they are open
  addEventListener("beforeprint", () => all("main details:not(.browser, [open])").forEach((one) => { one.open = one.dataset.printed = true; }));
  addEventListener("afterprint", () => all("details[data-printed]").forEach((one) => { one.open = false; delete one.dataset.printed; }));
  addEventListener("hashchange", recall);
  recall();
})();
