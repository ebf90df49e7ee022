// Draws the panels that draw_panels.py put into BOARD, on Grafana's grid of 24 columns, 30 px a row.
const COLOURS = ["#7eb26d", "#eab839", "#6ed0e0", "#ef843c", "#e24d42", "#1f78c1", "#ba43a9", "#705da0"];
const PX = {column: 66, row: 30};

function number(v, unit) {
  if (v === null || v === undefined) return "";
  const scaled = (steps, space) => {
    const [size, name] = steps.find(([least]) => Math.abs(v) >= least) || steps[steps.length - 1];
    return v === 0 ? "0" : +(v / size).toPrecision(4) + space + name;
  };
  if (unit === "percentunit") return +(v * 100).toPrecision(4) + " %";
  if (unit === "s") return scaled([[86400, "d"], [3600, "h"], [60, "min"], [1, "s"], [1e-3, "ms"], [1e-6, "µs"]], " ");
  if (unit === "bytes") return scaled([[2 ** 30, "GiB"], [2 ** 20, "MiB"], [2 ** 10, "KiB"], [1, "B"]], " ");
  return scaled([[1e6, "M"], [1e3, "k"], [1, ""]], "") + ({reqps: " req/s", rowsps: " rows/s", cps: "/s"}[unit] || "");
}

function colourAt(panel, v) {
  const at = panel.thresholds.filter(t => t.value === null || v >= t.value).pop();
  return !at || at.color === "text" ? "#d8d9da" : at.color;
}

function add(parent, tag, text, style) {
  const element = parent.appendChild(document.createElement(tag));
  element.textContent = text;
  Object.assign(element.style, style);
  return element;
}

function drawLines(box, panel, width, height) {
  const limits = panel.lines ? panel.thresholds.filter(t => t.value !== null) : [];
  const values = panel.series.flatMap(s => s.values).filter(v => v !== null);
  const axis = {stroke: "#9fa7b3", grid: {stroke: "#2c3235"}};
  new uPlot({
    width, height,
    legend: {show: true, live: false},
    scales: {y: {range: () => {
      const low = Math.min(panel.min ?? panel.soft_min ?? Infinity, ...values), high = Math.max(panel.soft_max ?? -Infinity, ...values);
      return [low, high + (high - low || 1) * 0.08];
    }}},
    axes: [axis, {...axis, size: 90, values: (u, ticks) => ticks.map(v => number(v, panel.unit))}],
    series: [{}].concat(panel.series.map((s, i) => ({label: s.label || panel.title, width: 1.5, points: {show: s.values.length === 1},
      stroke: COLOURS[i % COLOURS.length]}))),
    hooks: {draw: [u => limits.filter(t => t.value >= u.scales.y.min && t.value <= u.scales.y.max).forEach(t => {
      const y = u.valToPos(t.value, "y", true);
      u.ctx.save();
      u.ctx.strokeStyle = t.color === "text" ? "#9fa7b3" : t.color;
      u.ctx.setLineDash([6, 4]);
      u.ctx.beginPath();
      u.ctx.moveTo(u.bbox.left, y);
      u.ctx.lineTo(u.bbox.left + u.bbox.width, y);
      u.ctx.stroke();
      u.ctx.restore();
    })]},
  }, [panel.times].concat(panel.series.map(s => s.values)), box);
}

function drawValues(box, panel) {
  panel.series.forEach(s => {
    const v = s.values[s.values.length - 1], shown = (panel.mappings[v] || {}).text || number(v, panel.unit);
    add(box, "span", shown + (panel.series.length > 1 ? " " + s.label : ""),
      {font: "26px sans-serif", marginRight: "12px", color: (panel.mappings[v] || {}).color || colourAt(panel, v)});
  });
}

function drawBars(box, panel, width) {
  const most = Math.max(panel.max ?? 0, ...panel.series.map(s => s.values[0]));
  panel.series.forEach(s => {
    const v = s.values[0], row = add(box, "div", "", {display: "flex", height: "26px", alignItems: "center"});
    add(row, "span", s.label, {width: "120px"});
    add(row, "span", "", {width: (width - 220) * v / most + "px", height: "16px", background: colourAt(panel, v)});
    add(row, "span", " " + number(v, panel.unit), {marginLeft: "6px", color: colourAt(panel, v)});
  });
}

function drawTable(box, panel) {
  const table = add(box, "table", "", {borderSpacing: "14px 4px"});
  panel.table.forEach((cells, i) => {
    const row = table.insertRow();
    cells.forEach(c => add(row, i ? "td" : "th", c, {textAlign: "left"}));
  });
}

const page = document.body;
Object.assign(page.style, {position: "relative", margin: "8px", background: "#111217", color: "#d8d9da", font: "13px sans-serif"});
add(page, "div", BOARD.title, {font: "20px sans-serif", height: "30px"});
BOARD.panels.forEach(panel => {
  const {x, y, w, h} = panel.grid, width = w * PX.column - 8, height = h * PX.row - 8;
  const box = add(page, "div", "", {position: "absolute", left: x * PX.column + "px", top: y * PX.row + 38 + "px",
    width: width + "px", height: height + "px", background: "#181b1f", border: "1px solid #2c3235", overflow: "hidden",
    padding: "4px", boxSizing: "border-box"});
  add(box, "div", panel.title, {fontWeight: "bold", height: "20px"});
  if (panel.type === "table") drawTable(box, panel);
  else if (!panel.series.length) add(box, "div", "no data", {color: "#9fa7b3"});
  else if (panel.type === "timeseries") drawLines(box, panel, width - 12, height - 78);
  else if (panel.type === "bargauge") drawBars(box, panel, width);
  else drawValues(box, panel);
});
