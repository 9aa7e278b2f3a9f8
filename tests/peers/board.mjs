// The sandbox's live board in headless Chromium: tasks of other processes appear without a reload, markup stays text, the
// keyboard reaches everything, and light and dark can be read. Writes screenshots where ASISTRY_PEERS_SHOTS names a folder.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { text } from 'node:stream/consumers';
import { check, finish, peer, within } from './support.mjs';

const { chromium } = peer('playwright-core');
const binary = process.argv[2];
const env = { HOME: process.env.HOME, ASISTRY_DATA_DIR: join(process.env.HOME, 'data') };

/** Starts the sandbox; resolves with what it prints. */
async function serve(listen) {
  const child = spawn(binary, ['sandbox', '--listen', listen, '--json'], { env, stdio: ['ignore', 'pipe', 'inherit'] });
  process.on('exit', () => child.kill('SIGKILL'));
  const [line] = await within(new Promise((done) => createInterface(child.stdout).once('line', (line) => done([line]))), 20_000, 'the sandbox to print its board');
  const stop = () => new Promise((done) => (child.once('exit', done), child.kill('SIGTERM')));
  return { ...JSON.parse(line), stop };
}

/** Calls a tool of the embedded sandbox, which is a process of its own on the same data. */
async function call(...args) {
  const child = spawn(binary, ['-p', 'sandbox', 'call', ...args, '--json'], { env, stdio: ['ignore', 'pipe', 'pipe'] });
  const closed = new Promise((done) => child.on('close', done));
  const [out, err] = await Promise.all([text(child.stdout), text(child.stderr)]);
  assert.equal(await closed, 0, err);
  return JSON.parse(out);
}

let sandbox = await serve('127.0.0.1:0');
const { origin, host } = new URL(sandbox.board);
const browser = await chromium.launch({ executablePath: process.env.ASISTRY_PEERS_CHROMIUM ?? '/usr/bin/chromium', args: ['--no-sandbox'] });

/** Opens the board; `told` is what went wrong in the page, `requests` what it asked for. */
async function open(options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(8000);
  const [told, requests] = [[], []];
  page.on('console', (message) => ['error', 'warning'].includes(message.type()) && told.push(message.text()));
  page.on('pageerror', (error) => told.push(String(error)));
  page.on('dialog', (dialog) => (told.push(`dialog ${dialog.message()}`), dialog.dismiss()));
  page.on('request', (request) => requests.push(request.url()));
  await page.goto(sandbox.board);
  await page.locator('#connection[data-state=live]').waitFor();
  return { page, told, requests, close: () => context.close() };
}

const MARKUP = '<script>document.title="broken"</script><img src=x onerror=alert(1)>';
const card = (page, title) => page.locator('.card', { has: page.getByRole('heading', { name: title, exact: true }) });
const focused = (page) => page.evaluate(() => {
  const { activeElement: at } = document;
  return at.dataset.place?.startsWith('column') ? `column ${at.firstChild.textContent}` : at.querySelector?.('h3')?.textContent ?? (at.id || at.className);
});
const shot = async (page, name) => process.env.ASISTRY_PEERS_SHOTS && page.screenshot({ path: join(process.env.ASISTRY_PEERS_SHOTS, `${name}.png`), fullPage: true });

const { page, told, requests, close } = await open({ colorScheme: 'light' });

await check('board: an empty board has five columns, and says how to begin', async () => {
  assert.deepEqual(await page.locator('.column h2 span:first-child').allTextContents(), ['Backlog', 'To do', 'In progress', 'Review', 'Done']);
  assert.match(await page.locator('#none').textContent(), /asistry -p sandbox call create_task/);
  assert.equal(await page.locator('.scroll').isVisible(), false);
  await shot(page, 'empty');
});

await check('board: a task of another process appears without a reload, with its tool and key', async () => {
  await page.evaluate(() => { window.isTheSamePage = true; });
  await call('create_task', 'title=Appears', 'priority=high', 'labels=bug', 'assignee=ada', 'due_date=2026-12-01');
  await card(page, 'Appears').waitFor();
  assert.equal(await page.evaluate(() => window.isTheSamePage), true);
  const row = page.locator('#calls tr').first();
  assert.deepEqual((await row.locator('td').allTextContents()).slice(1), ['create_task', 'Embedded', 'Appears']);
  assert.match(await row.locator('time').getAttribute('datetime'), /^\d{4}-.*Z$/);
  assert.match(await card(page, 'Appears').textContent(), /high for ada due 2026-12-01 #bug/);
  assert.match(await page.locator('#news').textContent(), /create_task: Appears, by Embedded/);
});

await check('board: a task moves to its new column, through the sandbox that serves the page', async () => {
  const { id } = (await call('search_tasks', 'query=Appears')).tasks[0];
  const { url, key } = sandbox.services.asistry;
  const child = spawn(binary, ['--url', url, 'call', 'update_task', `id=${id}`, 'status=review', 'title=Moved'], { env: { ...env, ASISTRY_API_KEY: key }, stdio: 'ignore' });
  assert.equal(await new Promise((done) => child.on('close', done)), 0);
  await page.locator('[data-status=review] .card', { hasText: 'Moved' }).waitFor();
  assert.equal(await page.locator('.card').count(), 1);
  assert.match(await page.locator('#calls tr').first().textContent(), /update_task.*Sandbox key \d.*Moved/);
});

await check('board: markup in titles and descriptions is shown as text', async () => {
  const title = MARKUP;
  await call('create_task', `title=${title}`, `description=${title}`, 'status=todo', `assignee=${title}`, 'labels=<b>bold</b>');
  const shown = card(page, title);
  await shown.waitFor();
  assert.equal(await shown.locator('h3').textContent(), title);
  assert.equal(await shown.locator('.description').textContent(), title);
  assert.equal(await page.locator('.card script, .card img, .card b').count(), 0);
  assert.equal(await page.evaluate(() => document.scripts.length), 1);
  assert.equal(await page.title(), 'Asistry sandbox: board');
});

await check('board: the keyboard reaches columns, cards, boards and calls, and shows where it is', async () => {
  for (const [title, status] of [['One', 'backlog'], ['Two', 'backlog'], ['Three', 'in_progress']]) await call('create_task', `title=${title}`, `status=${status}`);
  await card(page, 'Three').waitFor();
  await page.locator('body').click({ position: { x: 2, y: 2 } });
  const path = [];
  const press = async (key) => (await page.keyboard.press(key), path.push(`${key}: ${await focused(page)}`));
  const product = await page.locator('[role=tab]').first().getAttribute('id');
  for (const key of ['Tab', 'Tab', 'Tab', 'ArrowDown', 'ArrowDown', 'ArrowDown', 'ArrowRight', 'ArrowUp', 'ArrowLeft', 'End', 'Home', 'ArrowLeft']) await press(key);
  assert.deepEqual(path, [
    'Tab: skip', `Tab: ${product}`, 'Tab: column Backlog', 'ArrowDown: Two', 'ArrowDown: One', 'ArrowDown: One', `ArrowRight: ${MARKUP}`,
    'ArrowUp: column To do', 'ArrowLeft: column Backlog', 'End: One', 'Home: column Backlog', 'ArrowLeft: column Backlog',
  ]);
  await press('ArrowDown');
  const outline = await page.evaluate(() => getComputedStyle(document.activeElement).outline);
  assert.match(outline, /solid 3px|3px solid/);
  await shot(page, 'keyboard');
  await press('Tab');
  assert.match(path.at(-1), /scroll/);
});

await check('board: the focus stays on its card while tasks come and go', async () => {
  await card(page, 'One').focus();
  await call('create_task', 'title=Before it');
  await card(page, 'Before it').waitFor();
  assert.equal(await focused(page), 'One');
  const { id } = (await call('search_tasks', 'query=One')).tasks.find(({ title }) => title === 'One');
  await call('update_task', `id=${id}`, 'status=done');
  await page.locator('[data-status=done] .card', { hasText: 'One' }).waitFor();
  assert.equal(await focused(page), 'One');
});

await check('board: arrow keys choose another board, and a call leads to its task', async () => {
  const tabs = page.getByRole('tab');
  assert.deepEqual(await tabs.evaluateAll((all) => all.map((tab) => tab.textContent.replace(/\d+/, 'n'))), ['Product (n)', 'Marketing (n)', 'Operations (n)']);
  await tabs.first().focus();
  await page.keyboard.press('ArrowRight');
  assert.equal(await page.getByRole('tab', { selected: true }).textContent(), 'Marketing (0)');
  assert.equal(await page.locator('.card').count(), 0);
  await page.locator('#calls button', { hasText: 'Moved' }).first().click();
  assert.equal(await focused(page), 'Moved');
  assert.match(await page.getByRole('tab', { selected: true }).textContent(), /^Product/);
});

await check('board: columns and cards have names and roles', async () => {
  const panel = page.getByRole('tabpanel', { name: /^Product/ });
  const column = panel.getByRole('region', { name: /^In progress, 1 task$/ });
  assert.equal(await column.getByRole('listitem', { name: 'Three' }).count(), 1);
  assert.equal(await page.getByRole('table').getByRole('columnheader').count(), 4);
  assert.equal(await page.getByRole('status').textContent(), 'Live');
});

await check('board: the policy forbids what is inline and what is elsewhere', async () => {
  const ran = await page.evaluate(async (elsewhere) => {
    const script = document.createElement('script');
    try { script.textContent = 'window.ran = true'; document.head.append(script); } catch { /* Trusted types refuse it earlier. */ }
    const left = await fetch(elsewhere, { mode: 'no-cors' }).then(() => 'left', () => 'kept in');
    document.body.setAttribute('style', 'color: rgb(1, 2, 3)');
    return [window.ran ?? 'not run', left, getComputedStyle(document.body).color === 'rgb(1, 2, 3)' ? 'styled' : 'not styled'];
  }, `http://localhost:${host.split(':')[1]}/`);
  assert.deepEqual(ran, ['not run', 'kept in', 'not styled']);
  assert.ok(told.splice(0).every((line) => /policy|TrustedScript|trusted/i.test(line)));
});

/** The lowest contrast of a text with its background, as WCAG 2 defines it, with the text. */
const lowestContrast = (page) => page.evaluate(() => {
  const parts = (color) => color.match(/[\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4)).reduce((sum, c, at) => sum + c * [0.2126, 0.7152, 0.0722][at], 0);
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const color = parts(getComputedStyle(at).backgroundColor);
      if (color.length === 3 || color[3] === 1) return color;
    }
    return [255, 255, 255];
  };
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let lowest = { contrast: 21 };
  while (texts.nextNode()) {
    const { parentElement: element, textContent } = texts.currentNode;
    if (!textContent.trim() || !element.checkVisibility() || element.closest('noscript')) continue;
    const [a, b] = [light(parts(getComputedStyle(element).color)), light(behind(element))].sort((x, y) => y - x);
    const contrast = (a + 0.05) / (b + 0.05);
    if (contrast < lowest.contrast) lowest = { contrast, text: textContent };
  }
  return lowest;
});

for (const colorScheme of ['light', 'dark']) {
  await check(`board: it can be read in ${colorScheme}`, async () => {
    for (const priority of ['low', 'medium', 'high', 'urgent']) await call('create_task', `title=Is ${priority} in ${colorScheme}`, `priority=${priority}`, 'description=More about it', 'status=in_progress');
    const { page, told, close } = await open({ colorScheme, reducedMotion: 'reduce' });
    await card(page, `Is urgent in ${colorScheme}`).waitFor();
    const [r] = (await page.evaluate(() => getComputedStyle(document.body).backgroundColor)).match(/\d+/g);
    assert.ok(colorScheme === 'light' ? r > 200 : r < 60, r);
    const { contrast, text } = await lowestContrast(page);
    assert.ok(contrast >= 4.5, `${contrast}: ${text}`);
    await card(page, 'Is high in light').focus();
    await shot(page, colorScheme);
    await page.setViewportSize({ width: 400, height: 800 });
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), 'wider than a phone');
    await shot(page, `${colorScheme}-narrow`);
    assert.deepEqual(told, []);
    await close();
  });
}

await check('board: it says when the sandbox is gone, and goes on when it is back', async () => {
  await sandbox.stop();
  await page.locator('#connection[data-state=lost]').waitFor();
  await shot(page, 'lost');
  sandbox = await serve(host);
  await page.locator('#connection[data-state=live]').waitFor();
  await call('create_task', 'title=After the restart');
  await card(page, 'After the restart').waitFor();
  assert.equal(await page.evaluate(() => window.isTheSamePage), true);
}, 30_000);

await check('board: the page asked for nothing elsewhere, and nothing went wrong in it', async () => {
  const elsewhere = requests.filter((url) => !url.startsWith(`${origin}/`) && !url.startsWith('http://localhost:'));
  assert.deepEqual(elsewhere, []);
  const expected = /ERR_CONNECTION_REFUSED|ERR_INCOMPLETE_CHUNKED_ENCODING|ERR_EMPTY_RESPONSE|ERR_CONNECTION_RESET/;
  assert.deepEqual(told.filter((line) => !expected.test(line)), []);
});

await close();
await browser.close();
await sandbox.stop();
finish();
