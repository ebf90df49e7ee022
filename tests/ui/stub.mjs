/* stub.mjs - a server with the page, and series made up so that every panel has something to show.
 *
 * One scrape is two seconds. Predictions are BASE + the sum of weight (x - typical) / (max - min), so that a
 * waterfall's parts are known; half the interval's width is 0.5.
 */
import {createServer} from 'node:http';
import {readFileSync} from 'node:fs';

const BOUNDS = [1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];
const FEATURES = [['MedInc', 0.5, 15, 3.53], ['HouseAge', 1, 52, 29], ['AveRooms', 0.89, 141.9, 5.23],
  ['AveBedrms', 0.33, 25.6, 1.05], ['Population', 3, 35682, 1166], ['AveOccup', 0.69, 1243.3, 2.82],
  ['Latitude', 32.55, 41.95, 34.26], ['Longitude', -124.35, -114.31, -118.5]];
const BASE = 2.07;
const WEIGHTS = [6, 0.9, 12, -4, -0.5, -60, -2.1, -1.4];

export function makeCard() {
  const figures = (rows, mae, rmse, r2) => ({rows, mae, rmse, r2});
  return {name: 'california-housing', version: '12', kind: 'kernel', sha256: 'a1'.repeat(32),
    target: {name: 'MedHouseVal', unit: '100000 USD'},
    features: FEATURES.map(([name, min, max, typical]) => ({name, min, max, typical,
      quantiles: Array.from({length: 32}, (_, i) => {
        const level = (i + 0.5) / 32;
        return level < 0.5 ? min + (typical - min) * (0.4 + 1.2 * level) : typical + (max - typical) * (level - 0.5) ** 4;
      })})),
    card: {rows: 16512, date: '2026-11-24', data_sha256: '5c'.repeat(32), penalty: 0.0173,
      leave_one_out: figures(16512, 0.2917, 0.4361, 0.8577), holdout: figures(4128, 0.2988, 0.4499, 0.8456),
      linear: figures(16512, 0.5291, 0.7209, 0.6113)},
    intervals: true};
}

/* Numbers in [0, 1) that are the same in every run. */
function randoms(seed) {
  return () => (seed = (seed * 48271) % 2147483647) / 2147483647;
}

export class Stub {
  scrapes = 0;
  liveFrom = 40;           // scrapes until true values have come back
  drift = true;
  card = makeCard();
  paths = [];
  #random = randoms(7);
  #requests = 0;
  #errors = 0;
  #counts = BOUNDS.map(() => 0);

  constructor() {
    this.server = createServer((request, response) => this.#answer(request, response));
  }

  async start() {
    await new Promise((done) => this.server.listen(0, '127.0.0.1', done));
    this.origin = `http://127.0.0.1:${this.server.address().port}`;
  }

  async stop() {
    this.server.closeAllConnections();
    await new Promise((done) => this.server.close(done));
  }

  predict(row) {
    return this.attributions(row).reduce((sum, [, x]) => sum + x, BASE);
  }

  attributions(row) {
    return this.card.features.map((f, j) => [f.name, WEIGHTS[j] * (row[j] - f.typical) / (f.max - f.min)]);
  }

  /* Two more seconds of traffic. */
  #advance() {
    const asked = Math.round(2 * (42 + 14 * Math.sin(this.scrapes / 21) + 9 * this.#random()));
    for (let i = 0; i < asked; i++) {
      const normal = this.#random() + this.#random() + this.#random() + this.#random() - 2;
      const seconds = 9e-5 * Math.exp(1.1 * normal) + (this.#random() < 0.02 ? 0.004 * this.#random() : 0);
      BOUNDS.forEach((bound, k) => { if (seconds <= bound) this.#counts[k]++; });
    }
    this.#requests += asked;
    this.#errors += this.#random() < 0.04 ? 1 : 0;
    this.scrapes++;
  }

  #metrics() {
    const {name, version, sha256, features} = this.card;
    const own = `model_name="${name}",version="${version}",user_id="user01",namespace="kubeflow-user01"`;
    const lines = [];
    const put = (metric, value, more = '') => lines.push(`${metric}{${own}${more}} ${value}`);
    put('model_info', 1, `,kind="kernel",sha256="${sha256}"`);
    put('model_prediction_total', this.#requests - this.#errors, ',status="success"');
    put('model_prediction_total', this.#errors, ',status="error"');
    put('model_prediction_rows_total', 3 * this.#requests);
    BOUNDS.forEach((bound, k) => put('model_prediction_latency_bucket', this.#counts[k], `,le="${bound}"`));
    put('model_prediction_latency_bucket', this.#requests, ',le="+Inf"');
    const n = this.scrapes - this.liveFrom, live = n >= 0, wave = 0.006 * Math.sin(n / 3);
    const mae = 0.31 + wave + Math.max(0, n - 60) * 0.0016, r2 = 0.838 - wave - Math.max(0, n - 60) * 0.0011;
    put('model_mae_score', live ? mae : 0.2988);
    put('model_r2_score', live ? r2 : 0.8456);
    put('model_rmse_score', live ? 1.45 * mae : 0.4499);
    put('model_quality_live', live ? 1 : 0);
    if (live) {
      put('model_bias_score', -0.8 * (mae - 0.3));
      put('model_window_rows', Math.min(2000, 200 + 12 * n));
      put('model_quality_last_feedback_timestamp_seconds', Date.now() / 1000 - 3);
      put('model_interval_coverage_ratio', 0.883, ',level="0.9"');
      put('model_expected_mae', 0.322);
    }
    if (this.drift) {
      const psi = [0.018, 0.024, 0.131, 0.009, 0.042, 0.374, 0.011, 0.016], ks = [0.031, 0.04, 0.118, 0.02, 0.061, 0.287, 0.026, 0.034];
      features.forEach((f, j) => {
        const feature = `,feature="${f.name}"`;
        put('model_feature_psi', psi[j % 8], feature);
        put('model_feature_ks', ks[j % 8], feature);
        put('model_feature_out_of_range_total', [0, 0, 3, 1, 0, 41, 0, 0][j % 8], feature);
      });
      put('model_prediction_psi', 0.083);
      put('model_prediction_ks', 0.094);
      put('model_drift_window_rows', 4096);
    }
    return lines.join('\n') + '\n';
  }

  async #answer(request, response) {
    let body = '';
    for await (const part of request) body += part;
    const path = decodeURIComponent(new URL(request.url, this.origin).pathname);
    this.paths.push(`${request.method} ${path}`);
    const send = (status, type, text) => response.writeHead(status, {'Content-Type': type}).end(text);
    const json = (status, value) => send(status, 'application/json', JSON.stringify(value));
    if (path === '/ui') {
      response.setHeader('Content-Security-Policy', readFileSync('build/ui/policy', 'utf8'));
      return send(200, 'text/html; charset=utf-8', readFileSync('build/ui/page.html'));
    }
    if (path === '/ui/model') return json(200, this.card);
    if (path === '/metrics') {
      this.#advance();
      return send(200, 'text/plain; version=0.0.4; charset=utf-8', this.#metrics());
    }
    const asked = body === '' ? null : JSON.parse(body);
    if (path === `/v1/models/${this.card.name}:predict`) {
      const predictions = asked.instances.map((row) => this.predict(row));
      const level = asked.parameters?.interval;
      return json(200, level === undefined ? {predictions} :
        {predictions, intervals: predictions.map((y) => [y - 0.5, y + 0.5])});
    }
    if (path === `/v1/models/${this.card.name}:explain`)
      return json(200, {explanations: asked.instances.map((row) => ({base: BASE, prediction: this.predict(row),
        attributions: Object.fromEntries(this.attributions(row))}))});
    return json(404, {detail: 'Not Found'});
  }
}
