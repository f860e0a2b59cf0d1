"use strict";
(() => {
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const live = document.getElementById("live");

  const root = document.documentElement;
  const theme = document.getElementById("theme");
  const system = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
  const showTheme = () => { theme.textContent = isDark() ? "Light" : "Dark"; };
  theme.hidden = false;
  theme.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    showTheme();
  });
  system.addEventListener("change", showTheme);
  showTheme();

  const value = (row, column) => {
    const text = row.cells[column].textContent;
    const number = parseFloat(text.replace(/,/g, "").replace("−", "-"));
    return { text, number, absent: text === "–" };
  };
  const compare = (a, b, numeric) => (numeric ? a.number - b.number : a.text.localeCompare(b.text));
  const sort = (table, column, descending, numeric) => {
    const body = table.tBodies[0];
    const rows = [...body.rows].map((row) => ({ row, value: value(row, column) }));
    rows.sort((a, b) =>
      a.value.absent - b.value.absent || (descending ? -1 : 1) * compare(a.value, b.value, numeric));
    body.append(...rows.map((each) => each.row));
  };
  for (const table of all("table:not(.plain)")) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const numeric = head.classList.contains("number");
        const before = head.getAttribute("aria-sort");
        const descending = before ? before === "ascending" : numeric && button.textContent !== "#";
        heads.forEach((each) => each.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", descending ? "descending" : "ascending");
        sort(table, column, descending, numeric);
        live.textContent = `Sorted by ${button.textContent}, ${descending ? "descending" : "ascending"}.`;
      });
    });
  }

  for (const label of all(".filter")) {
    const rows = [...label.nextElementSibling.querySelector("tbody").rows];
    label.hidden = false;
    label.querySelector("input").addEventListener("input", (event) => {
      const wanted = event.target.value.toLowerCase();
      rows.forEach((row) => { row.hidden = !row.textContent.toLowerCase().includes(wanted); });
      live.textContent = `${rows.filter((row) => !row.hidden).length} of ${rows.length} rows.`;
    });
  }

  const reach = new ResizeObserver((entries) => {
    for (const { target } of entries) {
      const wide = target.scrollWidth > target.clientWidth;
      const given = { tabindex: "0", role: "group", "aria-label": target.dataset.name };
      for (const [name, is] of Object.entries(given)) {
        if (wide) target.setAttribute(name, is);
        else target.removeAttribute(name);
      }
    }
  });
  all(".scroll[data-name]").forEach((each) => reach.observe(each));

  const heat = document.getElementById("heat");
  if (!heat) return;
  const { names, thousandths } = JSON.parse(document.getElementById("kappa-data").textContent);
  const svg = heat.querySelector("svg");
  const cursor = document.getElementById("cursor");
  const readout = document.getElementById("readout");
  const tip = document.createElement("div");
  const [left, top, side] = ["left", "top", "side"].map((name) => Number(svg.dataset[name]));
  const m = names.length;
  const cell = side / m;
  const at = { row: 0, column: 0 };
  tip.className = "tip";
  tip.hidden = true;
  document.body.append(tip);
  readout.hidden = false;
  heat.tabIndex = 0;
  heat.setAttribute("role", "application");
  heat.setAttribute("aria-label", "Heat map of alignments: move with the arrow keys");
  heat.setAttribute("aria-describedby", "readout");

  const kappa = (i, j) => (i === j ? 1 : thousandths[Math.max(i, j)][Math.min(i, j)] / 1000);
  const said = () => {
    const { row, column } = at;
    if (row === column) return `${row + 1} ${names[row]} with itself: κ 1`;
    return `${row + 1} ${names[row]} × ${column + 1} ${names[column]}: κ ${kappa(row, column).toFixed(3)}`;
  };
  const go = (row, column) => {
    const inside = (i) => Math.min(Math.max(i, 0), m - 1);
    Object.assign(at, { row: inside(row), column: inside(column) });
    cursor.setAttribute("x", left + at.column * cell);
    cursor.setAttribute("y", top + at.row * cell);
    cursor.classList.add("on");
    readout.textContent = said();
  };
  const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1], Home: [0, -m], End: [0, m] };
  heat.addEventListener("focus", () => go(at.row, at.column));
  heat.addEventListener("keydown", (event) => {
    const step = steps[event.key];
    if (!step || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    go(at.row + step[0], at.column + step[1]);
  });
  svg.addEventListener("pointermove", (event) => {
    const place = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
    const [row, column] = [Math.floor((place.y - top) / cell), Math.floor((place.x - left) / cell)];
    tip.hidden = row < 0 || column < 0 || row >= m || column >= m;
    if (tip.hidden) return;
    go(row, column);
    tip.textContent = said();
    tip.style.left = `${Math.max(8, Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8))}px`;
    tip.style.top = `${Math.min(event.clientY + 18, innerHeight - tip.offsetHeight - 8)}px`;
  });
  svg.addEventListener("pointerleave", () => { tip.hidden = true; });
})();
