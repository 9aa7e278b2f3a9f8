// Sample arguments for every tool of server-everything and of the sandbox: each argument of a tool is in one sample at least.
// `fails`: the exit code and what is said; `task`: what is printed at the end of a task, typed in one form only; `holds`: whether a result of the sandbox is the effect of what was given.

const TRICKY = ' two\nlines, a="b" \'c\' $HOME `x` \\n ; äöü 🦀 \n';

export const EVERYTHING = {
  echo: [{ given: { message: TRICKY } }, { given: { message: '@file' } }, { given: { message: '--json' } }],
  'get-annotated-message': [{ given: { messageType: 'success', includeImage: true } }, { given: { messageType: 'error', includeImage: false } }],
  'get-env': [{ given: {} }],
  'get-resource-links': [{ given: { count: 2 } }, { given: {} }],
  'get-resource-reference': [{ given: { resourceType: 'Blob', resourceId: 7 } }, { given: { resourceType: 'Text' } }],
  'get-structured-content': [{ given: { location: 'New York' } }],
  'get-sum': [{ given: { a: -1.5, b: 41 } }, { given: { a: 0, b: 1e3 } }],
  'get-tiny-image': [{ given: {} }],
  'gzip-file-as-resource': [{ given: { name: 'a.gz', data: 'data:text/plain;base64,aGVsbG8=', outputType: 'resource' } }],
  'toggle-simulated-logging': [{ given: {} }],
  'toggle-subscriber-updates': [{ given: {} }],
  'trigger-long-running-operation': [{ given: { duration: 0.1, steps: 2 } }],
  // It runs as a task only (`taskSupport: required`), which takes four seconds.
  'simulate-research-query': [{ given: { topic: 'bridges', ambiguous: true }, task: /^# Research Report: bridges[^]*Stage 4: Generating report/ }],
};

/** Listed to clients only that can be asked, have roots or a model. */
export const HIDDEN = ['get-roots-list', 'trigger-elicitation-request', 'trigger-sampling-request', 'trigger-url-elicitation'];

/** All that was given is in the task, labels in lower case. */
const isIn = (task, given) => Object.entries(given).every(([name, value]) => JSON.stringify(task[name]).toLowerCase() === JSON.stringify(value).toLowerCase());
const titles = (...wanted) => ({ tasks }) => JSON.stringify(tasks.map(({ title }) => title)) === JSON.stringify(wanted);
const FULL = { description: TRICKY, status: 'in_progress', assignee: '@ada', priority: 'urgent', due_date: '2026-12-01', labels: ['Shop', '@home', 'a,b'] };

export const SANDBOX = {
  create_task: [
    { given: { title: 'Buy milk', ...FULL }, holds: isIn },
    { given: { title: '5', labels: ['one'] }, holds: isIn },
    { given: { title: 'x', priority: 'hihg' }, fails: { code: 2, says: /priority must be one of/ } },
  ],
  get_task: [{ given: { id: 'FIRST' }, holds: ({ title }) => title === 'Buy milk' }, { given: { id: 'nobody' }, fails: { code: 1, says: /UUID/ } }],
  get_workspace_info: [{ given: {}, holds: ({ tasks_by_status: { todo } }) => todo === 3 }],
  list_projects: [{ given: { limit: 1 }, holds: ({ projects }) => projects.length === 1 }, { given: {}, holds: ({ projects }) => projects.length > 0 }],
  list_tasks: [
    { given: { status: 'todo', assignee: 'ada', limit: 2 }, holds: titles('Read', '@Buy bread') },
    { given: { status: 'done' }, holds: titles() },
    { given: { limit: 101 }, fails: { code: 2, says: /limit must be at most 100/ } },
  ],
  search_tasks: [
    { given: { query: '@BUY', status: 'todo', assignee: 'ada', limit: 5 }, holds: titles('@Buy bread') },
    { given: { query: '=' }, holds: titles() },
  ],
  update_task: [{ given: { id: 'FIRST', title: 'Buy oat milk', ...FULL }, holds: isIn }],
};
