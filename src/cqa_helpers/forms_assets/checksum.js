// The checksum of what is exported. The browser's own digest is not to be had in a file opened
// from disk in every browser, so SHA-256 (FIPS 180-4) stands here; its input is ASCII alone.
const canonical = (v) => (Array.isArray(v) ? `[${v.map(canonical).join(",")}]`
  : v && typeof v === "object" ? `{${Object.keys(v).sort().map((k) => `${canonical(k)}:${canonical(v[k])}`).join(",")}}`
    : JSON.stringify(v).replace(/[\u007f-\uffff]/g, (c) => "\\u" + c.charCodeAt(0).toString(16).padStart(4, "0")));

function sha256(ascii) {
  const primes = [];
  for (let n = 2; primes.length < 64; n++) if (primes.every((p) => n % p)) primes.push(n);
  const fraction = (x) => ((x - Math.floor(x)) * 2 ** 32) | 0;
  const k = primes.map((p) => fraction(Math.cbrt(p))), hash = primes.slice(0, 8).map((p) => fraction(Math.sqrt(p)));
  const turn = (x, n) => (x >>> n) | (x << (32 - n));
  const blocks = (ascii.length + 9 + 63) >>> 6, words = new Int32Array(blocks * 16), w = new Int32Array(64);
  for (let i = 0; i < ascii.length; i++) words[i >> 2] |= ascii.charCodeAt(i) << (24 - 8 * (i & 3));
  words[ascii.length >> 2] |= 0x80 << (24 - 8 * (ascii.length & 3));
  words[words.length - 2] = Math.floor(ascii.length / 2 ** 29);
  words[words.length - 1] = ascii.length << 3;
  for (let b = 0; b < words.length; b += 16) {
    let [A, B, C, D, E, F, G, H] = hash;
    for (let i = 0; i < 64; i++) {
      if (i < 16) w[i] = words[b + i];
      else {
        const p = w[i - 15], q = w[i - 2];
        w[i] = w[i - 16] + w[i - 7] + (turn(p, 7) ^ turn(p, 18) ^ (p >>> 3)) + (turn(q, 17) ^ turn(q, 19) ^ (q >>> 10));
      }
      const up = (H + (turn(E, 6) ^ turn(E, 11) ^ turn(E, 25)) + ((E & F) ^ (~E & G)) + k[i] + w[i]) | 0;
      const down = ((turn(A, 2) ^ turn(A, 13) ^ turn(A, 22)) + ((A & B) ^ (A & C) ^ (B & C))) | 0;
      [A, B, C, D, E, F, G, H] = [(up + down) | 0, A, B, C, (D + up) | 0, E, F, G];
    }
    [A, B, C, D, E, F, G, H].forEach((v, i) => { hash[i] = (hash[i] + v) | 0; });
  }
  return hash.map((v) => (v >>> 0).toString(16).padStart(8, "0")).join("");
}
sealing = (whole) => {
  const plain = JSON.parse(JSON.stringify(whole));
  return { ...plain, checksum: sha256(canonical(plain)) };
};
