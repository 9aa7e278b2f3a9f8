// The live board: draws each snapshot that the sandbox sends. Texts become text nodes only, never markup.

const at = (id) => document.getElementById(id);
/** The chosen board, the place in it that Tab reaches, the last call that was announced, and whether all cards are new. */
const shown = { board: null, place: null, call: null, isFirst: true };
/** Cards that are on the page, by the ids of their tasks. */
const cards = new Map();
let snapshot = null;

/** Makes an element with attributes and children; texts among the children stay texts. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** Replaces the children only if they differ, so that focus, selection and scrolling stay. */
function place(parent, children) {
  const same = parent.children.length === children.length && children.every((child, at) => parent.children[at] === child);
  if (!same) parent.replaceChildren(...children);
}

// ---- drawing ----

function draw() {
  const focused = document.activeElement?.dataset?.place;
  at('workspace').textContent = snapshot.workspace;
  const board = snapshot.boards.find(({ id }) => id === shown.board) ?? snapshot.boards[0];
  shown.board = board?.id ?? null;
  drawTabs();
  drawColumns(board?.columns ?? []);
  drawCalls();
  choosePlace();
  shown.isFirst = false;
  const again = focused && places().find(({ dataset }) => dataset.place === focused);
  if (again && again !== document.activeElement) again.focus({ preventScroll: true });
}

function drawTabs() {
  const tabs = snapshot.boards.map(({ id, name, columns }) => {
    const tab = at(`tab-${id}`) ?? make('button', { id: `tab-${id}`, type: 'button', role: 'tab', 'aria-controls': 'columns' });
    const count = columns.reduce((sum, column) => sum + column.count, 0);
    const text = `${name} (${count})`;
    if (tab.textContent !== text) tab.textContent = text;
    tab.setAttribute('aria-selected', String(id === shown.board));
    tab.tabIndex = id === shown.board ? 0 : -1;
    tab.onclick = () => choose(id);
    return tab;
  });
  place(at('boards'), tabs);
  if (shown.board) at('columns').setAttribute('aria-labelledby', `tab-${shown.board}`);
}

function drawColumns(columns) {
  const present = new Set(columns.flatMap(({ tasks }) => tasks.map(({ id }) => id)));
  const drawn = columns.map(drawColumn);
  for (const id of [...cards.keys()]) if (!present.has(id)) cards.delete(id);
  place(at('columns'), drawn);
}

function drawColumn({ id, name, status, count, tasks }) {
  const title = `column-${id}`;
  const column = document.querySelector(`[data-column="${CSS.escape(id)}"]`) ?? make(
    'section',
    { class: 'column', 'data-column': id, 'data-status': status, 'aria-labelledby': title },
    make('h2', { id: title, 'data-place': `column ${id}`, tabindex: '-1' }, make('span'), make('span', { class: 'count' })),
    make('ul', { 'aria-labelledby': title }),
    make('p', { class: 'note more' }),
  );
  const [heading, list, more] = column.children;
  heading.firstChild.textContent = name;
  heading.lastChild.textContent = count;
  heading.setAttribute('aria-label', `${name}, ${count} ${count === 1 ? 'task' : 'tasks'}`);
  place(list, tasks.map(drawCard));
  more.hidden = count === tasks.length;
  more.textContent = `and ${count - tasks.length} older`;
  return column;
}

function drawCard(task) {
  const text = JSON.stringify(task);
  const known = cards.get(task.id);
  if (known?.text === text) return known.card;
  const card = known?.card ?? make('li', {
    class: 'card', tabindex: '-1', 'data-place': `task ${task.id}`, 'data-task': task.id,
    'aria-labelledby': `title-${task.id}`, 'aria-describedby': `about-${task.id}`,
  });
  const marks = [make('span', { 'data-priority': task.priority }, task.priority)];
  if (task.assignee) marks.push(make('span', {}, `for ${task.assignee}`));
  if (task.due_date) marks.push(make('span', {}, `due ${task.due_date}`));
  for (const label of task.labels) marks.push(make('span', {}, `#${label}`));
  const about = make('div', { id: `about-${task.id}` });
  if (task.description) about.append(make('p', { class: 'description' }, task.description));
  about.append(make('p', { class: 'marks' }, ...marks.flatMap((mark) => [mark, ' '])));
  card.replaceChildren(make('h3', { id: `title-${task.id}` }, task.title), about);
  cards.set(task.id, { card, text });
  if (!shown.isFirst) flash(card);
  return card;
}

/** Marks what is new for a moment. */
function flash(element) {
  element.classList.remove('new');
  requestAnimationFrame(() => element.classList.add('new'));
  setTimeout(() => element.classList.remove('new'), 4000);
}

function drawCalls() {
  const { calls } = snapshot;
  at('none').hidden = calls.length > 0;
  at('recent').querySelector('.scroll').hidden = calls.length === 0;
  const rows = calls.map((call) => {
    const id = `call-${call.id}`;
    const text = JSON.stringify(call);
    const row = at(id) ?? make('tr', { id });
    if (row.dataset.text === text) return row;
    row.dataset.text = text;
    const time = make('time', { datetime: call.at }, new Date(call.at).toLocaleTimeString());
    const task = make('button', { type: 'button' }, call.title ?? call.task);
    task.onclick = () => show(call.task);
    row.replaceChildren(...[time, call.tool, call.key, task].map((cell) => make('td', {}, cell)));
    return row;
  });
  place(at('calls'), rows);
  const [newest] = calls;
  if (shown.call !== null && newest && newest.id !== shown.call) {
    at('news').textContent = `${newest.tool}: ${newest.title ?? newest.task}, by ${newest.key}`;
  }
  shown.call = newest?.id ?? 0;
}

// ---- the keyboard ----

/** The places of a column, from its heading down. */
const placesOf = (column) => [...column.querySelectorAll('[data-place]')];
const places = () => [...document.querySelectorAll('#columns [data-place]')];

/** Makes one place of the columns the one that Tab reaches. */
function choosePlace(wanted = shown.place) {
  const all = places();
  const chosen = all.find(({ dataset }) => dataset.place === wanted) ?? all[0];
  for (const place of all) place.tabIndex = place === chosen ? 0 : -1;
  shown.place = chosen?.dataset.place ?? null;
  return chosen;
}

function go(place) {
  if (!place) return;
  choosePlace(place.dataset.place);
  place.focus();
}

at('columns').addEventListener('keydown', (event) => {
  const place = event.target.closest?.('[data-place]') ?? document.querySelector('#columns [tabindex="0"]');
  if (!place || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
  const columns = [...at('columns').children];
  const column = columns.findIndex((column) => column.contains(place));
  const here = placesOf(columns[column]);
  const row = here.indexOf(place);
  const beside = (step) => {
    const next = columns[column + step];
    return next && (placesOf(next)[row] ?? placesOf(next).at(-1));
  };
  const moves = {
    ArrowUp: () => here[row - 1],
    ArrowDown: () => here[row + 1],
    ArrowLeft: () => beside(-1),
    ArrowRight: () => beside(1),
    Home: () => here[0],
    End: () => here.at(-1),
  };
  if (!Object.hasOwn(moves, event.key)) return;
  event.preventDefault();
  go(moves[event.key]());
});
at('columns').addEventListener('focusin', ({ target }) => {
  const place = target.closest('[data-place]');
  if (place) choosePlace(place.dataset.place);
});

at('boards').addEventListener('keydown', (event) => {
  const ids = snapshot?.boards.map(({ id }) => id) ?? [];
  const here = ids.indexOf(shown.board);
  const to = { ArrowLeft: here - 1, ArrowRight: here + 1, Home: 0, End: ids.length - 1 }[event.key];
  if (to === undefined || ids.length === 0) return;
  event.preventDefault();
  choose(ids[(to + ids.length) % ids.length]);
  at(`tab-${shown.board}`).focus();
});

function choose(board) {
  shown.board = board;
  shown.isFirst = true;
  draw();
}

/** Goes to the card of a task, on whichever board it is. */
function show(task) {
  const board = snapshot.boards.find(({ columns }) => columns.some(({ tasks }) => tasks.some(({ id }) => id === task)));
  if (!board) return;
  if (board.id !== shown.board) choose(board.id);
  go(cards.get(task)?.card);
}

// ---- the stream ----

function say(state, text) {
  at('connection').dataset.state = state;
  if (at('connection').textContent !== text) at('connection').textContent = text;
}

function listen() {
  const events = new EventSource('/board/events');
  events.addEventListener('board', ({ data }) => {
    snapshot = JSON.parse(data);
    draw();
    say('live', 'Live');
  });
  events.onerror = () => {
    say('lost', 'Not connected to the sandbox; trying again');
    // A refusal ends an EventSource; a broken connection doesn't.
    if (events.readyState !== EventSource.CLOSED) return;
    events.close();
    setTimeout(listen, 2000);
  };
}

listen();
