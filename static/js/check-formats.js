// Bytes and text in the one form that is signed: strict JSON (RFC 8785), strict base64, signed notes, proofs, trust.json.
// Everything here throws Malformed, with words for people. Nothing here believes anything.
export class Malformed extends Error {}

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

export const bytes = (text) => encoder.encode(text);

export function text(raw) {
  try {
    return decoder.decode(raw);
  } catch {
    throw new Malformed("This is not text in UTF-8.");
  }
}

export function concat(...parts) {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

export const same = (a, b) => a.length === b.length && a.every((byte, at) => byte === b[at]);
export const hex = (raw) => [...raw].map((byte) => byte.toString(16).padStart(2, "0")).join("");
export const b64 = (raw) => btoa(Array.from(raw, (byte) => String.fromCharCode(byte)).join(""));

// Padded base64 of which there is exactly one spelling.
export function unB64(written) {
  let raw;
  try {
    raw = Uint8Array.from(atob(written), (character) => character.charCodeAt(0));
  } catch {
    throw new Malformed("Its base64 is broken.");
  }
  if (b64(raw) !== written) throw new Malformed("Its base64 is not the one spelling that counts.");
  return raw;
}

export function unB64u(written) {
  if (typeof written !== "string" || !/^[A-Za-z0-9_-]*$/.test(written)) throw new Malformed("Its base64url is broken.");
  return unB64(written.replaceAll("-", "+").replaceAll("_", "/") + "=".repeat((4 - (written.length % 4)) % 4));
}

// --- JSON -----------------------------------------------------------------------------------------------------------

const MAX_DEPTH = 64;
const loneSurrogate = (written) => /[\uD800-\uDBFF](?![\uDC00-\uDFFF])|(?<![\uD800-\uDBFF])[\uDC00-\uDFFF]/.test(written);

// JCS, narrowed to what is signed: strings, booleans, integers, lists, objects. Own properties only.
export function canonical(value, depth = 0) {
  if (depth > MAX_DEPTH) throw new Malformed("It is nested too deeply.");
  if (typeof value === "string") {
    if (loneSurrogate(value)) throw new Malformed("It holds half a character.");
    return JSON.stringify(value);
  }
  if (typeof value === "boolean") return value ? "true" : "false";
  if (Number.isSafeInteger(value) && !Object.is(value, -0)) return String(value);
  if (Array.isArray(value)) return `[${value.map((item) => canonical(item, depth + 1)).join(",")}]`;
  if (value === null || typeof value !== "object") throw new Malformed("It holds a value that is never signed.");
  const fields = Object.keys(value).sort(); // by UTF-16 units, as RFC 8785 has it
  return `{${fields.map((name) => `${canonical(name)}:${canonical(value[name], depth + 1)}`).join(",")}}`;
}

// A document whose bytes are exactly those that encoding it again gives: nothing twice, nothing hidden, nothing loose.
export function exact(raw, what) {
  const value = parsed(raw, what);
  if (!same(bytes(canonical(value)), raw)) throw new Malformed(`${what} is not in its one exact form.`);
  return value;
}

// A document as people save it: white space is free, but nothing may stand in it twice.
export function loose(raw, what) {
  const value = parsed(raw, what);
  const names = [];
  const tokens = text(raw).matchAll(/"(?:[^"\\]|\\.)*"|[{}[\],:]/gsu);
  let before = "";
  for (const [token] of tokens) {
    if (token === "{") names.push(new Set());
    else if (token === "[") names.push(null);
    else if (token === "}" || token === "]") names.pop();
    else if (token[0] === '"' && names.at(-1) && (before === "{" || before === ",")) {
      const name = JSON.parse(token);
      if (names.at(-1).has(name)) throw new Malformed(`${what} says “${name}” twice.`);
      names.at(-1).add(name);
    }
    before = token;
  }
  return value;
}

function parsed(raw, what) {
  try {
    return JSON.parse(text(raw), (name, value) => {
      if (name === "__proto__") throw new Malformed("");
      return value;
    });
  } catch {
    throw new Malformed(`${what} is not JSON.`);
  }
}

export function fields(value, wanted, optional, what) {
  const names = value !== null && typeof value === "object" && !Array.isArray(value) ? Object.keys(value) : null;
  if (!names || wanted.some((name) => !names.includes(name)) || names.some((name) => !wanted.includes(name) && !optional.includes(name))) {
    throw new Malformed(`${what} does not have exactly the fields that it must have.`);
  }
  return value;
}

export function string(value, what) {
  if (typeof value !== "string" || !value) throw new Malformed(`${what} is missing.`);
  return value;
}

export function count(value, what) {
  if (!Number.isSafeInteger(value) || value < 0) throw new Malformed(`${what} is not a number from 0 on.`);
  return value;
}

// --- C2SP -----------------------------------------------------------------------------------------------------------

// signed-note: the text (with its last newline), and the lines below it.
export function note(written) {
  const split = written.lastIndexOf("\n\n");
  if (split < 0 || !written.endsWith("\n")) throw new Malformed("The checkpoint is not a signed note.");
  const said = written.slice(0, split + 1);
  if (/[\u0000-\u0009\u000B-\u001F]/.test(said)) throw new Malformed("The checkpoint holds control characters.");
  const lines = written.slice(split + 2, -1).split("\n");
  if (lines.length > 100) throw new Malformed("The checkpoint has too many signatures.");
  return {
    text: said,
    signatures: lines.map((line) => {
      const found = /^— (\S+) (\S+)$/u.exec(line);
      if (!found || found[1].includes("+")) throw new Malformed("A signature line of the checkpoint is malformed.");
      const raw = unB64(found[2]);
      if (raw.length < 5) throw new Malformed("A signature of the checkpoint is too short.");
      return { name: found[1], id: hex(raw.slice(0, 4)), signature: raw.slice(4) };
    }),
  };
}

const NUMBER = "(0|[1-9][0-9]{0,18})";

export function checkpoint(said) {
  const found = new RegExp(`^([^\\n]+)\\n${NUMBER}\\n([^\\n]+)\\n$`, "u").exec(said);
  if (!found) throw new Malformed("A checkpoint is exactly three lines: origin, size, root.");
  const root = unB64(found[3]);
  if (root.length !== 32) throw new Malformed("The root of the checkpoint is not 32 bytes.");
  return { origin: found[1], size: BigInt(found[2]), root };
}

export const PROOF = "c2sp.org/tlog-proof@v1";

// tlog-proof: index, hashes from leaf to root, and the signed checkpoint.
export function proof(written) {
  const split = written.indexOf("\n\n");
  const lines = written.slice(0, Math.max(split, 0)).split("\n");
  if (split < 0 || lines.shift() !== PROOF) throw new Malformed("This is not a C2SP tlog-proof.");
  if (lines[0]?.startsWith("extra ")) unB64(lines.shift().slice(6));
  const index = new RegExp(`^index ${NUMBER}$`).exec(lines.shift() ?? "");
  if (!index) throw new Malformed("The proof does not say which entry it is about.");
  if (lines.length > 63) throw new Malformed("The proof has too many hashes.");
  const hashes = lines.map(unB64);
  if (hashes.some((hash) => hash.length !== 32)) throw new Malformed("A hash of the proof is not 32 bytes.");
  const signed = note(written.slice(split + 2));
  return { index: BigInt(index[1]), hashes, note: signed, checkpoint: checkpoint(signed.text) };
}
