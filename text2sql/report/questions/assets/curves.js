// The course of a training, drawn by uPlot; the values under the pointer stand below each chart.

import { el } from "./dom.js";

const COLOURS = ["--tuned", "--series-2", "--series-3"];
const dark = matchMedia("(prefers-color-scheme: dark)");

export class Curves {
  constructor(place) {
    this.place = place;
    this.drawn = [];
    this.redraw = () => this.draw(this.charts);
    this.resize = new ResizeObserver(() => this.fit());
    dark.addEventListener("change", this.redraw);
    this.resize.observe(place);
  }

  draw(charts) {
    this.charts = charts;
    const alike = this.drawn.length === charts.length
      && charts.every((c, i) => this.drawn[i].title === c.title && this.drawn[i].curves === c.curves.length);
    if (alike && this.scheme === dark.matches) {
      charts.forEach((chart, i) => {
        this.drawn[i].plot.setData(data(chart));
        this.drawn[i].box.setAttribute("aria-label", described(chart));
      });
      return;
    }
    this.clear();
    this.scheme = dark.matches;
    this.place.hidden = !charts.length;
    for (const chart of charts) {
      const box = el("figure.chart", { role: "group", "aria-label": described(chart) }, el("figcaption", {}, chart.title));
      this.place.append(box);
      const plot = new window.uPlot(options(chart, this.width(box)), data(chart), box);
      this.drawn.push({ title: chart.title, curves: chart.curves.length, plot, box });
    }
  }

  width(box) {
    return Math.max(200, Math.floor(box.clientWidth));
  }

  fit() {
    for (const { plot, box } of this.drawn) plot.setSize({ width: this.width(box), height: HEIGHT });
  }

  clear() {
    for (const { plot } of this.drawn) plot.destroy();
    this.drawn = [];
    this.place.replaceChildren();
  }

  destroy() {
    dark.removeEventListener("change", this.redraw);
    this.resize.disconnect();
    this.clear();
  }
}

const HEIGHT = 170;
const data = (chart) => [chart.steps, ...chart.curves.map((curve) => curve.values)];
const rounded = (value) => (value === null || value === undefined ? "–" : Number(value.toPrecision(4)).toString());

function options(chart, width) {
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  const axis = { stroke: colour("--muted"), grid: { stroke: colour("--rule"), width: 1 },
    ticks: { stroke: colour("--rule"), width: 1 }, font: "12px system-ui, sans-serif" };
  return {
    width, height: HEIGHT, scales: { x: { time: false }, y: { range: (plot, low, high) => span(low, high) } },
    cursor: { y: false, points: { size: 7 } },
    axes: [axis, { ...axis, size: 54 }],
    series: [
      { label: "step", value: (plot, value) => (value === null ? "–" : String(value)) },
      ...chart.curves.map((curve, place) => {
        const few = curve.values.filter((value) => value !== null).length < 40;
        return { label: curve.name, stroke: colour(COLOURS[place % COLOURS.length]), width: 1.6, spanGaps: true,
          points: { show: few, size: 5 }, value: (plot, value) => rounded(value) };
      }),
    ],
  };
}

function span(low, high) {
  if (low === null || high === null) return [0, 1];
  const margin = (high - low || Math.abs(high) || 1) * 0.06;
  return [low >= 0 ? Math.max(0, low - margin) : low - margin, high + margin];
}

function described(chart) {
  const said = chart.curves.map((curve) => {
    const known = curve.values.filter((value) => value !== null);
    return `${curve.name} from ${rounded(known[0])} to ${rounded(known.at(-1))}, lowest ${rounded(known.reduce((x, y) => Math.min(x, y)))}`;
  });
  return `${chart.title}: ${said.join("; ")}; steps ${chart.steps[0]} to ${chart.steps.at(-1)}.`;
}
