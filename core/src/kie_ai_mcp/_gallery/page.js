"use strict";

(() => {
  const form = document.getElementById("filters");
  const summary = document.getElementById("summary");
  const nothing = document.getElementById("nothing");
  const FILTERS = ["q", "kind", "provider", "status"];

  // Words are found without regard to case and accents.
  const folded = (text) => text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();

  const cards = Array.from(document.querySelectorAll(".card"), (element) => ({
    element,
    kind: [element.dataset.kind],
    provider: [element.dataset.provider],
    status: element.dataset.status.split(" "),
    credits: Number(element.dataset.credits || 0),
    estimate: Number(element.dataset.estimate || 0),
    words: folded(Array.from(element.querySelectorAll("h2, .prompt, .error, .text, figcaption, dd"), (part) => part.textContent).join("\n")),
  }));

  const number = (value) => value.toLocaleString("en-US", { maximumFractionDigits: 2 });

  function filter() {
    const words = folded(form.elements.q.value).split(/\s+/).filter(Boolean);
    const chosen = ["kind", "provider", "status"].filter((name) => form.elements[name].value);
    const shown = cards.filter(
      (card) =>
        chosen.every((name) => card[name].includes(form.elements[name].value)) &&
        words.every((word) => card.words.includes(word)),
    );
    const wanted = new Set(shown);
    for (const card of cards) card.element.hidden = !wanted.has(card);
    const sum = (name) => shown.reduce((total, card) => total + card[name], 0);
    const more = sum("estimate") ? ` and about ${number(sum("estimate"))} more by estimate` : "";
    const part = shown.length < cards.length ? `${number(shown.length)} of ` : "";
    summary.value = `${part}${number(cards.length)} ${cards.length === 1 ? "entry" : "entries"} · ${number(sum("credits"))} credits${more}`;
    form.querySelector("button").hidden = words.length + chosen.length === 0;
    nothing.hidden = shown.length > 0 || cards.length === 0;
  }

  // The filters stand in the address, so that a view can be kept and survives a reload.
  function remember() {
    const set = new URLSearchParams(FILTERS.map((name) => [name, form.elements[name].value]).filter((pair) => pair[1]));
    history.replaceState(null, "", `#${set}`);
  }

  function recall() {
    const set = new URLSearchParams(location.hash.slice(1));
    if (location.hash && !FILTERS.some((name) => set.has(name))) return;
    for (const name of FILTERS) {
      const field = form.elements[name];
      field.value = set.get(name) ?? "";
      if (field.selectedIndex === -1) field.value = "";
    }
    filter();
  }

  form.addEventListener("input", () => {
    filter();
    remember();
  });
  form.addEventListener("reset", () =>
    setTimeout(() => {
      filter();
      remember();
    }),
  );
  form.addEventListener("submit", (event) => event.preventDefault());
  addEventListener("hashchange", recall);
  addEventListener("keydown", (event) => {
    if (event.key === "/" && !event.target.closest("input, select, dialog")) {
      event.preventDefault();
      form.elements.q.focus();
    }
  });

  // Moments, as the reader writes them.
  const moment = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
  for (const time of document.querySelectorAll("time")) {
    const date = new Date(time.dateTime);
    if (Number.isNaN(date.valueOf())) continue;
    time.title = time.textContent;
    time.textContent = moment.format(date);
  }

  // One player at a time.
  document.addEventListener(
    "play",
    (event) => {
      for (const player of document.querySelectorAll("video, audio")) if (player !== event.target) player.pause();
    },
    true,
  );

  // The viewer: every picture that is not filtered away, one after the other.
  const viewer = document.getElementById("viewer");
  const large = document.getElementById("large");
  let shots = [];
  let at = 0;

  function show(index) {
    at = (index + shots.length) % shots.length;
    const shot = shots[at];
    const prompt = shot.closest(".card").querySelector("details.prompt > p, p.prompt:not(.missing)");
    large.src = shot.href;
    large.alt = shot.firstElementChild.alt;
    document.getElementById("file").href = shot.href;
    document.getElementById("caption").textContent = prompt?.textContent ?? "";
  }

  document.addEventListener("click", (event) => {
    const shot = event.target.closest?.(".shot");
    if (!shot || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    shots = Array.from(document.querySelectorAll(".card:not([hidden]) .shot"));
    show(shots.indexOf(shot));
    viewer.showModal();
  });
  viewer.addEventListener("keydown", (event) => {
    if (event.key === "ArrowLeft") show(at - 1);
    if (event.key === "ArrowRight") show(at + 1);
  });
  viewer.addEventListener("close", () => {
    large.removeAttribute("src");
    shots[at]?.focus();
  });
  document.getElementById("previous").addEventListener("click", () => show(at - 1));
  document.getElementById("next").addEventListener("click", () => show(at + 1));
  document.getElementById("close").addEventListener("click", () => viewer.close());

  recall();
})();
