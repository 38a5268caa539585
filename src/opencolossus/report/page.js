"use strict";
(function () {
  const root = document.documentElement;
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const timelines = figures.filter((figure) => figure.timeline);
  let marked = null;

  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const asked = new URLSearchParams(location.search).get("theme");
  let chosen = asked;
  function theme() {
    root.dataset.theme = chosen || (dark.matches ? "dark" : "light");
  }
  theme();

  const css = (name) => getComputedStyle(root).getPropertyValue(name).trim();

  // Colours are written "--c1" or "--c1/0.3" in the figures and looked up when they are drawn.
  function coloured(value) {
    if (typeof value === "string" && value.startsWith("--")) {
      const [name, alpha] = value.split("/");
      const colour = css(name);
      if (!alpha) return colour;
      const part = (at) => parseInt(colour.slice(at, at + 2), 16);
      return `rgba(${part(1)},${part(3)},${part(5)},${alpha})`;
    }
    if (Array.isArray(value)) return value.length && typeof value[0] === "number" ? value : value.map(coloured);
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, coloured(v)]));
    }
    return value;
  }

  function mark() {
    return marked === null ? [] : [{
      type: "line", x0: marked, x1: marked, y0: 0, y1: 1, yref: "paper",
      line: { color: css("--accent"), width: 1.5, dash: "dot" },
    }];
  }

  function layout(figure) {
    const axis = { gridcolor: css("--line"), zerolinecolor: css("--line"), linecolor: css("--line"),
      tickfont: { color: css("--soft"), size: 11 }, automargin: true };
    const wide = window.innerWidth > 720;
    const base = {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: getComputedStyle(document.body).fontFamily, color: css("--ink"), size: 12 },
      margin: { l: wide ? 62 : 46, r: wide ? 18 : 8, t: 8, b: 34 }, height: figure.height,
      hovermode: figure.timeline ? "x unified" : "closest",
      hoverlabel: { bgcolor: css("--card"), bordercolor: css("--line"), font: { color: css("--ink") } },
      legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0, font: { size: 11, color: css("--soft") } },
      dragmode: wide ? "zoom" : false,
    };
    const own = coloured(figure.layout || {});
    const merged = Object.assign(base, own);
    for (const name of ["xaxis", "yaxis", "yaxis2"]) {
      if (name !== "yaxis2" || own[name]) {
        merged[name] = Object.assign({}, axis, own[name] || {});
        if (name !== "xaxis" && !wide) merged[name].title = undefined; // the caption says it
      }
    }
    merged.shapes = (own.shapes || []).concat(figure.timeline ? mark() : []);
    return merged;
  }

  function draw(figure) {
    const place = document.getElementById(figure.key);
    if (place) {
      const kept = figure.timeline && range ? { range: range.slice() } : {};
      const drawn = layout(figure);
      Object.assign(drawn.xaxis, kept);
      Plotly.react(place, coloured(figure.data), drawn, { displayModeBar: false, responsive: true });
    }
  }

  // All time lines show the same stretch of time.
  let range = null;
  let busy = false;
  function follow(place) {
    place.on("plotly_relayout", (change) => {
      if (busy) return;
      let next;
      if (change["xaxis.autorange"]) next = null;
      else if (change["xaxis.range[0]"]) next = [change["xaxis.range[0]"], change["xaxis.range[1]"]];
      else return;
      range = next;
      busy = true;
      const update = range ? { "xaxis.range": range } : { "xaxis.autorange": true };
      Promise.all(timelines.map((f) => document.getElementById(f.key))
        .filter((other) => other && other !== place)
        .map((other) => Plotly.relayout(other, update))).finally(() => { busy = false; });
    });
  }

  figures.forEach(draw);
  timelines.forEach((figure) => {
    const place = document.getElementById(figure.key);
    if (place) follow(place);
  });

  document.querySelectorAll("[data-time]").forEach((button) => {
    button.addEventListener("click", () => {
      const off = button.getAttribute("aria-pressed") === "true";
      document.querySelectorAll("[data-time]").forEach((b) => b.setAttribute("aria-pressed", "false"));
      button.setAttribute("aria-pressed", String(!off));
      marked = off ? null : button.dataset.time;
      busy = true;
      timelines.forEach(draw);
      busy = false;
    });
  });

  const trips = document.getElementById("trips");
  if (trips) trips.addEventListener("click", () => {
    const shown = document.querySelector(".events").classList.toggle("all");
    trips.setAttribute("aria-pressed", String(shown));
  });

  const toggle = document.getElementById("theme");
  function redraw() { busy = true; figures.forEach(draw); halls(); busy = false; }
  if (toggle) toggle.addEventListener("click", () => {
    chosen = root.dataset.theme === "dark" ? "light" : "dark";
    theme();
    redraw();
  });
  dark.addEventListener("change", () => { theme(); redraw(); });

  // The plan of the halls: one small square per rack, coloured by power or by temperature.
  const plan = document.getElementById("hall-data");
  const slider = document.getElementById("hall-day");
  const colourings = {
    kw: { from: "--cold", to: "--hot", say: (v) => `${v.toFixed(0)} kW` },
    celsius: { from: "--c1", to: "--bad", say: (v) => `${v.toFixed(1)} °C` },
  };
  let colouring = "kw";
  function mix(a, b, t) {
    const part = (c, at) => parseInt(c.slice(at, at + 2), 16);
    return `rgb(${[1, 3, 5].map((at) => Math.round(part(a, at) + (part(b, at) - part(a, at)) * t)).join(",")})`;
  }
  // Columns near 1.6 times the rows that leave the fewest places of the last row empty.
  function widthOf(racks) {
    const ideal = Math.sqrt(racks * 1.6);
    let best = Math.ceil(ideal);
    for (let c = Math.ceil(ideal * 0.85); c <= ideal * 1.2; c++) {
      if ((c - racks % c) % c < (best - racks % best) % best) best = c;
    }
    return best;
  }
  function halls() {
    if (!plan || !slider) return;
    const data = JSON.parse(plan.textContent);
    const day = Number(slider.value);
    const { from, to, say } = colourings[colouring];
    const [low, high] = data[colouring];
    const value = (kind) => kind[colouring][day];
    const colour = (kind) => mix(css(from), css(to), (value(kind) - low) / (high - low || 1));
    document.getElementById("hall-date").value = data.days[day];
    document.getElementById("hall-low").textContent = say(low);
    document.getElementById("hall-high").textContent = say(high);
    document.querySelector(".scale").style.background =
      `linear-gradient(90deg, var(${from}), var(${to}))`;
    document.querySelectorAll(".hall canvas").forEach((canvas, index) => {
      const parts = data.halls[index];
      const racks = parts.reduce((sum, part) => sum + part[2], 0);
      const columns = widthOf(racks);
      canvas.width = columns * 7;
      canvas.height = Math.ceil(racks / columns) * 7;
      canvas.style.maxWidth = `${columns * 40}px`;
      const pen = canvas.getContext("2d");
      let place = 0, on = 0, held = 0;
      const said = [];
      for (const [which, first, count] of parts) {
        const kind = data.kinds[which];
        const lit = kind ? Math.max(0, Math.min(count, kind.powered[day] - first)) : 0;
        const there = kind ? kind.delivered[day] - first : 0;
        const shade = lit ? colour(kind) : "";
        for (let rack = 0; rack < count; rack++, place++) {
          pen.fillStyle = rack < lit ? shade : rack < there ? css("--c6") : css("--empty");
          pen.fillRect((place % columns) * 7, Math.floor(place / columns) * 7, 6, 6);
        }
        on += lit;
        if (kind) held += count;
        if (lit) said.push(say(value(kind)));
      }
      canvas.parentElement.querySelector("span").textContent = !held ? `Hall ${index + 1}: empty` :
        `Hall ${index + 1}: ${on.toLocaleString("en")} of ${held.toLocaleString("en")} ${data.unit}s on` +
        (on ? `, ${[...new Set(said)].join(" and ")}` : "");
    });
  }
  document.querySelectorAll("[data-colour]").forEach((button) => {
    button.addEventListener("click", () => {
      colouring = button.dataset.colour;
      document.querySelectorAll("[data-colour]").forEach((b) =>
        b.setAttribute("aria-pressed", String(b === button)));
      halls();
    });
  });
  if (slider) slider.addEventListener("input", halls);
  halls();
  root.dataset.drawn = "yes";
})();
