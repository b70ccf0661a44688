// What is computed: SHA-256 and Ed25519 by WebCrypto, RFC 6962 trees, verifier keys, DSSE. Strict: what libsodium refuses
// is refused here too, because browsers are not all as strict.
import { bytes, canonical, concat, count, exact, fields, hex, loose, Malformed, same, string, unB64, unB64u } from "./check-formats.js";

export const PAYLOAD_TYPE = "application/vnd.imprimatur.entry+json";
const ED25519 = 1;
const COSIGNATURE = 4;
const P = 2n ** 255n - 19n;
const L = 2n ** 252n + 27742317777372353535851937790883648493n;
const EIGHTH = 0x05fc536d880238b13933c6d305acdfd5f098eff289f4c345b027b2c28f95e826n;
const SMALL = new Set([0n, 1n, P - 1n, EIGHTH, P - EIGHTH]); // the y of every point of small order

const little = (raw) => raw.reduceRight((sum, byte) => (sum << 8n) | BigInt(byte), 0n);

// A point in its one spelling that is of large order.
function sound(point) {
  const y = little(point) & (2n ** 255n - 1n);
  return point.length === 32 && y < P && !SMALL.has(y);
}

export async function sha256(...parts) {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", concat(...parts)));
}

export async function signed(key, message, signature) {
  if (signature.length !== 64 || !sound(key) || !sound(signature.slice(0, 32)) || little(signature.slice(32)) >= L) return false;
  try {
    const imported = await crypto.subtle.importKey("raw", key, { name: "Ed25519" }, false, ["verify"]);
    return await crypto.subtle.verify({ name: "Ed25519" }, imported, signature, message);
  } catch {
    return false;
  }
}

const unHex = (written) => Uint8Array.from(written.match(/../g) ?? [], (pair) => parseInt(pair, 16));

// Whether this browser does Ed25519, and says no where it should: RFC 8032, 7.1, test 1. Returns what is missing, or "".
export async function missing() {
  if (!globalThis.crypto?.subtle) return "This page is not on a secure address, so the browser lends it no cryptography. Open it over https or on localhost.";
  const key = unHex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
  const good = unHex(
    "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
  );
  const nothing = new Uint8Array();
  if (!(await signed(key, nothing, good))) return "This browser cannot verify Ed25519 signatures, which is what the log is signed with. A newer one can, and so can the command line.";
  if (await signed(key, bytes("x"), good)) return "This browser says that a wrong signature is right. Do not use it for this.";
  return "";
}

// --- RFC 6962 -------------------------------------------------------------------------------------------------------

export const leafHash = (raw) => sha256(Uint8Array.of(0), raw);
const nodeHash = (left, right) => sha256(Uint8Array.of(1), left, right);

// RFC 9162, 2.1.3.2: whether the leaf is number `index` of the tree of `size` leaves with this root.
export async function included(leaf, index, size, hashes, root) {
  if (index >= size) return false;
  let [at, last, computed] = [index, size - 1n, leaf];
  for (const sibling of hashes) {
    if (last === 0n) return false;
    if (at & 1n || at === last) {
      computed = await nodeHash(sibling, computed);
      while (at && !(at & 1n)) [at, last] = [at >> 1n, last >> 1n];
    } else computed = await nodeHash(computed, sibling);
    [at, last] = [at >> 1n, last >> 1n];
  }
  return last === 0n && same(computed, root);
}

// --- keys -----------------------------------------------------------------------------------------------------------

export async function vkey(written) {
  const found = /^([^+\s]+)\+([0-9a-f]{8})\+(.+)$/u.exec(string(written, "A verifier key"));
  if (!found) throw new Malformed("A verifier key looks like name+id+base64.");
  const raw = unB64(found[3]);
  const [type, key] = [raw[0], raw.slice(1)];
  if ((type !== ED25519 && type !== COSIGNATURE) || !sound(key)) throw new Malformed(`The verifier key ${found[1]} is of a kind that is not known here.`);
  const id = hex((await sha256(bytes(`${found[1]}\n`), raw)).slice(0, 4));
  if (id !== found[2]) throw new Malformed(`The id of the verifier key ${found[1]} does not belong to it.`);
  return { name: found[1], id, type, key };
}

const short = (raw) => raw.slice(0, 8).reduce((sum, byte) => (sum << 8n) | BigInt(byte), 0n);

// Whether one of these keys signed the note: "good", "none" (no line of theirs), or "bad".
export async function notedBy(note, key) {
  const lines = note.signatures.filter((line) => line.name === key.name && line.id === key.id);
  if (!lines.length) return "none";
  for (const { signature } of lines) {
    const plain = key.type === ED25519;
    if (!plain && (signature.length !== 72 || short(signature) >= 2n ** 63n)) return "bad";
    const message = plain ? note.text : `cosignature/v1\ntime ${short(signature)}\n${note.text}`;
    if (!(await signed(key.key, bytes(message), plain ? signature : signature.slice(8)))) return "bad";
  }
  return "good";
}

export async function trust(raw) {
  const said = fields(loose(raw, "trust.json"), ["realm"], ["log", "decision", "people", "policy", "witness", "origins", "services"], "trust.json");
  const list = (value, what) => {
    if (!Array.isArray(value) || !value.length) throw new Malformed(`trust.json: ${what} is a list that is not empty.`);
    return value;
  };
  const known = { realm: string(said.realm, "The realm of trust.json"), log: null, decision: null, witness: null };
  if ("log" in said) known.log = await Promise.all(list(said.log, "log").map(vkey));
  if (known.log?.some((key) => key.type !== ED25519)) throw new Malformed("trust.json: a log key is of another kind.");
  if ("decision" in said) {
    known.decision = list(said.decision, "decision").map((item) => {
      fields(item, ["key", "from"], ["to"], "A decision key of trust.json");
      const key = unB64u(item.key);
      if (!sound(key)) throw new Malformed("trust.json: a decision key is not an Ed25519 key.");
      const pinned = { key, from: count(item.from, "from"), to: "to" in item ? count(item.to, "to") : Infinity };
      if (pinned.to < pinned.from) throw new Malformed("trust.json: a decision key ends before it begins.");
      return pinned;
    });
  }
  if ("witness" in said) {
    fields(said.witness, ["keys", "quorum"], [], "The witnesses of trust.json");
    known.witness = { keys: await Promise.all(list(said.witness.keys, "witness.keys").map(vkey)), quorum: count(said.witness.quorum, "quorum") };
    const { keys, quorum } = known.witness;
    if (quorum < 1 || quorum > keys.length || keys.some((key) => key.type !== COSIGNATURE)) throw new Malformed("trust.json: the witnesses cannot give that quorum.");
  }
  const roles = [known.log ?? [], known.witness?.keys ?? []].map((keys) => keys.map(({ key }) => hex(key)));
  if ("services" in said) {
    if (!Array.isArray(said.services)) throw new Malformed("trust.json: services is a list.");
    // No receipt rests on a service. Its key must still be nobody else's.
    roles.push(said.services.map((item) => {
      fields(item, ["service", "role", "key"], [], "A service of trust.json");
      const key = unB64u(item.key);
      if (!sound(key)) throw new Malformed("trust.json: a service's key is not an Ed25519 key.");
      return hex(key);
    }));
  }
  roles.push([...new Set((known.decision ?? []).map(({ key }) => hex(key)))]);
  if (new Set(roles.flat()).size !== roles.flat().length) throw new Malformed("trust.json gives one key two purposes, or names one twice.");
  return known;
}

// --- entries --------------------------------------------------------------------------------------------------------

// An envelope and the entry in it, both in their one exact form. No signature is checked yet.
export function envelope(raw) {
  const said = fields(exact(raw, "The envelope"), ["payload", "payloadType", "signatures"], [], "An envelope");
  if (!Array.isArray(said.signatures) || said.signatures.length !== 1) throw new Malformed("An envelope has exactly one signature.");
  const { keyid, sig } = fields(said.signatures[0], ["keyid", "sig"], [], "A signature");
  if (said.payloadType !== PAYLOAD_TYPE) throw new Malformed("This envelope holds no entry of a log.");
  const payload = unB64(string(said.payload, "The payload"));
  const entry = exact(payload, "The entry");
  fields(entry, ["v", "realm", "index", "prev", "time", "kind", "subject", "actor", "refs", "body"], [], "An entry");
  for (const name of ["realm", "time", "kind", "subject"]) string(entry[name], `The ${name} of the entry`);
  count(entry.index, "The index of the entry");
  if (entry.v !== 1) throw new Malformed("This entry is of a version that is not known here.");
  return { raw, payload, entry, keyid: string(keyid, "The key id"), signature: unB64(string(sig, "The signature")) };
}

const dsseKeyId = async (key) => hex(await sha256(bytes(canonical({ keytype: "ed25519", scheme: "ed25519", keyval: { public: hex(key) } }))));

// Whether one of the pinned decision keys that may sign this entry did sign it.
export async function decidedBy(opened, pinned) {
  const said = concat(bytes(`DSSEv1 ${PAYLOAD_TYPE.length} ${PAYLOAD_TYPE} ${opened.payload.length} `), opened.payload);
  for (const { key, from, to } of pinned) {
    if (opened.entry.index < from || opened.entry.index > to) continue;
    if ((await dsseKeyId(key)) === opened.keyid && (await signed(key, said, opened.signature))) return true;
  }
  return false;
}

export async function actionDigest(binding) {
  return `sha256:${hex(await sha256(bytes("imprimatur/action/v1\0"), bytes(canonical(binding))))}`;
}
