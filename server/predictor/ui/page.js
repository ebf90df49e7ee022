/* What the page does: reads /ui/model once and again when the artifact changes, /metrics every two
 * seconds, and works out rates, percentiles and histories here. Text reaches the document by
 * textContent only, so whatever a model or a feature is called stays text. */
(() => {
'use strict';

const POLL_MS = 2000;
const TIMEOUT_MS = 8000;
const WINDOW_S = 10;                     // rates and percentiles are taken over this
const KEEP_S = 1800, SHOW_S = 120;       // history kept, and shown at least
const MAE_ALERT = 0.45, R2_ALERT = 0.75; // ModelDriftDetected in k8s/monitoring
const PSI_WATCH = 0.1, PSI_SHIFT = 0.25; // ModelFeatureDrift in k8s/monitoring
const LEVEL = 0.9;                       // of the interval
const SLIDER_STEPS = 1000;
const WATERFALL_ROWS = 12, DRIFT_ROWS_SHOWN = 40;
const NONE = '–';

// The page may be behind a gateway's prefix.
const root = location.pathname.replace(/\/ui\/?$/, '/');
const $ = (id) => document.getElementById(id);

/* ---- text and elements ---- */

function el(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {}))
    if (value !== null && value !== undefined && value !== false)
      node.setAttribute(name, value === true ? '' : value);
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

/* Four significant digits, whole numbers whole, thousands apart. */
function num(x, digits = 4) {
  if (typeof x !== 'number' || !Number.isFinite(x)) return NONE;
  const size = Math.abs(x);
  if (size !== 0 && (size < 1e-4 || size >= 1e9))
    return x.toExponential(digits - 1).replaceAll('-', '−');
  const whole = size === 0 ? 1 : Math.floor(Math.log10(size)) + 1;
  return x.toLocaleString('en', {maximumFractionDigits: Math.max(0, digits - whole)}).replace('-', '−');
}

function signed(x) {
  return (x > 0 ? '+' : '') + num(x, 3);
}

function duration(s) {
  if (typeof s !== 'number' || !Number.isFinite(s)) return NONE;
  if (s < 1e-3) return num(s * 1e6, 3) + ' µs';
  return s < 1 ? num(s * 1e3, 3) + ' ms' : num(s, 3) + ' s';
}

const percent = (x, digits) => (Number.isFinite(x) ? num(100 * x, digits) + ' %' : NONE);
const clock = (t) => new Date(1000 * t).toTimeString().slice(0, 8);

function ago(s) {
  if (s < 90) return Math.max(0, Math.round(s)) + ' s ago';
  if (s < 5400) return Math.round(s / 60) + ' min ago';
  return s < 129600 ? Math.round(s / 3600) + ' h ago' : Math.round(s / 86400) + ' days ago';
}

/* Units such as "100000 USD" are factors. */
function unitText(unit) {
  const factor = /^(\d+) (\D.*)$/.exec(unit);
  return factor ? `× ${num(Number(factor[1]))} ${factor[2]}` : unit;
}

function amountText(value, unit) {
  const factor = /^(\d+) (\D.*)$/.exec(unit);
  return factor ? `= ${num(value * Number(factor[1]))} ${factor[2]}` : '';
}

/* Writes only what changed, so that a screen reader is not told the same thing every two seconds. */
function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/* [{key, name, value, unit, note, state}] into a list; nodes are kept. */
function showTiles(list, tiles) {
  const keys = tiles.map((tile) => tile.key).join();
  if (list.dataset.keys !== keys) {
    list.dataset.keys = keys;
    list.replaceChildren(...tiles.map((tile) => el('div', {'data-key': tile.key}, el('dt', null, tile.name),
      el('dd', null, el('span'), ' ', el('small'), el('small', {class: 'note'})))));
  }
  tiles.forEach((tile, i) => {
    const dd = list.children[i].lastChild;
    const [value, unit, note] = dd.querySelectorAll('span, small');
    write(value, tile.value);
    write(unit, tile.unit || '');
    write(note, tile.note || '');
    dd.dataset.state = tile.value === NONE ? 'none' : tile.state || '';
  });
}

/* A table with a header row; cells are texts, nodes or {text, state}. A head may span two columns, the
 * second of which then has none of its own. */
function table(heads, rows) {
  const cell = (content, i, tag) => {
    const plain = typeof content !== 'object' || content instanceof Node;
    const given = plain ? {text: content} : content;
    const name = [heads[i].number ? 'n' : '', heads[i].class || ''].join(' ').trim();
    return el(tag, {class: name || null, scope: tag === 'td' ? null : 'row', 'data-state': given.state}, given.text);
  };
  const head = ({text, number, span, class: name}) =>
    el('th', {scope: 'col', colspan: span, class: [number ? 'n' : '', name === 'count' ? name : ''].join(' ').trim() || null}, text);
  return el('table', null,
    el('thead', null, el('tr', null, ...heads.filter(({text}) => text !== null).map(head))),
    el('tbody', null, ...rows.map((row) => el('tr', {class: row.class}, ...row.cells.map((content, i) =>
      cell(content, i, i === 0 ? 'th' : 'td'))))));
}

/* A bar from..to on [0, 1] with marks; decoration, the number stands beside it. */
function bar(from, to, state, marks = []) {
  const clip = (x) => Math.min(1, Math.max(0, x));
  const fill = el('i', {'data-state': state});
  const node = el('div', {class: 'bar', 'aria-hidden': 'true'}, fill);
  const left = clip(Math.min(from, to)), right = clip(Math.max(from, to));
  fill.style.left = 100 * left + '%';
  fill.style.width = `max(${100 * (right - left)}%, 2px)`;
  for (const mark of marks) {
    const line = el('b');
    line.style.left = 100 * clip(mark) + '%';
    node.append(line);
  }
  return node;
}

/* ---- the server ---- */

async function ask(path, body) {
  const response = await fetch(root + path, {
    method: body === undefined ? 'GET' : 'POST', body, cache: 'no-store', credentials: 'same-origin',
    signal: AbortSignal.timeout(TIMEOUT_MS),
  });
  const text = await response.text();
  if (response.ok) return text;
  let message = text;
  try { message = JSON.parse(text).error || text; } catch { /* a gateway's own page */ }
  throw Object.assign(new Error(message.slice(0, 300) || `status ${response.status}`), {status: response.status});
}

/* Series of models from Prometheus text: name -> [{labels, value}]. */
function parseMetrics(text) {
  const sample = /^([A-Za-z_:][\w:]*)(?:\{(.*)\})? (\S+)/;
  const label = /([A-Za-z_]\w*)="((?:[^"\\]|\\.)*)"/g;
  const unescape = (value) => value.replace(/\\(.)/g, (_, c) => (c === 'n' ? '\n' : c));
  const families = new Map();
  for (const line of text.split('\n')) {
    const found = line.startsWith('model_') ? sample.exec(line) : null;
    if (!found) continue;
    const labels = {};
    for (const [, name, value] of (found[2] || '').matchAll(label)) labels[name] = unescape(value);
    const value = found[3] === '+Inf' ? Infinity : Number(found[3]);
    if (!families.has(found[1])) families.set(found[1], []);
    families.get(found[1]).push({labels, value});
  }
  return families;
}

/* What the page needs of one scrape: counters over all versions, gauges of the version served. */
function readScrape(text, card, t) {
  const families = parseMetrics(text);
  const of = (name) => (families.get(name) || []).filter((s) => s.labels.model_name === card.name);
  const total = (name, wanted = () => true) =>
    of(name).filter((s) => wanted(s.labels)).reduce((sum, s) => sum + s.value, 0);
  const current = (name) => of(name).filter((s) => s.labels.version === card.version && Number.isFinite(s.value));
  const buckets = new Map();
  for (const s of of('model_prediction_latency_bucket')) {
    const bound = s.labels.le === '+Inf' ? Infinity : Number(s.labels.le);
    buckets.set(bound, (buckets.get(bound) || 0) + s.value);
  }
  const bounds = [...buckets.keys()].sort((a, b) => a - b);
  return {
    t,
    requests: total('model_prediction_total'),
    errors: total('model_prediction_total', (labels) => labels.status === 'error'),
    rows: total('model_prediction_rows_total'),
    bounds, counts: bounds.map((bound) => buckets.get(bound)),
    gauge: (name) => (current(name)[0] || {value: null}).value,
    byFeature: (name) => new Map(current(name).map((s) => [s.labels.feature, s.value])),
    artifacts: of('model_info').map((s) => s.labels.sha256),
  };
}

/* As histogram_quantile: linear within a bucket. counts are cumulative; null without observations. */
function quantile(q, bounds, counts) {
  const total = counts.at(-1), rank = q * total, last = bounds.length - 1;
  if (!(total > 0) || last < 1) return null;
  const i = counts.findIndex((count) => count >= rank);
  if (i === last) return bounds[last - 1];
  const below = i > 0 ? counts[i - 1] : 0, low = i > 0 ? bounds[i - 1] : 0;
  return low + (bounds[i] - low) * (rank - below) / (counts[i] - below);
}

/* ---- state ---- */

let card = null;       // what /ui/model said
let scrapes = [];      // those of the last WINDOW_S
let history = [];      // points of the charts
let explainable = true;
const charts = {};

/* Rates and percentiles between the oldest and the newest scrape of the window. */
function service(newest) {
  const oldest = scrapes[0], seconds = newest.t - oldest.t;
  if (!(seconds > 0)) return {rate: null, rows: null, errors: null, p: [null, null, null], asked: null};
  const asked = newest.requests - oldest.requests;
  const counts = newest.counts.map((count, i) => count - (oldest.counts[i] || 0));
  return {
    asked,
    rate: asked / seconds,
    rows: (newest.rows - oldest.rows) / seconds,
    errors: asked > 0 ? (newest.errors - oldest.errors) / asked : null,
    p: [0.5, 0.95, 0.99].map((q) => quantile(q, newest.bounds, counts)),
  };
}

function remember(scrape) {
  const before = scrapes.at(-1);
  // A restarted server counts from 0 again, and a page that slept has a hole.
  if (before && (scrape.requests < before.requests || scrape.t - before.t > WINDOW_S)) scrapes = [];
  if (before && scrape.t - before.t > WINDOW_S) history.push({t: before.t + 1});
  scrapes.push(scrape);
  while (scrapes.length > 2 && scrape.t - scrapes[0].t > WINDOW_S + 1) scrapes.shift();
  const s = service(scrape);
  const live = scrape.gauge('model_quality_live') === 1;
  history.push({t: scrape.t, rate: s.rate, p50: s.p[0], p95: s.p[1], p99: s.p[2],
    mae: scrape.gauge('model_mae_score'), r2: scrape.gauge('model_r2_score'), live});
  history = history.filter((point) => scrape.t - point.t <= KEEP_S);
  return {...s, live};
}

/* ---- charts ---- */

let inks = {};
const ink = (name) => (inks[name] ||= getComputedStyle(document.documentElement).getPropertyValue(name).trim());

function alertLine(line) {
  return (u) => {
    const y = u.valToPos(line.value, 'y', true), {ctx, bbox} = u, px = uPlot.pxRatio;
    if (!(y >= bbox.top && y <= bbox.top + bbox.height)) return;
    ctx.save();
    ctx.strokeStyle = ctx.fillStyle = ink('--bad');
    ctx.lineWidth = px;
    ctx.setLineDash([4 * px, 4 * px]);
    ctx.beginPath();
    ctx.moveTo(bbox.left, y);
    ctx.lineTo(bbox.left + bbox.width, y);
    ctx.stroke();
    ctx.font = `${11 * px}px system-ui, sans-serif`;
    ctx.textAlign = 'left';
    ctx.textBaseline = line.above ? 'top' : 'bottom';
    ctx.fillText(line.text, bbox.left + 4 * px, y + (line.above ? 3 : -2) * px);
    ctx.restore();
  };
}

/* Room for the data and the alert line; a logarithmic scale takes whole decades. */
function yRange(spec) {
  return (u, min, max) => {
    if (spec.log) {
      if (!(min > 0)) return [1e-5, 1e-2];
      return [10 ** Math.floor(Math.log10(min) + 1e-9), 10 ** Math.max(Math.ceil(Math.log10(max)), Math.floor(Math.log10(min)) + 1)];
    }
    const values = [min, max, spec.line?.value, spec.least].filter((x) => typeof x === 'number' && Number.isFinite(x));
    if (values.length === 0) return [0, 1];
    const low = Math.min(...values), high = Math.max(...values), pad = (high - low || Math.abs(high) || 1) * 0.12;
    return [spec.least === low ? low : low - pad, high + pad];
  };
}

/* A logarithmic axis is marked at 1, 10, 100, nowhere between. */
function wholeDecades(_, splits) {
  return splits.map((v) => (Math.abs(Math.log10(v) - Math.round(Math.log10(v))) < 1e-6 ? v : null));
}

/* Of a series' points only those that no line reaches are drawn. */
function lonePoints(u, k) {
  const missing = (i) => (u.data[k][i] ?? null) === null;
  return u.data[k].map((_, i) => i).filter((i) => !missing(i) && missing(i - 1) && missing(i + 1));
}

function hoverText(spec) {
  return (u) => {
    const i = u.cursor.idx, parts = [];
    if (typeof i === 'number')
      spec.series.forEach((series, k) => {
        const value = u.data[k + 1][i];
        if (typeof value === 'number') parts.push(`${series.name} ${spec.format(value)}`);
      });
    u.hover.textContent = parts.length ? `${clock(u.data[0][i])}  ${parts.join('  ')}` : '';
  };
}

function makeChart(id, spec) {
  const box = $(id), font = '11px system-ui, sans-serif';
  const empty = el('p', {class: 'empty'}, spec.empty);
  box.append(empty);
  const axis = {stroke: () => ink('--muted'), font, ticks: {show: false},
    grid: {stroke: () => ink('--line'), width: 1}};
  const u = new uPlot({
    width: box.clientWidth || 300, height: box.clientHeight || 132, padding: [8, 6, 0, 0],
    legend: {show: false}, select: {show: false},
    cursor: {y: false, drag: {x: false, y: false}, points: {size: 6}},
    scales: {
      x: {time: true, range: (_, min, max) => [Math.min(min ?? 0, (max ?? SHOW_S) - SHOW_S), max ?? SHOW_S]},
      y: {distr: spec.log ? 3 : 1, range: yRange(spec)},
    },
    axes: [
      {...axis, size: 26, gap: 8, space: 70, grid: {show: false}, values: (_, splits) => splits.map((t) => clock(t).slice(0, t % 60 ? 8 : 5))},
      {...axis, size: 54, space: 26, gap: 4, grid: spec.log ? {...axis.grid, filter: wholeDecades} : axis.grid,
        values: (_, splits) => (spec.log ? wholeDecades(_, splits) : splits).map((v) => (v === null ? '' : spec.format(v)))},
    ],
    series: [{}, ...spec.series.map((series) => ({stroke: () => ink(series.ink), width: series.dash ? 1.5 : 2,
      dash: series.dash, points: {show: true, size: 4, fill: () => ink(series.ink), filter: lonePoints}, fill: series.fill ? () => ink(series.ink) + '1a' : undefined}))],
    hooks: {draw: spec.line ? [alertLine(spec.line)] : [], setCursor: [hoverText(spec)]},
  }, [[], ...spec.series.map(() => [])], box);
  u.hover = el('div', {class: 'hover', 'aria-hidden': 'true'});
  u.over.append(u.hover);
  u.root.setAttribute('role', 'img');
  new ResizeObserver(() => u.setSize({width: box.clientWidth, height: box.clientHeight})).observe(box);
  charts[id] = {u, spec, empty};
}

function drawChart(id, columns, summary) {
  const {u, empty} = charts[id];
  const data = columns.map((pick) => history.map((point) => pick(point) ?? null));
  empty.hidden = data.some((column) => column.some((value) => value !== null));
  u.root.hidden = !empty.hidden;
  u.setData([history.map((point) => point.t), ...data]);
  u.root.setAttribute('aria-label', summary);
}

function makeCharts() {
  const quality = [{name: 'live', ink: '--accent'}, {name: 'card', ink: '--muted', dash: [5, 4]}];
  const latency = [{name: 'p50', ink: '--accent'}, {name: 'p95', ink: '--second'}, {name: 'p99', ink: '--third'}];
  makeChart('rate-chart', {series: [{name: '', ink: '--accent', fill: true}], format: (v) => num(v, 3), least: 0,
    empty: 'Waiting for a second scrape'});
  makeChart('latency-chart', {series: latency, format: duration, log: true, empty: 'No predict requests yet'});
  makeChart('mae-chart', {series: quality, format: (v) => num(v, 3), line: {value: MAE_ALERT, text: `alert above ${MAE_ALERT}`},
    empty: 'No figure: neither true values nor a holdout'});
  makeChart('r2-chart', {series: quality, format: (v) => num(v, 3), line: {value: R2_ALERT, text: `alert below ${R2_ALERT}`, above: true},
    empty: 'No figure: neither true values nor a holdout'});
  for (const series of latency) {
    const key = el('i');
    key.style.background = `var(${series.ink})`;
    $('latency-keys').append(key, series.name);
  }
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => {
    inks = {};
    for (const {u} of Object.values(charts)) u.redraw(false, true);
  });
}

/* ---- panels ---- */

function showService(s, scrape) {
  const first = scrape.bounds[0], last = scrape.bounds.at(-2);
  const latency = (v) => (v === null ? NONE : v <= first ? '< ' + duration(first) : v >= last ? '> ' + duration(last) : duration(v));
  const percentiles = ['p50', 'p95', 'p99'].map((key, i) => ({key, name: `Latency ${key}`, value: latency(s.p[i])}));
  showTiles($('service-tiles'), [
    {key: 'rate', name: 'Requests', value: num(s.rate, 3), unit: s.rate === null ? '' : '/s'},
    {key: 'rows', name: 'Rows', value: num(s.rows, 3), unit: s.rows === null ? '' : '/s'},
    {key: 'errors', name: 'Errors', value: percent(s.errors, 2), state: s.errors > 0.01 ? 'bad' : ''},
    ...percentiles,
  ]);
  drawChart('rate-chart', [(p) => p.rate], `Predict requests per second, now ${num(s.rate, 3)}`);
  // What lies within the first bucket is not known any closer.
  const shown = (key) => (p) => (p[key] > 0 ? Math.max(p[key], first) : null);
  drawChart('latency-chart', [shown('p50'), shown('p95'), shown('p99')],
    'Latency of predict requests: ' + percentiles.map((tile) => `${tile.key} ${tile.value}`).join(', '));
}

function qualityNote(live, scrape, now) {
  if (!live) return 'the card’s holdout figures; no alert is raised on them';
  const rows = scrape.gauge('model_window_rows'), last = scrape.gauge('model_quality_last_feedback_timestamp_seconds');
  return `from ${rows === null ? '' : num(rows) + ' '}true values sent back${last > 0 ? ', last ' + ago(now - last) : ''}`;
}

function showQuality(live, scrape, now) {
  const mae = scrape.gauge('model_mae_score'), r2 = scrape.gauge('model_r2_score');
  const note = live ? 'live' : 'card';
  const tiles = [
    {key: 'mae', name: 'MAE', value: num(mae), note, state: live && mae > MAE_ALERT ? 'bad' : ''},
    {key: 'r2', name: 'R²', value: num(r2), note, state: live && r2 !== null && r2 < R2_ALERT ? 'bad' : ''},
  ];
  const add = (key, name, metric, show, note2) => {
    const value = scrape.gauge(metric);
    if (value !== null) tiles.push({key, name, value: show(value), note: note2});
  };
  add('rmse', 'RMSE', 'model_rmse_score', num, note);
  add('bias', 'Bias', 'model_bias_score', signed, scrape.gauge('model_bias_score') > 0 ? 'too high' : 'too low');
  add('expected', 'Expected MAE', 'model_expected_mae', num, 'unlabelled');
  add('coverage', 'Coverage', 'model_interval_coverage_ratio', (x) => percent(x, 3), `aim ${100 * LEVEL} %`);
  showTiles($('quality-tiles'), tiles);
  write($('quality-note'), qualityNote(live, scrape, now));
  const split = (key) => [(p) => (p.live ? p[key] : null), (p) => (p.live === false ? p[key] : null)];
  drawChart('mae-chart', split('mae'), `Mean absolute error, ${note}, now ${num(mae)}; alert above ${MAE_ALERT}`);
  drawChart('r2-chart', split('r2'), `R squared, ${note}, now ${num(r2)}; alert below ${R2_ALERT}`);
}

/* To the digit that may matter: below 0.001 nothing has moved. */
function distance(x) {
  return typeof x === 'number' ? x.toFixed(3) : NONE;
}

function driftRow(name, psi, ks, outside, scale) {
  const state = psi > PSI_SHIFT ? 'bad' : psi > PSI_WATCH ? 'warn' : null;
  const missing = (x) => x === undefined || x === null;
  return {class: name === null ? 'total' : null, cells: [
    name === null ? 'Prediction' : name,
    missing(psi) ? '' : bar(0, psi / scale.psi, state, [PSI_SHIFT / scale.psi]),
    {text: distance(psi), state},
    missing(ks) ? '' : bar(0, ks / scale.ks, null),
    distance(ks),
    missing(outside) ? NONE : num(outside),
  ]};
}

function showDrift(scrape) {
  const psi = scrape.byFeature('model_feature_psi'), ks = scrape.byFeature('model_feature_ks');
  const outside = scrape.byFeature('model_feature_out_of_range_total');
  const rows = scrape.gauge('model_drift_window_rows');
  const known = psi.size + ks.size > 0;
  write($('drift-note'), !known || rows === null ? '' : `over ${num(rows)} recent rows`);
  if (!known) {
    $('drift').replaceChildren(el('p', {class: 'empty'},
      'No drift figures yet. They appear once 500 rows have been predicted, if the artifact holds a reference of its training rows.'));
    return;
  }
  const most = (map, least) => Math.max(least, ...map.values());
  const scale = {psi: most(psi, 2 * PSI_SHIFT), ks: most(ks, 0.5)};
  let names = card.features.map((feature) => feature.name);
  const hidden = names.length - DRIFT_ROWS_SHOWN;
  if (hidden > 0)
    names = names.sort((a, b) => (psi.get(b) ?? -1) - (psi.get(a) ?? -1)).slice(0, DRIFT_ROWS_SHOWN);
  const all = names.map((name) => driftRow(name, psi.get(name), ks.get(name), outside.get(name), scale));
  const p = scrape.gauge('model_prediction_psi'), k = scrape.gauge('model_prediction_ks');
  if (p !== null || k !== null) all.push(driftRow(null, p, k, null, scale));
  $('drift').replaceChildren(
    table([{text: 'Input'}, {text: 'PSI', class: 'bars', span: 2}, {text: null, number: true},
      {text: 'KS', class: 'bars', span: 2}, {text: null, number: true}, {text: 'Out of range', number: true, class: 'count'}], all),
    el('p', {class: 'legend'}, `PSI against the training rows: above ${PSI_WATCH} is worth a look, above the mark at ${PSI_SHIFT} a clear shift. ` +
      'KS: largest gap between the two distributions, from 0 to 1.' +
      (hidden > 0 ? ` The ${hidden} inputs that drift least are not shown.` : '')));
}

function showCard() {
  const {target, card: c} = card;
  $('title').textContent = card.name;
  document.title = `${card.name} – ridged`;
  $('subtitle').textContent = `version ${card.version} · ${card.kind} · predicts ${target.name}`;
  $('mae-unit').textContent = target.unit ? `of ${target.name}, ${unitText(target.unit)}` : `of ${target.name}`;
  const fact = (name, value) => el('div', null, el('dt', null, name), el('dd', null, value));
  const digest = (name, hex) => el('div', null, el('dt', null, name), el('dd', {class: 'long', title: hex}, hex.slice(0, 16) || NONE));
  $('facts').replaceChildren(
    fact('Target', target.name + (target.unit ? `, ${unitText(target.unit)}` : '')),
    fact('Kind', card.kind), fact('Version', card.version), fact('Training rows', num(c.rows, 9)),
    fact('Trained', c.date || 'no date given'), fact('Penalty λ', num(c.penalty)),
    fact('Prediction interval', card.intervals ? 'available' : 'not available'),
    digest('Artifact SHA-256', card.sha256), digest('Training data SHA-256', c.data_sha256));
  const measured = [['Leave-one-out', c.leave_one_out], ['Holdout', c.holdout], ['Linear fit, leave-one-out', c.linear]]
    .filter(([, f]) => f);
  $('figures').replaceChildren(measured.length === 0 ? el('p', {class: 'empty'}, 'The artifact holds no figures.') :
    table([{text: 'Measured'}, ...['Rows', 'MAE', 'RMSE', 'R²'].map((text) => ({text, number: true}))],
      measured.map(([name, f]) => ({cells: [name, num(f.rows, 9), num(f.mae), num(f.rmse), num(f.r2)]}))));
  $('card-note').textContent = `${card.features.length} inputs, ranges over the training rows`;
  $('inputs').replaceChildren(table([{text: 'Input'}, ...['Least', 'Typical', 'Greatest'].map((text) => ({text, number: true}))],
    card.features.map((f) => ({cells: [f.name, num(f.min), num(f.typical), num(f.max)]}))));
}

/* ---- the form ---- */

/* A slider's way is even in the training rows where their quantiles are known, else in the values. */
function sliderMap(feature) {
  const n = feature.quantiles ? feature.quantiles.length : 0;
  const values = [feature.min, ...(feature.quantiles || []), feature.max];
  const levels = [0, ...Array.from({length: n}, (_, i) => (i + 0.5) / n), 1];
  const between = (x, xs, ys) => {
    if (!(x > xs[0])) return ys[0];
    const i = xs.findIndex((end) => end >= x);
    return i < 0 ? ys.at(-1) : ys[i - 1] + (ys[i] - ys[i - 1]) * (x - xs[i - 1]) / (xs[i] - xs[i - 1]);
  };
  return {
    value: (level) => Number(between(level, levels, values).toPrecision(5)),
    level: (value) => between(value, values, levels),
  };
}

function checkField(field) {
  const value = field.input.valueAsNumber, {min, max} = field.feature;
  const wrong = !Number.isFinite(value), beyond = !wrong && (value < min || value > max);
  const changed = wrong ? 'expected a number' : beyond ? `outside the training rows’ ${num(min)} to ${num(max)}` : null;
  field.hint.className = wrong ? 'wrong' : beyond ? 'beyond' : '';
  field.hint.replaceChildren(...(changed ? [changed] : [el('span', null, num(min)), el('span', null, num(max))]));
  if (wrong) field.input.setAttribute('aria-invalid', 'true');
  else field.input.removeAttribute('aria-invalid');
  if (!wrong) field.slider.value = Math.round(SLIDER_STEPS * field.map.level(value));
  return !wrong;
}

let fields = [];

function makeField(feature, i, value) {
  const input = el('input', {type: 'number', step: 'any', id: `f${i}`, required: true, inputmode: 'text',
    autocomplete: 'off', 'aria-describedby': `f${i}-hint`});
  // The number says it all to a keyboard or a screen reader; the slider is for the mouse.
  const slider = el('input', {type: 'range', min: 0, max: SLIDER_STEPS, tabindex: -1, 'aria-hidden': 'true',
    disabled: !(feature.max > feature.min)});
  const hint = el('p', {id: `f${i}-hint`});
  const field = {feature, input, slider, hint, map: sliderMap(feature)};
  input.value = value ?? Number(feature.typical.toPrecision(5));
  input.addEventListener('input', () => checkField(field));
  slider.addEventListener('input', () => {
    input.value = field.map.value(slider.value / SLIDER_STEPS);
    checkField(field);
  });
  field.node = el('div', {class: 'field'}, el('label', {for: `f${i}`}, feature.name), input, slider, hint);
  checkField(field);
  return field;
}

/* Values already typed stay, as far as the inputs are still there. */
function makeForm() {
  const typed = new Map(fields.map((field) => [field.feature.name, field.input.value]));
  fields = card.features.map((feature, i) => makeField(feature, i, typed.get(feature.name)));
  $('fields').replaceChildren(...fields.map((field) => field.node));
  $('go').disabled = $('reset').disabled = false;
  $('answer').hidden = true;
  $('result-empty').hidden = false;
}

function resetForm() {
  for (const field of fields) {
    field.input.value = Number(field.feature.typical.toPrecision(5));
    checkField(field);
  }
}

const verbPath = (verb) => `v1/models/${encodeURIComponent(card.name)}:${verb}`;

/* The prediction, with its interval where the model gives one. */
async function predict(row) {
  const body = {instances: [row]};
  if (card.intervals) {
    try {
      const answer = JSON.parse(await ask(verbPath('predict'),
        JSON.stringify({...body, parameters: {interval: LEVEL}})));
      return {y: answer.predictions[0], interval: answer.intervals?.[0] ?? null};
    } catch (error) {
      if (error.status !== 501) throw error;
      card.intervals = false;
    }
  }
  return {y: JSON.parse(await ask(verbPath('predict'), JSON.stringify(body))).predictions[0], interval: null};
}

/* {base, prediction, attributions}, or null: this model cannot. */
async function explain(row) {
  if (!explainable) return null;
  try {
    return JSON.parse(await ask(verbPath('explain'), JSON.stringify({instances: [row]}))).explanations[0];
  } catch (error) {
    if (error.status !== 501) throw error;
    explainable = false;
    return null;
  }
}

/* Base, then what each input adds, greatest first, then the prediction; all on one axis. */
function waterfall(explanation, row, interval) {
  const {base, prediction, attributions} = explanation;
  const valueOf = new Map(card.features.map((feature, j) => [feature.name, row[j]]));
  let steps = Object.entries(attributions).sort((a, b) => Math.abs(b[1]) - Math.abs(a[1]));
  const rest = steps.slice(WATERFALL_ROWS);
  steps = steps.slice(0, WATERFALL_ROWS);
  if (rest.length > 0) steps.push([`${rest.length} others`, rest.reduce((sum, [, x]) => sum + x, 0)]);
  const ends = [base];
  for (const [, x] of steps) ends.push(ends.at(-1) + x);
  const all = [...ends, prediction, ...(interval || [])], low = Math.min(...all);
  const span = Math.max(...all) - low || 1;
  const at = (x) => 0.01 + 0.98 * (x - low) / span;
  const rows = [{class: 'sum', cells: ['Average', '', bar(at(base), at(base), 'sum'), num(base)]}];
  steps.forEach(([name, x], i) => rows.push({cells: [name, valueOf.has(name) ? num(valueOf.get(name)) : '',
    bar(at(ends[i]), at(ends[i + 1]), x < 0 ? 'down' : 'up', [at(base)]), signed(x)]}));
  rows.push({class: 'sum', cells: ['Prediction', '', bar(at(prediction), at(prediction), 'sum', [at(base)]), num(prediction)]});
  if (interval) rows.push({cells: [`${100 * LEVEL} % interval`, '', bar(at(interval[0]), at(interval[1]), 'span'),
    `± ${num((interval[1] - interval[0]) / 2, 3)}`]});
  const node = table([{text: 'What each input adds'}, {text: 'Value', number: true}, {text: card.target.name, class: 'bars', span: 2, number: true},
    {text: null, number: true}], rows);
  node.dataset.sum = ends.at(-1);
  return node;
}

function showAnswer(row, {y, interval}, explanation) {
  const {target} = card;
  $('answer-name').textContent = target.name;
  $('prediction').textContent = num(y);
  $('prediction').dataset.value = y;
  $('prediction-unit').textContent = unitText(target.unit);
  $('prediction-amount').textContent = amountText(y, target.unit);
  $('interval').textContent = interval ?
    `${100 * LEVEL} % interval: ${num(interval[0])} to ${num(interval[1])}` : 'This model gives no prediction interval.';
  $('interval').className = interval ? '' : 'muted';
  $('interval').dataset.value = interval ? JSON.stringify(interval) : '';
  $('waterfall').replaceChildren(explanation ? waterfall(explanation, row, interval) :
    el('p', {class: 'empty'}, 'This model cannot tell what each input adds.'));
  $('curl').textContent = `curl -s '${location.origin}${root}${verbPath('predict')}' \\\n  -d '${JSON.stringify({instances: [row]})}'`;
  $('answer').hidden = false;
  $('result-empty').hidden = true;
}

async function submit(event) {
  event.preventDefault();
  const wrong = fields.filter((field) => !checkField(field));
  $('form-error').hidden = true;
  if (wrong.length > 0) {
    wrong[0].input.focus();
    return;
  }
  $('go').disabled = true;
  try {
    const row = fields.map((field) => field.input.valueAsNumber);
    const [answer, explanation] = await Promise.all([predict(row), explain(row)]);
    showAnswer(row, answer, explanation);
  } catch (error) {
    $('form-error').textContent = `No prediction: ${error.message}`;
    $('form-error').hidden = false;
  } finally {
    $('go').disabled = false;
  }
}

/* ---- the loop ---- */

let lastSeen = null;

function showState(error) {
  $('status').dataset.state = error ? 'bad' : 'good';
  write($('status'), error ? 'not answering' : 'serving');
  $('trouble').hidden = !error;
  if (error)
    write($('trouble'), `The server does not answer (${error.message}). ` + (lastSeen === null ? '' :
      `What is shown is from ${clock(lastSeen)}. `) + 'Trying again every two seconds.');
}

async function loadCard() {
  card = JSON.parse(await ask('ui/model'));
  explainable = true;
  showCard();
  makeForm();
}

async function look() {
  if (card === null) await loadCard();
  const text = await ask('metrics');
  const now = Date.now() / 1000;
  let scrape = readScrape(text, card, now);
  if (scrape.artifacts.length > 0 && !scrape.artifacts.includes(card.sha256)) {
    await loadCard();
    scrape = readScrape(text, card, now);
  }
  const s = remember(scrape);
  showService(s, scrape);
  showQuality(s.live, scrape, now);
  showDrift(scrape);
  lastSeen = now;
}

let timer = null, looking = false;

async function poll() {
  clearTimeout(timer);
  if (document.hidden || looking) return;
  looking = true;
  try {
    await look();
    showState(null);
  } catch (error) {
    showState(error);
  }
  looking = false;
  timer = setTimeout(poll, POLL_MS);
}

$('metrics-link').href = root + 'metrics';
$('form').addEventListener('submit', submit);
$('reset').addEventListener('click', resetForm);
document.addEventListener('visibilitychange', poll);
makeCharts();
poll();
})();
