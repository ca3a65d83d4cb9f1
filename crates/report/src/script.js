(() => {
  "use strict";
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  document.documentElement.classList.add("js");

  // What is clicked can be reached by keyboard too.
  const press = (element, action) => {
    element.tabIndex = 0;
    element.setAttribute("role", "button");
    element.addEventListener("click", action);
    element.addEventListener("keydown", event => {
      if (event.key === "Enter" || event.key === " ") { event.preventDefault(); action(event); }
    });
  };

  const short = value => {
    const size = Math.abs(value);
    if (size === 0) return "0";
    if (size < 1e-4 || size >= 1e6) return value.toExponential(1);
    if (size >= 1000) return Math.round(value).toLocaleString("en");
    return Number.isInteger(value) ? String(value) : value.toPrecision(size < .01 ? 2 : 3);
  };

  // Charts: values under the pointer, series switched by the legend.
  for (const figure of all(".chart")) {
    for (const entry of all(".legend li", figure)) {
      press(entry, () => {
        const off = entry.classList.toggle("off");
        for (const series of all(`.series[data-series="${entry.dataset.series}"]`, figure)) series.classList.toggle("off", off);
      });
    }
    const plot = figure.querySelector(".plot");
    const tip = plot.appendChild(document.createElement("div"));
    tip.className = "tip";
    tip.hidden = true;
    for (const svg of all(".plot > svg", figure)) {
      const numbers = name => svg.dataset[name].split(",").map(Number);
      const [left, , width] = numbers("frame");
      const [low, high] = numbers("x");
      const cross = svg.querySelector(".cross");
      const series = all(".series", svg).map(group => ({
        group, points: group.dataset.points.split(",").map(point => point.split(" ").map(Number)),
      }));
      const nearest = (points, x) => points.reduce((best, point) => Math.abs(point[0] - x) < Math.abs(best[0] - x) ? point : best);
      const hide = () => { tip.hidden = true; cross.style.visibility = "hidden"; };
      svg.addEventListener("pointerleave", hide);
      svg.addEventListener("pointermove", event => {
        const box = svg.getBoundingClientRect();
        const scale = svg.viewBox.baseVal.width / box.width;
        const x = low + ((event.clientX - box.left) * scale - left) / width * (high - low);
        const shown = series.filter(one => !one.group.classList.contains("off"));
        if (x < low - (high - low) * .03 || x > high + (high - low) * .03 || !shown.length) return hide();
        const at = nearest(shown.map(one => nearest(one.points, x)), x)[0];
        const place = left + (at - low) / (high - low) * width;
        cross.setAttribute("x1", place);
        cross.setAttribute("x2", place);
        cross.style.visibility = "visible";
        const rows = shown.map(one => {
          const row = document.createElement("div");
          row.className = one.group.classList[1];
          const [mark, name, value] = ["i", "span", "b"].map(tag => row.appendChild(document.createElement(tag)));
          const point = nearest(one.points, at);
          name.textContent = one.group.dataset.name;
          value.textContent = short(point[1]);
          return [point[1], row];
        });
        const head = document.createElement("div");
        head.textContent = `${svg.dataset.label} ${short(at)}`;
        tip.replaceChildren(head, ...rows.sort((a, b) => b[0] - a[0]).map(row => row[1]));
        tip.hidden = false;
        const where = place / scale;
        const beside = where + tip.offsetWidth + 24 > box.width ? where - tip.offsetWidth - 12 : where + 12;
        tip.style.transform = `translate(${Math.max(0, beside)}px, ${Math.max(0, event.clientY - box.top - tip.offsetHeight - 8)}px)`;
      });
    }
  }

  // Tables: a click on a column's name sorts by it.
  for (const table of all("table")) {
    const body = table.tBodies[0];
    all("th", table).forEach((head, column) => press(head, () => {
      const value = row => {
        const cell = row.cells[column];
        return cell?.dataset.value !== undefined ? Number(cell.dataset.value) : cell?.textContent ?? "";
      };
      const numeric = head.classList.contains("number");
      const down = head.getAttribute("aria-sort") ? head.getAttribute("aria-sort") === "ascending" : numeric;
      const compare = (a, b) => {
        if (typeof a === "number" && typeof b === "number") return a - b;
        if (typeof a === typeof b) return a.localeCompare(b);
        return typeof a === "number" ? 1 : -1;
      };
      const rows = [...body.rows].sort((a, b) => compare(value(a), value(b)) * (down ? -1 : 1));
      all("th", table).forEach(other => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      body.append(...rows);
    }));
  }

  // Walls: show the queries of one outcome.
  for (const chips of all(".chips")) {
    for (const chip of all(".chip", chips)) {
      press(chip, () => {
        for (const other of all(".chip", chips)) other.classList.toggle("on", other === chip);
        for (const card of all(".card", chips.parentElement)) {
          card.hidden = chip.dataset.filter !== "" && !card.classList.contains(chip.dataset.filter);
        }
      });
    }
  }

  // Sounds: play in place, one at a time.
  let playing;
  const stop = () => {
    if (!playing) return;
    playing.sound.pause();
    playing.sound.currentTime = 0;
    playing.button.classList.remove("playing");
    playing = undefined;
  };
  for (const button of all(".play")) {
    press(button, event => {
      event.preventDefault();
      const again = playing?.button === button;
      stop();
      if (again) return;
      const sound = document.querySelector(button.getAttribute("href"));
      playing = { sound, button };
      button.classList.add("playing");
      sound.onended = stop;
      sound.play().catch(stop);
    });
  }
})();
