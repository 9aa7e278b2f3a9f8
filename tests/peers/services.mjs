// What one operation is called at each service: hosts of every kind ask for it by these names.

/** The names of one thing at each of the services. */
export const AT = {
  everything: {
    server: 'mcp-servers/everything',
    sum: ['get-sum', { a: 40, b: 2 }, /\b42\b/],
    prompt: [{ name: 'args-prompt', arguments: { city: 'Bern' } }, /Bern/],
    resource: ['demo://resource/dynamic/text/3', /^Resource 3/],
    progress: ['trigger-long-running-operation', { duration: 0.3, steps: 3 }, 3],
    hanging: ['trigger-long-running-operation', { duration: 6, steps: 60 }],
    sampling: ['trigger-sampling-request', { prompt: 'aloud' }],
    elicitation: ['trigger-elicitation-request', {}],
    update: ['toggle-subscriber-updates', {}, 'demo://resource/dynamic/text/1'],
  },
  python: {
    server: 'python-peer',
    sum: ['add', { a: 40, b: 2 }, /\b42\b/],
    prompt: [{ name: 'greet', arguments: { name: 'Bern' } }, /Bern/],
    resource: ['peer://square/3', /^9$/],
    progress: ['count', { steps: 3 }, 3],
    hanging: ['hang', { key: 'k1' }],
    sampling: ['think', { prompt: 'aloud' }],
    elicitation: ['introduce', { about: 'bridges' }],
    update: ['write', { text: 'news' }, 'peer://board'],
  },
};
/** The TypeScript service of modern_service.mjs has the names of the Python one. */
AT.typescript = { ...AT.python, server: 'typescript-peer' };
