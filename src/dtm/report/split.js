
// The map of the data: the row nearest to the pointer is read aloud and shown, portions can be hidden.
(() => {
  const figure = document.querySelector(".map");
  if (!figure) return;
  const REACH = 22;
  const area = figure.querySelector(".area"), svg = figure.querySelector("svg"), tip = figure.querySelector(".tip");
  const groups = new Map([...figure.querySelectorAll("g")].map((group) => [group.dataset.portion, group]));
  const dots = [...svg.querySelectorAll("circle")].map((dot) => {
    const text = dot.querySelector("title").textContent;
    dot.querySelector("title").remove();
    return { dot, text, x: Number(dot.getAttribute("cx")), y: Number(dot.getAttribute("cy")) };
  });
  let shown = null;

  function hide() {
    shown?.dot.classList.remove("near");
    shown = null;
    tip.hidden = true;
  }
  area.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect(), unit = svg.viewBox.baseVal.width / box.width;
    const x = (event.clientX - box.left) * unit, y = (event.clientY - box.top) * unit;
    let best = null, least = (REACH * unit) ** 2;
    for (const one of dots) {
      const distance = (one.x - x) ** 2 + (one.y - y) ** 2;
      if (distance < least && !one.dot.parentNode.classList.contains("off")) [best, least] = [one, distance];
    }
    if (best === shown) return;
    hide();
    if (!best) return;
    shown = best;
    best.dot.classList.add("near");
    tip.textContent = best.text;
    const across = best.x / unit, down = best.y / unit, right = across > box.width / 2;
    tip.style.left = right ? "auto" : `${across + 12}px`;
    tip.style.right = right ? `${box.width - across + 12}px` : "auto";
    tip.style.top = down < box.height / 2 ? `${down + 10}px` : "auto";
    tip.style.bottom = down < box.height / 2 ? "auto" : `${box.height - down + 10}px`;
    tip.hidden = false;
  });
  area.addEventListener("pointerleave", hide);
  for (const button of figure.querySelectorAll("button")) {
    const group = groups.get(button.dataset.portion);
    button.addEventListener("click", () => button.setAttribute("aria-pressed", String(!group.classList.toggle("off"))));
    button.addEventListener("pointerenter", () => groups.forEach((other) => other.classList.toggle("dim", other !== group)));
    button.addEventListener("pointerleave", () => groups.forEach((other) => other.classList.remove("dim")));
  }
})();
