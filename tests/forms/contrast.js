// The elements whose text stands out from its ground by less than 4.5 to 1 (WCAG 2, 1.4.3).
() => {
  const rgba = (s) => {
    const n = s.match(/[\d.]+/g).map(Number);
    return n.length < 4 ? [...n, 1] : n;
  };
  const linear = (v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  const light = (c) => [0.2126, 0.7152, 0.0722].reduce((sum, w, i) => sum + w * linear(c[i] / 255), 0);
  const ground = (e) => {
    const layers = [];
    for (; e && !(layers.length && layers[0][3] === 1); e = e.parentElement) {
      layers.unshift(rgba(getComputedStyle(e).backgroundColor));
    }
    return layers.reduce((under, c) => under.map((v, i) => c[i] * c[3] + v * (1 - c[3])), [255, 255, 255]);
  };
  const read = (e) => [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim())
    && e.checkVisibility() && !e.closest(":disabled");
  const faint = [...document.querySelectorAll("#app *")].filter(read).filter((e) => {
    const pair = [light(rgba(getComputedStyle(e).color)), light(ground(e))];
    return (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05) < 4.5;
  });
  return [...new Set(faint.map((e) => `${e.localName}.${e.className}`))];
}
