"use strict";
// The page is whole without this script; it adds axes to choose, a cursor to read points by, and copy buttons.
(() => {
  for (const button of document.querySelectorAll(".copy")) {
    if (!navigator.clipboard) continue;
    button.hidden = false;
    button.addEventListener("click", () =>
      navigator.clipboard.writeText(button.parentElement.querySelector("code").textContent).then(() => {
        button.textContent = "copied";
        setTimeout(() => (button.textContent = "copy"), 1500);
      }, () => (button.textContent = "not allowed")));
  }

  const source = document.getElementById("curve-data");
  if (!source) return;
  const series = JSON.parse(source.textContent);
  const chart = document.getElementById("loss");
  const area = chart.querySelector(".area"), cursor = chart.querySelector(".cursor"), tip = chart.querySelector(".tip");
  const groups = [...chart.querySelectorAll("g")], section = document.getElementById("curves");
  const NAMES = ["step", "epoch", "tokens", "loss", "learning rate", "gradient norm"], WINDOW = 9, SHOWN = 12;
  const pressed = (side) => Number(section.querySelector(`[data-axis="${side}"] [aria-pressed="true"]`).dataset.field);
  let x = pressed("x"), y = pressed("y"), across, up, position = null;

  const known = (value) => value !== null && Number.isFinite(value);
  const visible = (index) => !groups[index].classList.contains("off");
  const values = (field) => series.flatMap((one, i) => visible(i) ? one.rows.map((row) => row[field]).filter(known) : []);

  function axis(numbers, fromZero, wanted) {
    let low = fromZero ? 0 : Infinity, high = fromZero ? 0 : -Infinity;
    for (const number of numbers) { low = Math.min(low, number); high = Math.max(high, number); }
    if (!(low <= high)) [low, high] = [0, 1];
    if (high - low <= 1e-9 * Math.max(Math.abs(low), Math.abs(high), 1e-9)) { const pad = Math.abs(low) * 0.1 || 1; low -= pad; high += pad; }
    const raw = (high - low) / wanted, power = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((size) => size >= raw * (1 - 1e-9));
    if (!fromZero) { const spare = 0.04 * (high - low); low -= spare; high += spare; }
    const ticks = [];
    for (let n = Math.ceil(low / step - 1e-9); n <= Math.floor(high / step + 1e-9); n++) ticks.push(Number((n * step).toPrecision(10)));
    return { low, high, ticks };
  }
  const place = (range, value) => Math.min(Math.max((value - range.low) / (range.high - range.low), 0), 1);
  const label = (value) => {
    for (const [size, letter] of [[1e9, "B"], [1e6, "M"], [1e3, "k"]])
      if (Math.abs(value) >= size) return Number((value / size).toPrecision(4)) + letter;
    return value !== 0 && Math.abs(value) < 1e-3 ? value.toExponential(1).replace(".0", "") : String(Number(value.toPrecision(4)));
  };

  function path(points) {
    let text = "", pen = "M";
    for (const [a, b] of points) {
      if (!known(a) || !known(b)) { pen = "M"; continue; }
      const spot = `${Math.round(1000 * place(across, a))} ${Math.round(1000 - 1000 * place(up, b))}`;
      text += pen + spot + (pen === "M" ? "L" + spot : "");
      pen = "L";
    }
    return text;
  }
  const smooth = (numbers) => numbers.map((value, i) => {
    if (!known(value)) return null;
    const half = Math.min(WINDOW >> 1, i, numbers.length - 1 - i);
    const part = numbers.slice(i - half, i + half + 1).filter(known);
    return part.reduce((sum, one) => sum + one, 0) / part.length;
  });

  function ticks(element, range, side) {
    element.replaceChildren(...range.ticks.map((tick) => {
      const mark = document.createElement("span");
      mark.style[side] = 100 * place(range, tick) + "%";
      mark.textContent = label(tick);
      return mark;
    }));
  }

  function draw() {
    across = axis(values(x), true, 5);
    up = axis(values(y), false, 7);
    const noisy = y !== 4 && Math.max(...series.map((one) => one.rows.length)) >= 4 * WINDOW;
    series.forEach((one, i) => {
      const raw = one.rows.map((row) => [row[x], row[y]]);
      const calm = noisy ? smooth(one.rows.map((row) => row[y])) : one.rows.map((row) => row[y]);
      groups[i].querySelector(".faint").setAttribute("d", noisy ? path(raw) : "");
      groups[i].querySelector(".bold").setAttribute("d", path(raw.map(([a], n) => [a, calm[n]])));
    });
    ticks(chart.querySelector(".x-axis .ticks"), across, "left");
    chart.querySelector(".x-axis em").textContent = NAMES[x];
    ticks(chart.querySelector(".y-axis"), up, "bottom");
    chart.querySelector(".lines").replaceChildren(...up.ticks.map((tick) => {
      const line = document.createElement("i");
      line.style.bottom = 100 * place(up, tick) + "%";
      return line;
    }));
    hide();
  }

  function nearest(rows, value) {
    let best = null;
    for (const row of rows)
      if (known(row[x]) && known(row[y]) && (!best || Math.abs(row[x] - value) < Math.abs(best[x] - value))) best = row;
    return best;
  }

  function read(share, height) {
    const value = across.low + share * (across.high - across.low);
    const target = height === null ? null : up.high - height * (up.high - up.low);
    let found = series.map((one, i) => ({ one, i, row: visible(i) ? nearest(one.rows, value) : null })).filter((entry) => entry.row);
    if (!found.length) return hide();
    const width = (across.high - across.low) / 40;
    found = found.filter((entry) => Math.abs(entry.row[x] - value) <= width + 1e-12).length
      ? found.filter((entry) => Math.abs(entry.row[x] - value) <= width + 1e-12) : found;
    const close = target === null ? null : found.reduce((a, b) => Math.abs(a.row[y] - target) <= Math.abs(b.row[y] - target) ? a : b);
    const total = found.length;
    if (target !== null) found.sort((a, b) => Math.abs(a.row[y] - target) - Math.abs(b.row[y] - target));
    found = found.slice(0, SHOWN).sort((a, b) => b.row[y] - a.row[y]);
    tip.replaceChildren(line("title", `${NAMES[x]} ${label(value)}`, NAMES[y]), ...found.map((entry) => {
      const row = line(entry === close ? "near" : "", entry.one.name, Number(entry.row[y].toPrecision(4)));
      const key = document.createElement("span");
      key.className = "line";
      key.style.setProperty("--c", entry.one.colour);
      row.firstChild.prepend(key);
      return row;
    }), ...(total > found.length ? [line("title", `${total - found.length} more`, "")] : []));
    groups.forEach((group, i) => { group.classList.toggle("near", i === close?.i); group.classList.toggle("dim", !!close && series.length > 8 && i !== close.i); });
    position = share;
    cursor.style.left = 100 * share + "%";
    cursor.hidden = tip.hidden = false;
    const right = share > 0.55;
    tip.style.left = right ? "auto" : `calc(${100 * share}% + 12px)`;
    tip.style.right = right ? `calc(${100 - 100 * share}% + 12px)` : "auto";
  }
  function line(kind, left, right) {
    const row = document.createElement("div");
    row.className = kind;
    for (const text of [left, right]) { const part = document.createElement("span"); part.textContent = text; row.append(part); }
    return row;
  }
  function hide() {
    cursor.hidden = tip.hidden = true;
    groups.forEach((group) => group.classList.remove("near", "dim"));
  }

  area.addEventListener("pointermove", (event) => {
    const box = area.getBoundingClientRect();
    read(Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1), (event.clientY - box.top) / box.height);
  });
  area.addEventListener("pointerleave", hide);
  chart.addEventListener("blur", hide);
  chart.addEventListener("keydown", (event) => {
    const move = { ArrowLeft: -0.02, ArrowRight: 0.02 }[event.key];
    if (move) { event.preventDefault(); read(Math.min(Math.max((position ?? 0) + move, 0), 1), null); }
    if (event.key === "Escape") hide();
  });

  for (const button of section.querySelectorAll(".controls button")) {
    const field = Number(button.dataset.field), vertical = button.parentElement.dataset.axis === "y";
    if (!series.some((one) => one.rows.some((row) => known(row[field])))) { button.remove(); continue; }
    button.addEventListener("click", () => {
      if (vertical) y = field; else x = field;
      for (const other of button.parentElement.children) other.setAttribute("aria-pressed", String(other === button));
      draw();
    });
  }
  for (const button of section.querySelectorAll(".toggles button")) {
    const group = groups[Number(button.dataset.series)];
    button.addEventListener("click", () => {
      const off = group.classList.toggle("off");
      button.setAttribute("aria-pressed", String(!off));
      draw();
    });
    button.addEventListener("pointerenter", () => groups.forEach((other) => other.classList.toggle("dim", other !== group)));
    button.addEventListener("pointerleave", () => groups.forEach((other) => other.classList.remove("dim")));
  }
  draw();
  section.querySelector(".controls").hidden = false;
})();
