// What a tool call says in words: one line for its head, its arguments and its result as fields.

/** Arguments that say what a call is about, the most telling first. */
const TELLING = ['command', 'pattern', 'query', 'url', 'path', 'description', 'prompt'];
export function summaryOf(params: string): string {
  const value = parsed(params);
  if (typeof value !== 'object' || value === null) return '';
  const args = value as Record<string, unknown>;
  const telling = TELLING.map((name) => args[name]).find((arg) => typeof arg === 'string' && arg !== '');
  const words = typeof telling === 'string' ? telling : Object.values(args).find((arg) => typeof arg === 'string');
  return typeof words === 'string' ? (words.split('\n', 1)[0] ?? '') : '';
}

export interface Field {
  /** Empty for a value that is no object. */
  name: string;
  text: string;
}

/** What a diff in the result shows better. */
const SHOWN_BY_DIFF = new Set(['old', 'new', 'content']);

/** Arguments, the most telling first. */
export function argumentsOf(params: string, result: readonly Field[]): Field[] {
  const hasDiff = result.some(({ name }) => name === 'diff');
  const rank = ({ name }: Field) => (TELLING.includes(name) ? TELLING.indexOf(name) : TELLING.length);
  return fieldsOf(params)
    .filter(({ name }) => !(hasDiff && SHOWN_BY_DIFF.has(name)))
    .sort((a, b) => rank(a) - rank(b));
}

/** The fields of a JSON object, texts of several lines as they are. */
function fieldsOf(json: string): Field[] {
  if (json.trim() === '') return [];
  const value = parsed(json);
  if (value === undefined) return [{ name: '', text: json }];
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return [{ name: '', text: textOf(value) }];
  return Object.entries(value)
    .filter(([, part]) => part !== null)
    .map(([name, part]) => ({ name, text: textOf(part) }));
}

/** Built-in tools answer `{ text, isError, truncated?, data?: { diff? } }`; anything else is shown field by field. */
export function resultOf(json: string): Field[] {
  const value = parsed(json);
  if (typeof value !== 'object' || value === null) return fieldsOf(json);
  const { text, truncated, bytes, data } = value as Record<string, unknown>;
  if (typeof text !== 'string') return fieldsOf(json);
  const fields: Field[] = text === '' ? [] : [{ name: '', text }];
  if (truncated === true) fields.push({ name: 'shortened', text: `the whole result has ${String(bytes)} bytes` });
  const { diff } = (data ?? {}) as Record<string, unknown>;
  if (typeof diff === 'string') fields.push({ name: 'diff', text: diff });
  return fields;
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value, null, 2);
}

/** `undefined` for what is no JSON text. */
function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
