// The steps from a receipt or an entry to the checkpoint that holds it, each with a verdict of its own: valid, invalid, or
// unknown when what it takes is missing. One that is invalid makes the whole invalid; one unknown leaves it open.
import { actionDigest, decidedBy, envelope, included, leafHash, notedBy, trust } from "./check-crypto.js";
import { bytes, count, exact, fields, hex, loose, Malformed, proof, PROOF, string, text } from "./check-formats.js";

export const VALID = "valid";
export const INVALID = "invalid";
export const UNKNOWN = "unknown";

const NAMES = { receipt: "Receipt", entry: "Entry", proof: "Proof", trust: "Trust anchors" };

// What a file is, told by what stands in it: { kind, value, says }. Throws Malformed.
export async function recognise(raw) {
  if (text(raw).startsWith(PROOF)) {
    const value = proof(text(raw));
    return { kind: "proof", value, says: `${NAMES.proof} of entry ${value.index} in the log of ${value.checkpoint.origin}` };
  }
  const said = loose(raw, "This");
  if (said !== null && typeof said === "object") {
    if ("payloadType" in said) {
      const value = envelope(raw);
      return { kind: "entry", value, says: `${NAMES.entry} ${value.entry.index}, ${value.entry.kind}` };
    }
    if ("votes" in said) {
      const value = receipt(said);
      return { kind: "receipt", value, says: `${NAMES.receipt}: entry ${value.index}` };
    }
    if ("realm" in said) {
      const value = await trust(raw);
      return { kind: "trust", value, says: `${NAMES.trust} of ${value.realm}` };
    }
  }
  throw new Malformed("This is no receipt, no entry, no proof and no trust.json.");
}

function receipt(said) {
  fields(said, ["index", "envelope", "votes"], ["redeemed", "grant"], "A receipt");
  if (!Array.isArray(said.votes)) throw new Malformed("The votes of a receipt are a list.");
  const open = (written, kind) => {
    const opened = envelope(bytes(string(written, "An envelope of the receipt")));
    if (opened.entry.kind !== kind) throw new Malformed(`The receipt holds an entry of another kind than ${kind}.`);
    return opened;
  };
  const others = said.votes.map((vote) => {
    const opened = open(vote, "vote.cast");
    return { ...opened, said: exact(bytes(string(opened.entry.body?.statement, "What a voter signed")), "What a voter signed") };
  });
  if ("redeemed" in said) others.push(open(said.redeemed, "action.redeemed"));
  if ("grant" in said) {
    const grant = fields(said.grant, ["index", "envelope"], [], "The grant of a receipt");
    others.push(open(grant.envelope, "grant.issued"));
    if (others.at(-1).entry.index !== grant.index) throw new Malformed("The grant of the receipt is another entry than it says.");
  }
  return { index: count(said.index, "The index of the receipt"), decision: open(said.envelope, "action.decided"), others };
}

const step = (name, verdict, says) => ({ name, verdict, says });

// All the steps for what is there. `pieces` maps kinds to values.
export async function check(pieces) {
  const { receipt: given, entry: lone, proof: path, trust: known } = pieces;
  const opened = given?.decision ?? lone;
  const steps = [];
  if (given && lone && hex(lone.raw) !== hex(given.decision.raw)) {
    steps.push(step("One entry", INVALID, "The receipt and the entry are not about the same bytes. Check one at a time."));
  }
  if (opened) steps.push(...(await signatures(opened, given, known)));
  if (opened) steps.push(await inTheTree(opened, path));
  if (path) steps.push(...(await theCheckpoint(path, known)));
  else if (opened) steps.push(step("The log stands behind it", UNKNOWN, "Add the entry’s .tlog-proof: it holds the checkpoint that the log signed."));
  if (!opened && path) steps.unshift(step("The entry", UNKNOWN, "Add the receipt, or the entry’s envelope: the proof does not hold it."));
  return steps;
}

async function signatures(opened, given, known) {
  const { entry } = opened;
  const steps = [step("One exact form", VALID, `Envelope and entry are in the one form that counts; nothing hides in them.`)];
  const who = "The key that decides";
  if (!known?.decision) steps.push(step(who, UNKNOWN, known ? "Your trust.json names no decision key." : "Add trust.json, from another source than this server: it names the key."));
  else if (await decidedBy(opened, known.decision)) steps.push(step(who, VALID, `The decision key that you trust signed entry ${entry.index}.`));
  else steps.push(step(who, INVALID, "No decision key that you trust signed these bytes. They were changed, or somebody else made them."));
  if (!known) steps.push(step("The realm", UNKNOWN, `It says that it is of ${entry.realm}. Your trust.json says which one you trust.`));
  else if (entry.realm === known.realm) steps.push(step("The realm", VALID, `It is of ${known.realm}, which you trust.`));
  else steps.push(step("The realm", INVALID, `It is of ${entry.realm}, and you trust ${known.realm}. What is signed for one realm counts in no other.`));
  const binding = entry.body?.binding;
  if (binding !== undefined || entry.kind === "action.decided") {
    const good = binding?.realm === entry.realm && entry.body.action_digest === (await actionDigest(binding));
    steps.push(step("The action", good ? VALID : INVALID, good ? "The action that it names has the digest that was decided on." : "The action that it names is not the one that was decided on."));
  }
  if (given) steps.push(await together(given, known));
  return steps;
}

// Whether an entry that comes with a receipt is about the very action that was decided on, and at its time.
function belongs({ entry: other, said }, entry) {
  const { body } = entry;
  if (other.realm !== entry.realm) return false;
  if (other.kind === "grant.issued") return other.index < entry.index && other.body?.grant === body?.grant;
  const about = [other, other.body, said ?? other.body].map((one) => one?.request ?? one?.subject);
  if (about.some((request) => request !== entry.subject)) return false;
  if ((said ?? other.body)?.action_digest !== body?.action_digest) return false;
  if (other.kind === "action.redeemed") return other.index > entry.index && body?.verdict === "allow";
  return other.index < entry.index && (body?.verdict !== "allow" || said.decision === "approve" || said.decision === "confirm");
}

// The entries that come with a receipt: of the same realm and action, each once, and signed by the same key.
async function together(given, known) {
  const name = "What comes with it";
  const { entry } = given.decision;
  if (given.index !== entry.index) return step(name, INVALID, `The receipt says entry ${given.index}, and holds entry ${entry.index}.`);
  const odd = given.others.find((other) => !belongs(other, entry));
  if (odd) return step(name, INVALID, `Entry ${odd.entry.index} does not belong to this decision.`);
  const counted = Array.isArray(entry.body?.votes) ? entry.body.votes : [];
  const held = given.others.filter((other) => other.said).map((other) => other.entry.index);
  if (held.join() !== counted.join()) return step(name, INVALID, `The decision counts the votes ${counted.join(", ") || "of nobody"}, and the receipt holds ${held.join(", ") || "none"}.`);
  const granted = given.others.some((other) => other.entry.kind === "grant.issued");
  if (granted !== (entry.body?.grant !== undefined)) return step(name, INVALID, "The decision and the receipt do not agree on whether somebody approved it in advance.");
  const words = given.others.length ? `${given.others.length} more entr${given.others.length === 1 ? "y" : "ies"} (${given.others.map((one) => `${one.entry.kind} ${one.entry.index}`).join(", ")})` : "Nothing";
  if (!given.others.length) return step(name, VALID, "The receipt is this one entry; nobody voted.");
  if (!known?.decision) return step(name, UNKNOWN, `${words}. Your trust.json says who may sign them.`);
  for (const other of given.others) {
    if (!(await decidedBy(other, known.decision))) return step(name, INVALID, `Entry ${other.entry.index} is not signed with a decision key that you trust.`);
  }
  return step(name, VALID, `${words}, signed with the decision key too. Whether the people’s own signatures in them hold, the verifier says.`);
}

async function inTheTree(opened, path) {
  const name = "Its place in the log";
  const leaf = await leafHash(opened.raw);
  if (!path) return step(name, UNKNOWN, `Its leaf hash is ${hex(leaf)}. Add its .tlog-proof to see that the log holds it.`);
  if (path.index !== BigInt(opened.entry.index)) return step(name, INVALID, `The proof is about entry ${path.index}, and this is entry ${opened.entry.index}.`);
  const { size, root } = path.checkpoint;
  if (await included(leaf, path.index, size, path.hashes, root)) {
    return step(name, VALID, `Its leaf hash ${hex(leaf)} leads, in ${path.hashes.length} steps, to the root of the tree of ${size} entries.`);
  }
  return step(name, INVALID, "The hashes do not lead from this entry to the root of the checkpoint: the entry or the proof was changed.");
}

async function theCheckpoint(path, known) {
  const { origin, size } = path.checkpoint;
  const steps = [];
  const name = "The log stands behind it";
  if (!known) steps.push(step(name, UNKNOWN, `The checkpoint says it is of ${origin}. Add trust.json: it names the log’s key.`));
  else if (origin !== known.realm) steps.push(step(name, INVALID, `The checkpoint is of the log ${origin}, and you trust ${known.realm}.`));
  else if (!known.log) steps.push(step(name, UNKNOWN, "Your trust.json names no key of the log."));
  else {
    const found = await Promise.all(known.log.filter((key) => key.name === origin).map((key) => notedBy(path.note, key)));
    if (found.includes("bad")) steps.push(step(name, INVALID, "The checkpoint was changed after the log signed it."));
    else if (found.includes("good")) steps.push(step(name, VALID, `The log’s key that you trust signed the root of ${size} entries.`));
    else steps.push(step(name, INVALID, "No key of the log that you trust signed this checkpoint."));
  }
  steps.push(await witnesses(path, known));
  return steps;
}

async function witnesses(path, known) {
  const name = "Witnesses";
  if (!known?.witness) return step(name, UNKNOWN, "Your trust.json names no witness, so nobody outside vouches that this is the log’s only history.");
  const { keys, quorum } = known.witness;
  const found = await Promise.all(keys.map((key) => notedBy(path.note, key)));
  if (found.includes("bad")) return step(name, INVALID, "A witness’s cosignature does not hold: the checkpoint was changed.");
  const good = keys.filter((_, at) => found[at] === "good").map((key) => key.name);
  const words = `${good.length} of the ${quorum} that you ask for cosigned it${good.length ? `: ${good.join(", ")}` : ""}.`;
  return good.length >= quorum ? step(name, VALID, words) : step(name, INVALID, words);
}

export function overall(steps) {
  if (!steps.length) return UNKNOWN;
  return steps.some(({ verdict }) => verdict === INVALID) ? INVALID : steps.some(({ verdict }) => verdict === UNKNOWN) ? UNKNOWN : VALID;
}
