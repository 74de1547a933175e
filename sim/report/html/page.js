"use strict";
addEventListener("error", (e) => { document.documentElement.dataset.error = e.message; });
// Hover shows the values at the pointer, dragging zooms the x axis, a double click
// shows all of it again. The pictures say everything without this script.
const svgNS = "http://www.w3.org/2000/svg";

function clock(s) {
  const n = Math.round(s), two = (v) => String(v).padStart(2, "0");
  const h = Math.floor(n / 3600), m = Math.floor(n / 60) % 60;
  return n >= 86400 ? `${Math.floor(n / 86400)}d ${h % 24}:${two(m)}` : `${h}:${two(m)}:${two(n % 60)}`;
}

function number(v) {
  return Math.abs(v) >= 1000 || Number.isInteger(v) ? Math.round(v).toLocaleString("en") : String(Number(v.toPrecision(4)));
}

function element(name, attributes, parent) {
  const e = document.createElementNS(svgNS, name);
  for (const [k, v] of Object.entries(attributes)) e.setAttribute(k, v);
  parent.append(e);
  return e;
}

class Chart {
  constructor(figure) {
    this.figure = figure;
    this.svg = figure.querySelector("svg");
    Object.assign(this, JSON.parse((figure.dataset.chart ? figure : figure.previousElementSibling).dataset.chart));
    if (figure.dataset.box) this.box = JSON.parse(figure.dataset.box);
    [this.left, this.right, this.top, this.bottom] = this.box;
    [this.x0, this.x1] = this.domain;
    [this.from, this.to] = [this.x0, this.x1];
    this.cross = element("line", { class: "cross", y1: this.top, y2: this.bottom, visibility: "hidden" }, this.svg);
    this.pick = element("rect", { class: "pick", y: this.top, height: this.bottom - this.top, visibility: "hidden" }, this.svg);
    this.tip = document.createElement("div");
    this.tip.className = "tip";
    this.tip.hidden = true;
    figure.append(this.tip);
    this.svg.addEventListener("pointermove", (e) => this.move(e));
    this.svg.addEventListener("pointerleave", () => this.hide());
    if (this.names || this.log) return;
    this.svg.addEventListener("pointerdown", (e) => { if (e.pointerType === "mouse") this.start = this.at(e); });
    this.svg.addEventListener("pointerup", (e) => this.drop(e));
    this.svg.addEventListener("dblclick", () => this.zoom(this.x0, this.x1));
  }

  // at is the place of an event in the picture's units, within the data.
  at(e) {
    const r = this.svg.getBoundingClientRect();
    const x = (e.clientX - r.left) * this.svg.viewBox.baseVal.width / r.width;
    return Math.min(Math.max(x, this.left), this.right);
  }

  value(px) {
    const f = (px - this.left) / (this.right - this.left);
    return this.log ? this.from * (this.to / this.from) ** f : this.from + f * (this.to - this.from);
  }

  place(x) {
    const f = this.log ? Math.log(x / this.from) / Math.log(this.to / this.from) : (x - this.from) / (this.to - this.from);
    return this.left + f * (this.right - this.left);
  }

  nearest(list, x) {
    let best = 0;
    for (let i = 1; i < list.length; i++) if (Math.abs(list[i] - x) < Math.abs(list[best] - x)) best = i;
    return best;
  }

  move(e) {
    const px = this.at(e), x = this.value(px);
    if (this.start !== undefined && e.buttons) {
      this.pick.setAttribute("x", Math.min(px, this.start));
      this.pick.setAttribute("width", Math.abs(px - this.start));
      this.pick.setAttribute("visibility", "visible");
    }
    let head, rows = [], where = px;
    if (this.kind === 4) {
      const r = this.svg.getBoundingClientRect(), y = (e.clientY - r.top) * this.svg.viewBox.baseVal.height / r.height;
      const i = Math.min(Math.max(Math.floor((y - this.top) / (this.bottom - this.top) * this.names.length), 0), this.names.length - 1);
      head = this.names[i];
      rows = this.series.map((s) => [s, number(s.y[i])]);
    } else if (this.names) {
      const i = Math.min(Math.max(Math.round(x), 0), this.names.length - 1);
      head = this.names[i];
      rows = this.series.map((s) => [s, number(s.y[i])]);
    } else if (this.kind === 3) {
      for (const s of this.series) {
        if (!s.x.length) continue;
        const i = this.nearest(s.x, x);
        rows.push([s, `${s.labels ? s.labels[i] + ": " : ""}${number(s.y[i])}`]);
        head = `${number(s.x[i])} ${this.xunit}`;
        where = this.place(s.x[i]);
      }
    } else {
      if (!this.x.length) return;
      const i = this.kind === 2 ? Math.max(0, this.x.findLastIndex((v) => v <= x)) : this.nearest(this.x, x);
      head = this.xunit ? `${number(this.x[i])} ${this.xunit}` : clock(this.x[i]);
      rows = this.series.map((s) => [s, number(s.y[i]) + (s.hi && s.hi.length ? ` (${number(s.lo[i])} to ${number(s.hi[i])})` : "")]);
      if (this.kind === 1) rows.reverse();
      const span = (this.to - this.from) / 60;
      for (const m of this.marks || []) if (Math.abs(m.x - x) < span) rows.push([null, m.text]);
      where = this.kind === 2 ? px : this.place(this.x[i]);
    }
    this.cross.setAttribute("x1", where);
    this.cross.setAttribute("x2", where);
    this.cross.setAttribute("visibility", "visible");
    this.tip.replaceChildren();
    const title = document.createElement("b");
    title.textContent = head;
    this.tip.append(title);
    for (const [s, text] of rows) {
      const row = document.createElement("div");
      if (s) {
        const dot = document.createElement("i");
        dot.style.background = `var(--c${s.color})`;
        row.append(dot, `${s.name}: ${text}`);
      } else row.textContent = text;
      this.tip.append(row);
    }
    this.tip.hidden = false;
    const r = this.svg.getBoundingClientRect(), scale = r.width / this.svg.viewBox.baseVal.width;
    const left = where * scale + 12;
    this.tip.style.left = `${left + this.tip.offsetWidth > r.width ? Math.max(0, where * scale - this.tip.offsetWidth - 12) : left}px`;
    this.tip.style.top = `${this.top * scale}px`;
  }

  hide() {
    this.cross.setAttribute("visibility", "hidden");
    this.pick.setAttribute("visibility", "hidden");
    this.start = undefined;
    this.tip.hidden = true;
  }

  drop(e) {
    const start = this.start, end = this.at(e);
    this.pick.setAttribute("visibility", "hidden");
    this.start = undefined;
    if (start === undefined || Math.abs(end - start) < 6) return;
    this.zoom(this.value(Math.min(start, end)), this.value(Math.max(start, end)));
  }

  // zoom shows the values of x between from and to.
  zoom(from, to) {
    [this.from, this.to] = [from, to];
    const f = (this.x1 - this.x0) / (to - from);
    const shift = this.left - f * (this.left + (from - this.x0) / (this.x1 - this.x0) * (this.right - this.left));
    this.svg.querySelector(".data").setAttribute("transform", `translate(${shift} 0) scale(${f} 1)`);
    this.svg.querySelectorAll(".data path").forEach((p) => p.setAttribute("vector-effect", "non-scaling-stroke"));
    this.svg.classList.toggle("zoomed", from !== this.x0 || to !== this.x1);
    this.svg.querySelectorAll(".newtick").forEach((t) => t.remove());
    const below = this.bottom + 6;
    if (!this.labels) {
      this.labels = [...this.svg.querySelectorAll(".axes text")].filter((t) => {
        const b = t.getBBox(), m = t.getCTM(), s = this.svg.getScreenCTM();
        return (m.f + m.d * b.y) / (s ? 1 : 1) > 0 && t.getBoundingClientRect().top > this.svg.getBoundingClientRect().top + this.bottom * this.svg.getBoundingClientRect().height / this.svg.viewBox.baseVal.height;
      });
      this.labels.forEach((t) => t.classList.add("tx"));
    }
    if (from === this.x0 && to === this.x1) return;
    const last = this.right > 400 ? 5 : 2;
    for (let i = 0; i <= last; i++) {
      const x = from + (to - from) * i / last;
      const t = element("text", { class: "newtick", x: this.place(x), y: below + 10, "font-size": 11, "text-anchor": i === 0 ? "start" : i === last ? "end" : "middle", style: "fill:var(--ink)" }, this.svg);
      t.textContent = this.xunit ? number(x) : clock(x);
    }
  }
}

document.querySelectorAll("figure[data-chart], figure[data-box]").forEach((f) => new Chart(f));
document.querySelectorAll("[data-copy]").forEach((b) => b.addEventListener("click", async () => {
  await navigator.clipboard.writeText(b.dataset.copy);
  b.textContent = "copied";
}));
document.querySelectorAll("[data-filter]").forEach((s) => s.addEventListener("change", () => {
  s.closest("section").querySelectorAll("details").forEach((d) => { d.hidden = s.value !== "" && d.dataset.state !== s.value; });
  history.replaceState(null, "", s.value ? `#status=${s.value}` : " ");
}));
const wanted = new URLSearchParams(location.hash.slice(1)).get("status");
if (wanted) document.querySelectorAll("[data-filter]").forEach((s) => { s.value = wanted; s.dispatchEvent(new Event("change")); });
document.querySelectorAll(".sortable th").forEach((th) => th.addEventListener("click", () => {
  const body = th.closest("table").tBodies[0], column = th.cellIndex, up = th.dataset.up !== "true";
  const value = (row) => { const c = row.cells[column]; const v = Number(c.dataset.v ?? c.textContent.replace("%", "")); return Number.isNaN(v) ? c.textContent : v; };
  th.dataset.up = up;
  body.append(...[...body.rows].sort((a, b) => { const x = value(a), y = value(b); return (x < y ? -1 : x > y ? 1 : 0) * (up ? 1 : -1); }));
}));
function openTarget() {
  const d = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (d && d.tagName === "DETAILS") d.open = true;
}
addEventListener("hashchange", openTarget);
openTarget();
document.documentElement.dataset.ready = "";
