// The map: up to a million points on the graphics card, moved, lassoed and pointed at.
//
// data    points: Arrow table of x, y (float32, -1 to 1) and value (uint8, an index into values)
//         version: changes with the points alone · values: [{name, colour}] · labels: [{x, y, text}]
//         found: rows that are circled · lasso: polygon or null · view: [zoom, x, y] or null
// state   lasso: [[x, y], ...] or null · view: [zoom, x, y] · chosen: indices of the values picked
// trigger pointed: a row
import { scaleLinear } from "d3-scale";
import createScatterplot from "regl-scatterplot";

const SETTLED = 350; // milliseconds without movement after which the server hears of it
const plots = new WeakMap();

export default function ({ data, parentElement, setStateValue, setTriggerValue }) {
  let plot = plots.get(parentElement);
  if (!plot) {
    plot = new Plot(parentElement, setStateValue, setTriggerValue);
    plots.set(parentElement, plot);
  }
  plot.show(data);
  return () => {
    plot.end();
    plots.delete(parentElement);
  };
}

class Plot {
  constructor(parent, setState, trigger) {
    this.setState = setState;
    this.trigger = trigger;
    this.frame = parent.querySelector(".frame");
    this.canvas = parent.querySelector("canvas");
    this.over = parent.querySelector(".over");
    this.legend = parent.querySelector(".legend");
    this.tools = [...parent.querySelectorAll(".tools button")];
    this.chosen = new Set();
    this.x = scaleLinear().domain([-1, 1]);
    this.y = scaleLinear().domain([-1, 1]);
    this.plot = createScatterplot({
      canvas: this.canvas,
      ...this.size(),
      xScale: this.x,
      yScale: this.y,
      backgroundColor: theme(this.frame, "--st-background-color", "#ffffff"),
      lassoColor: theme(this.frame, "--st-primary-color", "#0068c9"),
      lassoOnLongPress: true,
      opacityBy: "density",
      pointColorHover: theme(this.frame, "--st-text-color", "#31333f"),
      pointSizeSelected: 0,
      pointOutlineWidth: 0,
      mouseMode: "lasso",
      deselectOnDblClick: false,
      deselectOnEscape: true,
      cameraIsFixed: false,
    });
    this.resized = new ResizeObserver(() => {
      this.plot.set(this.size());
      this.annotate();
    });
    this.resized.observe(this.frame);
    for (const tool of this.tools) tool.onclick = () => this.use(tool.dataset.tool);
    this.plot.subscribe("view", ({ view }) => {
      this.annotate();
      this.moved = later(this.moved, () => this.setState("view", [view[0], view[12], view[13]]));
    });
    this.plot.subscribe("lassoEnd", ({ coordinates }) => this.setLasso(coordinates.length > 2 ? coordinates : null));
    this.plot.subscribe("deselect", () => this.lasso && this.setLasso(null));
    this.plot.subscribe("pointOver", (row) => (this.hovered = later(this.hovered, () => this.trigger("pointed", row))));
    this.plot.subscribe("pointOut", () => clearTimeout(this.hovered));
  }

  size() {
    const { width, height } = this.frame.getBoundingClientRect();
    return { width, height };
  }

  // All points: they lie between -1 and 1, and the camera shows so much of the height.
  whole() {
    const { width, height } = this.size();
    return [Math.min(1, width / height), 0, 0];
  }

  async show(data) {
    this.data = data;
    if (data.version !== this.version) {
      const fresh = this.version === undefined;
      this.version = data.version;
      this.chosen = new Set();
      const [x, y, value] = ["x", "y", "value"].map((name) => data.points.getChild(name).toArray());
      this.rows = { x, y };
      this.legends();
      this.paint();
      const points = Array.from(x, (_, row) => [x[row], y[row], value[row]]);
      this.lasso = data.lasso;
      const started = performance.now();
      await this.plot.draw(points, { zDataType: "categorical", preventFilterReset: true });
      this.frame.dataset.drawn = `${x.length} points in ${Math.round(performance.now() - started)} ms`;
      this.plot.view(camera((fresh && data.view) || this.whole()));
    }
    this.annotate();
  }

  // Values that were not picked fade, once one was.
  paint() {
    const faded = theme(this.frame, "--st-secondary-background-color", "#e6e9ef");
    const shown = this.data.values.map(({ colour }, value) =>
      this.chosen.size === 0 || this.chosen.has(value) ? colour : faded,
    );
    this.plot.set({ colorBy: "valueA", pointColor: shown.length > 1 ? shown : [shown[0], shown[0]] });
  }

  legends() {
    this.legend.replaceChildren(
      ...this.data.values.map(({ name, colour }, value) => {
        const button = document.createElement("button");
        const dot = document.createElement("i");
        dot.style.background = colour;
        button.append(dot, name);
        button.setAttribute("aria-pressed", "false");
        button.onclick = () => {
          const picked = this.chosen.delete(value) ? false : Boolean(this.chosen.add(value));
          button.setAttribute("aria-pressed", String(picked));
          this.paint();
          this.setState("chosen", [...this.chosen]);
        };
        return button;
      }),
    );
  }

  use(tool) {
    if (tool === "whole") {
      this.plot.view(camera(this.whole()));
      return;
    }
    if (tool === "clear") {
      this.setLasso(null);
      return;
    }
    this.plot.set({ mouseMode: tool });
    for (const one of this.tools) one.setAttribute("aria-pressed", String(one.dataset.tool === tool));
  }

  setLasso(polygon) {
    this.lasso = polygon;
    this.annotate();
    this.setState("lasso", polygon);
  }

  // What lies over the points: names of clusters, circles of what was found, the lasso that is in force.
  annotate() {
    if (!this.data) return;
    const { width, height } = this.size();
    this.over.setAttribute("viewBox", `0 0 ${width} ${height}`);
    const marks = [];
    if (this.lasso) {
      const corners = this.lasso.map(([x, y]) => `${this.x(x)},${this.y(y)}`);
      marks.push(mark("polygon", { points: corners.join(" "), class: "lasso" }));
    }
    for (const row of this.data.found) {
      marks.push(mark("circle", { cx: this.x(this.rows.x[row]), cy: this.y(this.rows.y[row]), r: 7, class: "found" }));
    }
    for (const { x, y, text } of this.data.labels) {
      const label = mark("text", { x: this.x(x), y: this.y(y) });
      label.textContent = text;
      marks.push(label);
    }
    this.over.replaceChildren(...marks);
  }

  end() {
    clearTimeout(this.moved);
    clearTimeout(this.hovered);
    this.resized.disconnect();
    this.plot.destroy();
  }
}

function camera([zoom, x, y]) {
  return new Float32Array([zoom, 0, 0, 0, 0, zoom, 0, 0, 0, 0, 1, 0, x, y, 0, 1]);
}

function later(waiting, then) {
  clearTimeout(waiting);
  return setTimeout(then, SETTLED);
}

function mark(kind, attributes) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", kind);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

function theme(element, name, otherwise) {
  return getComputedStyle(element).getPropertyValue(name).trim() || otherwise;
}
