/* The page in a real browser: before the real server, and before one whose series are made up. Values
 * are compared with the server's own answers; pictures are left in build/ui. A request that leaves the
 * server's origin, or a word of complaint in the console, fails the case it happens in. */
import assert from 'node:assert/strict';
import {spawn} from 'node:child_process';
import {Browser, waitFor} from './browser.mjs';
import {Stub} from './stub.mjs';

const PICTURES = 'build/ui';
const RIDGED = process.env.RIDGED || 'build/ridged';
const MODEL = process.env.MODEL || 'model/california-housing.json';

const ROW = [8.3252, 41, 6.984, 1.0238, 322, 2.5556, 37.88, -122.23];

/* Two seconds of the page pass in 40 ms, so that its charts have a past. */
const FAST = `{ const real = Date.now, start = real(), later = setTimeout;
  Date.now = () => start + (real() - start) * 50;
  window.setTimeout = (f, ms, ...more) => later(f, ms / 50, ...more); }`;

/* ---- the server ---- */

async function startRidged() {
  const server = spawn(RIDGED, ['--model_dir', MODEL, '--host', '127.0.0.1', '--http_port', '0', '--metrics_port', '0',
    '--workers', '1', '--drain_delay', '0'], {stdio: ['ignore', 'ignore', 'pipe']});
  let log = '', ended = false;
  server.stderr.setEncoding('utf8').on('data', (text) => { log += text; });
  const end = new Promise((done) => server.once('close', (code) => { ended = true; done(code); }));
  const port = await waitFor('ridged to be ready', () => {
    if (ended) throw new Error(`ridged ended: ${log}`);
    return /"ready".*"http_port":(\d+)/.exec(log)?.[1];
  });
  return {origin: `http://127.0.0.1:${port}`, stop: () => { server.kill('SIGTERM'); return end; }};
}

async function post(url, body) {
  const response = await fetch(url, {method: 'POST', body: JSON.stringify(body)});
  return {status: response.status, body: await response.json()};
}

/* ---- what every page has to keep ---- */

/* Nothing came from elsewhere; nothing was complained of but the answer 501 to what a model may not do. */
function assertQuiet(page, origin) {
  for (const url of page.requests)
    assert.ok(url.startsWith(origin + '/') || url.startsWith('data:'), `a request left the origin: ${url}`);
  const allowed = /status of 501 .*:explain/;
  assert.deepEqual(page.complaints.filter((text) => !allowed.test(text)), []);
}

/* Contrast of all text against what it lies on (WCAG 2: 4.5), least first. */
const CONTRAST = `(() => {
  const parse = (c) => (c.match(/[\\d.]+/g) || []).map(Number);
  const light = (c) => c.slice(0, 3).map((v) => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((s, v, i) => s + v * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (e) => { for (; e; e = e.parentElement) {
    const c = parse(getComputedStyle(e).backgroundColor); if (c.length === 3 || c[3] === 1) return c; } return [255, 255, 255]; };
  const found = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node; (node = walk.nextNode());) {
    const e = node.parentElement;
    if (!node.data.trim() || !e.checkVisibility() || e.closest(':disabled, script, style, noscript')) continue;
    const a = light(parse(getComputedStyle(e).color)), b = light(ground(e));
    found.push([(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), node.data.trim().slice(0, 40)]);
  }
  return found.sort((x, y) => x[0] - y[0]).slice(0, 3);
})()`;

async function assertReadable(page) {
  const [[least, text]] = await page.eval(CONTRAST);
  assert.ok(least >= 4.5, `contrast ${least.toFixed(2)} of "${text}"`);
  assert.deepEqual(await page.eval(`[...document.querySelectorAll('input[type=number]')].filter((i) => i.labels.length !== 1).map((i) => i.id)`), []);
  assert.equal(await page.eval('document.documentElement.scrollWidth <= innerWidth'), true, 'the page scrolls sideways');
  assert.deepEqual(await page.eval(`[...document.querySelectorAll('#drift, #inputs')].filter((e) => e.scrollWidth > e.clientWidth).map((e) => e.id)`), [], 'a table is cut');
}

const tile = (page, key, part = 'dd span') => page.text(`[data-key=${key}] ${part}`);
const tileNumber = async (page, key) => Number((await tile(page, key)).replaceAll(',', ''));
const ready = (page) => page.waitFor(`document.querySelector('#status').dataset.state === 'good' && !document.querySelector('#go').disabled`);

async function fillIn(page, row) {
  for (const [j, x] of row.entries()) await page.type(`#f${j}`, String(x));
}

async function submitAndWait(page) {
  await page.eval(`document.querySelector('#answer').hidden = true`);
  await page.eval(`document.querySelector('#f0').focus()`);
  await page.press('Enter', 13, '\r');
  await page.waitFor(`!document.querySelector('#answer').hidden`);
  return Number(await page.eval(`document.querySelector('#prediction').dataset.value`));
}

/* ---- before the real server ---- */

async function cardShowsWhatTheServerSays({browser, origin}) {
  const page = await browser.open(origin + '/ui');
  await ready(page);
  const card = await (await fetch(origin + '/ui/model')).json();
  assert.equal(await page.text('h1'), card.name);
  assert.equal(await page.text('#subtitle'), `version ${card.version} · ${card.kind} · predicts ${card.target.name}`);
  const facts = await page.text('#facts'), figures = await page.text('#figures'), inputs = await page.text('#inputs');
  for (const text of [card.card.rows.toLocaleString('en'), card.card.date, card.sha256.slice(0, 16),
    card.intervals ? 'available' : 'not available']) assert.ok(facts.includes(text), `no ${text} in ${facts}`);
  assert.ok(figures.includes(`Holdout\t${card.card.holdout.rows.toLocaleString('en')}\t${Number(card.card.holdout.mae.toFixed(4))}`), figures);
  assert.ok(figures.includes('Leave-one-out'));
  for (const feature of card.features) assert.ok(inputs.includes(feature.name));
  assert.equal(await page.eval(`document.querySelectorAll('.field').length`), card.features.length);
  assert.equal(await tileNumber(page, 'mae'), Number(card.card.holdout.mae.toFixed(4)));
  assert.equal(await tile(page, 'mae', '.note'), 'card');
  assertQuiet(page, origin);
  await page.close();
}

async function predictionIsTheServersOwn({browser, origin}) {
  const page = await browser.open(origin + '/ui');
  await ready(page);
  const card = await (await fetch(origin + '/ui/model')).json();
  const row = card.features.map((f, j) => Number((f.typical + (j % 2 ? -0.1 : 0.1) * (f.max - f.typical)).toPrecision(4)));
  await fillIn(page, row);
  const y = await submitAndWait(page);
  const answer = await post(`${origin}/v1/models/${card.name}:predict`, {instances: [row]});
  assert.equal(y, answer.body.predictions[0]);
  assert.ok(Math.abs(Number((await page.text('#prediction')).replace('−', '-')) - y) < 1e-3 * Math.abs(y));
  assert.ok((await page.text('#answer')).includes(card.target.name));
  const explained = await post(`${origin}/v1/models/${card.name}:explain`, {instances: [row]});
  if (explained.status === 501) {
    assert.ok((await page.text('#waterfall')).includes('cannot tell'));
  } else {
    const sum = Number(await page.eval(`document.querySelector('#waterfall table').dataset.sum`));
    assert.ok(Math.abs(sum - y) < 1e-9 * Math.max(1, Math.abs(y)), `${sum} is not ${y}`);
  }
  const interval = await page.eval(`document.querySelector('#interval').dataset.value`);
  const sure = await post(`${origin}/v1/models/${card.name}:predict`, {instances: [row], parameters: {interval: 0.9}});
  assert.deepEqual(interval === '' ? undefined : JSON.parse(interval), sure.body.intervals?.[0]);
  assertQuiet(page, origin);
  await page.close();
}

async function wrongInputIsNamedAndNotSent({browser, origin}) {
  const page = await browser.open(origin + '/ui');
  await ready(page);
  const card = await (await fetch(origin + '/ui/model')).json();
  await page.type('#f0', String(card.features[0].max * 2 + 1));
  assert.ok((await page.text('#f0-hint')).startsWith('outside'));
  await page.type('#f1', '');
  await page.eval(`document.querySelector('#f0').focus()`);
  await page.press('Enter', 13, '\r');
  await page.waitFor(`document.activeElement.id === 'f1'`);
  assert.equal(await page.text('#f1-hint'), 'expected a number');
  assert.equal(await page.eval(`document.querySelector('#f1').getAttribute('aria-invalid')`), 'true');
  assert.ok(!page.requests.some((url) => url.includes(':predict')));
  assertQuiet(page, origin);
  await page.close();
}

async function rateRisesUnderTraffic({browser, origin}) {
  const page = await browser.open(origin + '/ui');
  await ready(page);
  const card = await (await fetch(origin + '/ui/model')).json();
  const url = `${origin}/v1/models/${card.name}:predict`;
  const row = card.features.map((f) => f.typical);
  await waitFor('a rate', async () => Number.isFinite(await tileNumber(page, 'rate')));
  const before = await tileNumber(page, 'rate');
  for (let i = 0; i < 100; i++) assert.equal((await post(url, {instances: [row, row]})).status, 200);
  await waitFor('the rate to rise', async () => (await tileNumber(page, 'rate')) > before + 5);
  assert.match(await tile(page, 'p50'), /^(< )?[\d.]+ (µs|ms|s)$/);
  assert.match(await tile(page, 'errors'), /^0 %$/);
  assert.equal((await post(url, {instances: [['x']]})).status, 400);
  await waitFor('the error to show', async () => !/^(0 %|–)$/.test(await tile(page, 'errors')));
  assertQuiet(page, origin);
  await page.close();
}

async function looksRightEverywhere({browser, origin}) {
  const views = {light: {}, dark: {dark: true}, phone: {width: 360, height: 740, scale: 2}};
  for (const [name, view] of Object.entries(views)) {
    const page = await browser.open(origin + '/ui', {...view, script: FAST});
    await ready(page);
    await submitAndWait(page);
    await waitFor('a rate', async () => Number.isFinite(await tileNumber(page, 'rate')));
    await assertReadable(page);
    assertQuiet(page, origin);
    await page.screenshot(`${PICTURES}/server-${name}.png`);
    await page.close();
  }
}

/* Rows like those of training, but for the first input, which is at its upper quantiles; true values that are
 * off by 0.5 up and 0.1 down in turn. */
async function sendTrueValues(origin, card, rows) {
  let seed = 5;
  const draw = (list) => list[(seed = (seed * 48271) % 2147483647) % list.length];
  const url = `${origin}/v1/models/${card.name}`;
  for (let i = 0; i < rows; i++) {
    const row = card.features.map((f, j) => draw((f.quantiles ?? [f.min, f.typical, f.max]).slice(j === 0 ? -12 : 0)));
    const {body} = await post(`${url}:predict`, {instances: [row]});
    const told = await post(`${url}:feedback`, {instances: [row], targets: [body.predictions[0] + (i % 2 ? 0.5 : -0.1)]});
    assert.deepEqual(told, {status: 200, body: {accepted: 1, results: ['accepted'], predictions: body.predictions}});
  }
}

async function trueValuesMakeTheFiguresLive({browser, origin}) {
  const card = await (await fetch(origin + '/ui/model')).json();
  const views = {light: {}, dark: {dark: true}, phone: {width: 360, height: 740, scale: 2}};
  await sendTrueValues(origin, card, 600);
  for (const [name, view] of Object.entries(views)) {
    const page = await browser.open(origin + '/ui', {...view, script: FAST});
    await ready(page);
    await waitFor('live figures', async () => (await tile(page, 'mae', '.note')) === 'live');
    assert.equal(await tileNumber(page, 'mae'), 0.3);
    assert.equal(await tile(page, 'bias'), '−0.2');
    assert.ok((await page.text('#quality-note')).startsWith('from 600 true values sent back, last '), await page.text('#quality-note'));
    const known = card.features[0].quantiles !== null; // else there is nothing to compare with
    assert.match(await page.text('#drift-note'), known ? /^over [\d,]+ recent rows$/ : /^$/);
    const bad = await page.eval(`[...document.querySelectorAll('#drift tbody tr')].filter((r) => r.querySelector('[data-state=bad]')).map((r) => r.cells[0].innerText)`);
    assert.equal(bad[0], known ? card.features[0].name : undefined);
    assert.ok(bad.slice(1).every((input) => input === 'Prediction'), bad.join());
    await fillIn(page, ROW);
    await submitAndWait(page);
    await waitFor('a rate', async () => Number.isFinite(await tileNumber(page, 'rate')));
    await assertReadable(page);
    assertQuiet(page, origin);
    await page.screenshot(`${PICTURES}/live-${name}.png`);
    await page.close();
  }
}

async function policyStopsWhatThePageDoesNotNeed({browser, origin}) {
  const page = await browser.open(origin + '/ui');
  await ready(page);
  await page.eval(`window.stopped = []; addEventListener('securitypolicyviolation', (e) => stopped.push(e.effectiveDirective)); 0`);
  await page.eval(`fetch('http://127.0.0.2:9/').catch(() => 0)`);
  await page.eval(`{ const s = document.createElement('script'); s.textContent = 'window.injected = 1'; document.body.append(s); }`);
  await page.eval(`{ const i = document.createElement('img'); i.src = 'http://127.0.0.2:9/x.png'; document.body.append(i); }`);
  await page.waitFor('stopped.length >= 3');
  assert.deepEqual((await page.eval('stopped')).sort(), ['connect-src', 'img-src', 'script-src-elem']);
  assert.equal(await page.eval('typeof window.injected'), 'undefined');
  const head = await fetch(origin + '/ui');
  assert.equal(head.headers.get('content-type'), 'text/html; charset=utf-8');
  assert.equal(head.headers.get('cache-control'), 'no-cache');
  await page.close();
}

async function silenceOfTheServerIsSaid({browser, origin, stop}) {
  const page = await browser.open(origin + '/ui');
  await ready(page);
  assert.equal(await page.eval(`document.querySelector('#trouble').hidden`), true);
  assert.equal(await stop(), 0);
  await page.waitFor(`!document.querySelector('#trouble').hidden`);
  assert.equal(await page.text('#status'), 'not answering');
  assert.ok((await page.text('#trouble')).startsWith('The server does not answer'));
  await page.close();
}

/* ---- before the made-up series ---- */

async function hoverShowsTheValues(page) {
  const box = await page.eval(`document.querySelector('#latency-chart .u-over').getBoundingClientRect().toJSON()`);
  await page.send('Input.dispatchMouseEvent', {type: 'mouseMoved', x: box.x + box.width - 4, y: box.y + box.height / 2});
  await page.waitFor(`/p50 .* p95 .* p99 /.test(document.querySelector('#latency-chart .hover').textContent)`);
  await page.send('Input.dispatchMouseEvent', {type: 'mouseMoved', x: 1, y: 1});
}

async function panelsShowQualityAndDrift({browser, stub, origin}) {
  const views = {light: {}, dark: {dark: true}, phone: {width: 360, height: 740, scale: 2}};
  for (const [name, view] of Object.entries(views)) {
    stub.scrapes = 0;
    const page = await browser.open(origin + '/ui', {...view, script: FAST});
    await ready(page);
    assert.equal(await tile(page, 'mae', '.note'), 'card');
    await waitFor('a long past', () => stub.scrapes > 230);
    assert.equal(await tile(page, 'mae', '.note'), 'live');
    assert.ok((await tileNumber(page, 'mae')) > 0.45);
    assert.equal(await page.eval(`document.querySelector('[data-key=mae] dd').dataset.state`), 'bad');
    assert.equal(await tile(page, 'coverage'), '88.3 %');
    assert.ok((await page.text('#quality-note')).startsWith('from 2,000 true values'));
    const rate = await tileNumber(page, 'rate');
    assert.ok(rate > 0.1 && rate < 100, `rate ${rate}`);
    const row = await page.eval(`[...document.querySelectorAll('#drift tbody tr')].find((r) => r.innerText.startsWith('AveOccup')).innerText`);
    assert.match(row, /0\.374\s+0\.287\s*(41)?$/);
    assert.equal(await page.eval(`document.querySelectorAll('#drift [data-state=bad]').length`), 2);
    await hoverShowsTheValues(page);
    await fillIn(page, ROW);
    await submitAndWait(page);
    await assertReadable(page);
    assertQuiet(page, origin);
    await page.screenshot(`${PICTURES}/stub-${name}.png`);
    await page.close();
  }
}

async function waterfallAddsUp({browser, stub, origin}) {
  const page = await browser.open(origin + '/ui');
  await ready(page);
  await fillIn(page, ROW);
  const y = await submitAndWait(page);
  assert.equal(y, stub.predict(ROW));
  assert.ok(Math.abs(Number(await page.eval(`document.querySelector('#waterfall table').dataset.sum`)) - y) < 1e-12);
  const effects = await page.eval(`[...document.querySelectorAll('#waterfall tbody tr')].map((r) => Number(r.lastChild.innerText.replace('−', '-').replace('± ', '')))`);
  // Base, one per input greatest first, prediction, half the interval.
  assert.equal(effects.length, 1 + ROW.length + 2);
  const parts = effects.slice(1, 1 + ROW.length);
  assert.deepEqual(parts, [...parts].sort((a, b) => Math.abs(b) - Math.abs(a)));
  assert.ok(Math.abs(effects[0] + parts.reduce((a, b) => a + b) - y) < 0.01);
  // The bars touch: each begins where the one before ended.
  const edges = await page.eval(`[...document.querySelectorAll('#waterfall .bar i')].map((i) => i.getBoundingClientRect()).map((r) => [r.left, r.right])`);
  for (let i = 2; i <= ROW.length; i++) {
    const [a, b] = [edges[i - 1], edges[i]];
    assert.ok(a.some((x) => b.some((z) => Math.abs(x - z) < 2.5)), `bar ${i} does not touch the one before`);
  }
  assert.deepEqual(JSON.parse(await page.eval(`document.querySelector('#interval').dataset.value`)), [y - 0.5, y + 0.5]);
  assert.ok((await page.text('#waterfall')).includes('± 0.5'));
  assertQuiet(page, origin);
  await page.close();
}

async function emptySeriesSaySo({browser, stub, origin}) {
  stub.drift = false;
  const page = await browser.open(origin + '/ui');
  await ready(page);
  assert.ok((await page.text('#drift')).startsWith('No drift figures yet'));
  assertQuiet(page, origin);
  await page.close();
  stub.drift = true;
}

async function anotherArtifactIsTakenUpAndItsNamesStayText({browser, stub, origin}) {
  const page = await browser.open(origin + '/ui');
  await ready(page);
  await page.type('#f0', '7.5');
  const features = stub.card.features.slice(0, 3);
  features[1] = {...features[1], name: '<img src=x onerror=alert(1)>', quantiles: null};
  stub.card = {...stub.card, version: '13', sha256: 'b2'.repeat(32), features, intervals: false};
  await page.waitFor(`document.querySelector('#subtitle').innerText.startsWith('version 13')`);
  assert.equal(await page.eval(`document.querySelectorAll('.field').length`), 3);
  assert.equal(await page.eval(`document.querySelector('#f0').value`), '7.5');
  assert.equal(await page.text('label[for=f1]'), '<img src=x onerror=alert(1)>');
  assert.equal(await page.eval(`document.querySelectorAll('img').length`), 0);
  await submitAndWait(page);
  assert.ok((await page.text('#waterfall')).includes('<img src=x onerror=alert(1)>'));
  assert.equal(await page.text('#interval'), 'This model gives no prediction interval.');
  assertQuiet(page, origin);
  await page.close();
}

/* ---- the program ---- */

async function run(cases, world) {
  let failed = 0;
  for (const test of cases.filter((c) => !process.env.F || c.name.includes(process.env.F))) {
    try {
      await test(world);
      console.log(`[       OK ] ${test.name}`);
    } catch (error) {
      console.log(`[  FAILED  ] ${test.name}\n${error.stack}`);
      failed++;
    }
  }
  return failed;
}

const browser = new Browser(process.env.CHROMIUM || 'chromium');
const server = await startRidged(), stub = new Stub();
await stub.start();
let failed = 0;
try {
  failed += await run([cardShowsWhatTheServerSays, predictionIsTheServersOwn, wrongInputIsNamedAndNotSent,
    rateRisesUnderTraffic, looksRightEverywhere, trueValuesMakeTheFiguresLive, policyStopsWhatThePageDoesNotNeed, silenceOfTheServerIsSaid], {browser, ...server});
  failed += await run([panelsShowQualityAndDrift, waterfallAddsUp, emptySeriesSaySo,
    anotherArtifactIsTakenUpAndItsNamesStayText], {browser, stub, origin: stub.origin});
} finally {
  await browser.close();
  await stub.stop();
  await server.stop();
}
process.exit(failed > 0 ? 1 : 0);
