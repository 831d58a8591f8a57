// In a report: the list and the curves are made when they come near, or when the address asks for a question.

// What is packed in an element, which is then no longer needed.
globalThis.unpackPart = async (name) => {
  const element = document.getElementById(`packed-${name}`);
  if (!element) return {};
  const text = atob(element.textContent);
  element.remove();
  const bytes = new Uint8Array(text.length);
  for (let place = 0; place < text.length; place += 1) bytes[place] = text.charCodeAt(place);
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).json();
};

{
  // Each module after those that it imports.
  const load = async () => {
    const addresses = {};
    let last;
    for (const [name, text] of await globalThis.unpackPart("modules")) {
      const whole = text.replace(/(from|import) "\.\/([^"]+)"/g, (all, word, other) => `${word} "${addresses[other]}"`);
      last = addresses[name] = URL.createObjectURL(new Blob([whole], { type: "text/javascript" }));
    }
    await import(last);
  };
  const absent = document.getElementById("no-list");
  if (absent) absent.hidden = true;
  let begun;
  const begin = () => {
    begun ??= load().catch((error) => {
      const place = document.getElementById("trouble");
      if (!place) return;
      place.textContent = `This browser cannot show the list: ${error.message}`;
      place.hidden = false;
    });
  };
  const asked = () => location.hash.includes("=");
  const near = new IntersectionObserver((seen) => {
    if (!seen.some((each) => each.isIntersecting)) return;
    near.disconnect();
    begin();
  }, { rootMargin: "100%" });
  for (const id of ["training", "questions"]) {
    const place = document.getElementById(id);
    if (place) near.observe(place);
  }
  addEventListener("hashchange", () => asked() && begin());
  if (asked()) begin();
}
