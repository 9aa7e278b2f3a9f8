// Searches outputs and files for secrets, whole and in parts, in the encodings in which they could appear.

function forms(secret) {
  const escaped = [...secret].map((c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`).join('');
  const base64 = [0, 1, 2].map((shift) => Buffer.from(' '.repeat(shift) + secret).toString('base64').slice(shift ? 4 : 0).replace(/.{0,3}=*$/, ''));
  return [secret, encodeURIComponent(secret), escaped, ...base64, ...base64.map((form) => form.replaceAll('+', '-').replaceAll('/', '_'))];
}

/** Each part of 20 characters at the ends and in the middle of a secret's sections. */
const sections = (secret) => secret.split('.').flatMap((text) => [text, text.slice(0, 20), text.slice(-20), text.slice(text.length / 2 - 10).slice(0, 20)]).filter((part) => part.length >= 20);

/** Tells which of `places`, as [name, content], hold a secret or what looks like a private key. */
export function held(secrets, places) {
  const parts = secrets.flatMap(sections);
  // Parts common to many tokens, such as the header of a JWT, are not secret.
  const times = new Map();
  for (const part of parts) times.set(part, (times.get(part) ?? 0) + 1);
  const wanted = [...new Set([...secrets, ...parts.filter((part) => times.get(part) <= 3)].flatMap(forms))];
  const found = [];
  for (const [name, content] of places) {
    for (const form of wanted) if (content.includes(form)) found.push(`${name} holds ${form.slice(0, 6)}… (${form.length} characters)`);
    if (/PRIVATE KEY-----\s|"d":\s*"/.test(content)) found.push(`${name} holds what looks like a private key`);
  }
  return found;
}
