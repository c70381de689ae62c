// What the editing changed, word by word in English and character by character in Chinese.
const pieces = (text) => text.match(/\p{Script=Han}|[\p{L}\p{M}\p{N}]+(?:['’][\p{L}\p{M}]+)*|\n|[^\S\n]+|[^]/gu) || [];

// The longest common subsequence after Hyyrö (2004): one bit a piece, a row of bits a step, so that
// 20,000 pieces against 20,000 are 50 MB and a fraction of a second. Returns [kind, text] runs.
function difference(before, after) {
  let a = before, b = after, head = 0, tail = 0;
  while (head < a.length && head < b.length && a[head] === b[head]) head++;
  while (tail < a.length - head && tail < b.length - head && a[a.length - 1 - tail] === b[b.length - 1 - tail]) tail++;
  const kept = a.slice(0, head), end = a.slice(a.length - tail);
  a = a.slice(head, a.length - tail);
  b = b.slice(head, b.length - tail);
  const wide = Math.ceil(a.length / 32), places = new Map();
  a.forEach((piece, i) => {
    if (!places.has(piece)) places.set(piece, new Uint32Array(wide));
    places.get(piece)[i >>> 5] |= 1 << (i & 31);
  });
  const bits = new Uint32Array(wide * b.length), none = new Uint32Array(wide);
  for (let j = 0; j < b.length; j++) {
    const match = places.get(b[j]) || none, row = j * wide;
    for (let w = 0, carry = 0; w < wide; w++) {
      const old = j ? bits[row - wide + w] : 0xffffffff, hit = (old & match[w]) >>> 0, sum = old + hit + carry;
      carry = sum > 0xffffffff ? 1 : 0;
      bits[row + w] = (sum | (old & ~match[w])) >>> 0;
    }
  }
  const back = [], unmatched = (j, i) => (bits[j * wide + (i >>> 5)] >>> (i & 31)) & 1;
  let i = a.length, j = b.length;
  while (i && j) {
    if (unmatched(j - 1, i - 1)) back.push(["del", a[--i]]);
    else if (--j && !unmatched(j - 1, i - 1)) back.push(["ins", b[j]]);
    else back.push(["same", a[--i]]);
  }
  while (i) back.push(["del", a[--i]]);
  while (j) back.push(["ins", b[--j]]);
  return [...kept.map((p) => ["same", p]), ...back.reverse(), ...end.map((p) => ["same", p])];
}
// A single piece that happens to agree amid changes is noise to the eye: it counts as changed.
function runs(steps) {
  const joined = [];
  for (const [kind, piece] of steps) {
    const last = joined[joined.length - 1];
    if (last && last.kind === kind) last.list.push(piece);
    else joined.push({ kind, list: [piece] });
  }
  const calm = [];
  joined.forEach((run, n) => {
    const lone = run.kind === "same" && n > 0 && n < joined.length - 1 && run.list.length < 2 && run.list[0] !== "\n";
    const words = run.list.join("");
    for (const kind of lone ? ["del", "ins"] : [run.kind]) {
      let at = calm.length - 1;
      while (at >= 0 && calm[at][0] !== "same" && calm[at][0] !== kind) at--;
      if (kind !== "same" && at >= 0 && calm[at][0] === kind) calm[at][1] += words;
      else calm.push([kind, words]);
    }
  });
  return calm;
}
function showDiff(before, after) {
  if (!before) return [document.createTextNode(t("no-transcript"))];
  let [a, b] = [pieces(before), pieces(after)];
  // Beyond what a browser can hold, whole sentences are compared.
  if (a.length * b.length > 8e8) [a, b] = [before, after].map((s) => s.match(/[^。！？.!?\n]*[。！？.!?\n]?/g).filter(Boolean));
  return runs(difference(a, b)).map(([kind, words]) => (kind === "same" ? h("span", {}, shown(words)) : h(kind, {}, shown(words))));
}
