/* browser.mjs - headless Chromium over its debugging pipe: pages that can be asked, typed into, seen.
 *
 * Every page keeps the addresses of all its requests and everything it complained of. Every wait is
 * bounded and fails with what was waited for.
 */
import {spawn} from 'node:child_process';
import {mkdtempSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';

const WAIT_MS = 30000;
const FLAGS = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
  '--disable-background-networking', '--disable-component-update', '--disable-sync', '--no-proxy-server',
  '--disable-dev-shm-usage', '--hide-scrollbars', '--remote-debugging-pipe'];

export const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

export async function waitFor(what, condition) {
  const end = Date.now() + WAIT_MS;
  for (;;) {
    const value = await condition();
    if (value) return value;
    if (Date.now() > end) throw new Error(`waited in vain for ${what}`);
    await sleep(50);
  }
}

class Page {
  requests = [];
  complaints = [];

  constructor(browser, session) {
    this.browser = browser;
    this.session = session;
  }

  send(method, params = {}) {
    return this.browser.send(method, params, this.session);
  }

  notice(method, params) {
    if (method === 'Network.requestWillBeSent') this.requests.push(params.request.url);
    if (method === 'Network.webSocketCreated') this.requests.push(params.url);
    if (method === 'Runtime.exceptionThrown')
      this.complaints.push(params.exceptionDetails.exception?.description || params.exceptionDetails.text);
    if (method === 'Runtime.consoleAPICalled' && ['error', 'warning', 'assert'].includes(params.type))
      this.complaints.push(params.args.map((a) => a.value ?? a.description).join(' '));
    if (method === 'Log.entryAdded' && ['error', 'warning'].includes(params.entry.level))
      this.complaints.push(`${params.entry.text} ${params.entry.url || ''}`);
  }

  /* Value of an expression in the page; promises are waited for. */
  async eval(expression) {
    const {result, exceptionDetails} = await this.send('Runtime.evaluate',
      {expression, awaitPromise: true, returnByValue: true});
    if (exceptionDetails) throw new Error(exceptionDetails.exception?.description || exceptionDetails.text);
    return result.value;
  }

  waitFor(expression) {
    return waitFor(expression, () => this.eval(expression));
  }

  text(selector) {
    return this.eval(`document.querySelector(${JSON.stringify(selector)}).innerText`);
  }

  async type(selector, text) {
    await this.eval(`{ const e = document.querySelector(${JSON.stringify(selector)}); e.focus(); e.select(); }`);
    if (text === '') return this.press('Backspace', 8);
    return this.send('Input.insertText', {text});
  }

  async press(key, code, text) {
    const event = {key, code: key, windowsVirtualKeyCode: code, text};
    await this.send('Input.dispatchKeyEvent', {type: 'keyDown', ...event});
    await this.send('Input.dispatchKeyEvent', {type: 'keyUp', ...event});
  }

  async screenshot(file) {
    const {cssContentSize: size} = await this.send('Page.getLayoutMetrics');
    const {data} = await this.send('Page.captureScreenshot', {captureBeyondViewport: true,
      clip: {x: 0, y: 0, width: size.width, height: size.height, scale: 1}});
    writeFileSync(file, Buffer.from(data, 'base64'));
  }

  async close() {
    await this.browser.send('Target.closeTarget', {targetId: this.target});
  }
}

export class Browser {
  #next = 1;
  #pending = new Map();
  #pages = new Map();
  #rest = '';

  constructor(program) {
    this.folder = mkdtempSync(join(tmpdir(), 'ui-test-'));
    this.process = spawn(program, [...FLAGS, `--user-data-dir=${this.folder}`, 'about:blank'],
      {stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe']});
    this.ended = new Promise((done) => this.process.once('exit', done));
    this.process.once('exit', () => {
      for (const {fail} of this.#pending.values()) fail(new Error('the browser ended'));
    });
    this.process.stdio[3].on('error', () => {});
    this.process.stdio[4].setEncoding('utf8').on('data', (data) => this.#read(data));
  }

  #read(data) {
    const messages = (this.#rest + data).split('\0');
    this.#rest = messages.pop();
    for (const message of messages.map((text) => JSON.parse(text))) {
      const waiting = this.#pending.get(message.id);
      this.#pending.delete(message.id);
      if (waiting && message.error) waiting.fail(new Error(`${waiting.method}: ${message.error.message}`));
      else if (waiting) waiting.done(message.result);
      else this.#pages.get(message.sessionId)?.notice(message.method, message.params);
    }
  }

  send(method, params = {}, sessionId = undefined) {
    const id = this.#next++;
    this.process.stdio[3].write(JSON.stringify({id, method, params, sessionId}) + '\0');
    return new Promise((done, fail) => this.#pending.set(id, {done, fail, method}));
  }

  /* view: {width, height, scale, dark, script}; script runs before the page's own. */
  async open(url, {width = 1280, height = 900, scale = 1, dark = false, script = ''} = {}) {
    const {targetId} = await this.send('Target.createTarget', {url: 'about:blank'});
    const {sessionId} = await this.send('Target.attachToTarget', {targetId, flatten: true});
    const page = new Page(this, sessionId);
    page.target = targetId;
    this.#pages.set(sessionId, page);
    for (const domain of ['Page', 'Runtime', 'Network', 'Log']) await page.send(`${domain}.enable`);
    await page.send('Emulation.setDeviceMetricsOverride',
      {width, height, deviceScaleFactor: scale, mobile: width < 600});
    await page.send('Emulation.setEmulatedMedia',
      {features: [{name: 'prefers-color-scheme', value: dark ? 'dark' : 'light'}]});
    if (script) await page.send('Page.addScriptToEvaluateOnNewDocument', {source: script});
    await page.send('Page.navigate', {url});
    await page.waitFor(`location.href !== 'about:blank' && document.readyState === 'complete'`);
    return page;
  }

  async close() {
    this.process.kill('SIGTERM');
    const late = setTimeout(() => this.process.kill('SIGKILL'), 5000);
    await this.ended;
    clearTimeout(late);
    rmSync(this.folder, {recursive: true, force: true, maxRetries: 5});
  }
}
