// What of the visible text has too little contrast with what is behind it: WCAG 2.2, 1.4.3 (AA).
() => {
  const parsed = (text) => {
    const numbers = text.match(/[\d.]+(?:e-?\d+)?/g).map(Number);
    const [r, g, b, a = 1] = numbers;
    return text.startsWith("color(srgb") ? [r * 255, g * 255, b * 255, a] : [r, g, b, a];
  };
  const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3])).concat(1);
  const light = (colour) => {
    const [r, g, b] = colour.map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ratio = (x, y) => {
    const [low, high] = [light(x), light(y)].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  };
  const behind = (element) => {
    const layers = [];
    for (let at = element; at; at = at.parentElement ?? at.getRootNode().host) {
      layers.push(parsed(getComputedStyle(at).backgroundColor));
      // The bar of a filter lies behind its text without being around it.
      const bar = at.matches(".facet > *") && at.parentElement.querySelector(".meter");
      if (bar) layers.push(parsed(getComputedStyle(bar).backgroundColor));
    }
    layers.push([255, 255, 255, 1]);
    return layers.reverse().reduce((below, top) => over(top, below));
  };
  const found = new Set();
  // Those of the trees that elements have to themselves, too.
  const all = (tree) => [...tree.querySelectorAll("*")].flatMap((each) => [each, ...(each.shadowRoot ? all(each.shadowRoot) : [])]);
  for (const element of all(document.body)) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || !element.checkVisibility({ opacityProperty: true }) || element.closest(".unseen, :disabled")) continue;
    const style = getComputedStyle(element);
    const ground = behind(element);
    const ink = parsed(style.color);
    ink[3] *= Number(style.opacity);
    const size = parseFloat(style.fontSize);
    const needed = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700) ? 3 : 4.5;
    const reached = ratio(over(ink, ground), ground);
    if (reached < needed) found.add(`${element.tagName}.${element.className} ${reached.toFixed(2)}`);
  }
  return [...found];
}
