// Filters: words, kind, provider and status; the sums of what is shown, and the costs by day, month, model, provider.

const FILTERS = ["q", "kind", "provider", "status"];
const MUCH = 100;
const form = byId("filters");

// Words are found without regard to case and accents.
const folded = (text) => text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();

/** Return an entry with what the filters look at. */
function indexed(entry, shown) {
  const results = (entry.results ?? []).flatMap((result) => [result.name, result.label, result.url]);
  const texts = [entry.provider, entry.kind, promptOf(entry), entry.error, entry.data, entry.tool, entry.model, idOf(entry), ...results];
  const words = folded([...texts, ...Object.values(entry.arguments ?? {})].filter(Boolean).join("\n"));
  return { entry, node: shown, kind: [entry.kind], provider: [entry.provider], status: entry.states ?? [entry.status], words };
}

const chosenOf = (name) => form.elements[name].value;

function applyFilters() {
  const words = folded(chosenOf("q")).split(/\s+/).filter(Boolean);
  const chosen = ["kind", "provider", "status"].filter(chosenOf);
  const fits = (card) => chosen.every((name) => card[name].includes(chosenOf(name))) && words.every((word) => card.words.includes(word));
  const cards = [...drawn.values()];
  const shown = cards.filter(fits);
  hideOthers(cards, new Set(shown));
  const part = shown.length < cards.length ? `${amount(shown.length)} of ` : "";
  const { [CREDITS]: ours = [], "": _, ...others } = Object.groupBy(shown, unitOf);
  const units = Object.entries(others);
  if (ours.length || !units.length) units.push([CREDITS, ours]); // last, since their dollars follow
  byId("summary").value = `${part}${counted(cards.length, "entry", "entries")} · ${units.map(sumText).join(", ")}`;
  const { known, estimate } = sumsOf(ours);
  byId("dollars").textContent = known + estimate ? `(${dollars(known + estimate)})` : "";
  form.querySelector("button").hidden = words.length + chosen.length === 0;
  byId("nothing").hidden = shown.length > 0 || cards.length === 0;
  byId("costs").hidden = cards.length === 0 || stage.mode === "app";
  if (byId("costs").open) tabulate(shown);
}

/** Hide all cards but those that are shown; many at once below a hidden grid, since browsers take seconds otherwise. */
function hideOthers(cards, shown) {
  const turned = cards.filter((card) => card.node.hidden === shown.has(card));
  const [isMuch, place] = [turned.length > MUCH, scrollY];
  if (isMuch) grid.hidden = true;
  for (const card of turned) card.node.hidden = !card.node.hidden;
  if (!isMuch) return;
  grid.getBoundingClientRect(); // lays out, so that what follows is one change
  grid.hidden = false;
  scrollTo({ top: place, behavior: "instant" });
}

const CREDITS = "credits"; // of Kie.ai; every other unit has a name of its own

/** Return the unit of an entry's price; "" where it has none that is known. */
const unitOf = ({ entry }) => entry.unit ?? (entry.gateway === "kie" ? CREDITS : "");

/** Return what some entries of one unit cost. */
function sumsOf(cards) {
  const total = (amountOf) => cards.reduce((sum, { entry }) => sum + (amountOf(entry) ?? 0), 0);
  const guess = (entry) => (entry.credits === undefined ? entry.estimated_credits : 0);
  return { known: total((entry) => entry.credits), estimate: total(guess) };
}

function sumText([unit, cards]) {
  const [{ known, estimate }, text] = [sumsOf(cards), unit === CREDITS ? amount : exact];
  return `${text(known)} ${unit}${estimate ? ` and about ${text(estimate)} more by estimate` : ""}`;
}

/** Fill the tables of costs in credits of Kie.ai. */
function tabulate(cards) {
  const day = new Intl.DateTimeFormat("en-CA", { dateStyle: "short", timeZone: reader.timeZone });
  const dayOf = ({ entry }) => day.format(new Date(entry.created_at));
  const groups = {
    Day: dayOf,
    Month: (card) => dayOf(card).slice(0, 7),
    Model: ({ entry }) => entry.model || entry.tool || "",
    Provider: ({ entry }) => entry.provider || "",
  };
  const ours = cards.filter((card) => unitOf(card) === CREDITS && card.entry.created_at);
  byId("costs").lastElementChild.replaceChildren(...Object.entries(groups).map(([name, of]) => tableOf(name, Object.groupBy(ours, of))));
}

function tableOf(name, groups) {
  const inTime = name === "Day" || name === "Month";
  const rows = Object.entries(groups).map(([key, cards]) => ({ key, count: cards.length, ...sumsOf(cards) }));
  const spent = (row) => row.known + row.estimate;
  rows.sort((a, b) => (inTime ? b.key.localeCompare(a.key) : spent(b) - spent(a)));
  const cells = (row) => [
    element("th", { scope: "row" }, row.key || "not known"),
    ...[amount(row.count), amount(row.known), row.estimate ? amount(row.estimate) : "", dollars(spent(row))].map((text) => element("td", {}, text)),
  ];
  const head = [name, "Entries", "Kie.ai credits", "Estimated", "Dollars"].map((text) => element("th", { scope: "col" }, text));
  const body = element("tbody", {}, ...rows.map((row) => element("tr", {}, ...cells(row))));
  const whole = element("table", {}, element("caption", {}, `By ${name.toLowerCase()}`), element("thead", {}, element("tr", {}, ...head)), body);
  return element("div", { class: "table", tabindex: 0, role: "region", "aria-label": `Costs by ${name.toLowerCase()}` }, whole);
}

/** Offer what there is of each kind, provider and status, and how often; what is chosen stays chosen. */
function offerOptions() {
  for (const name of ["kind", "provider", "status"]) {
    const groups = Object.entries(Object.groupBy([...drawn.values()].flatMap((card) => card[name]), (option) => option ?? ""));
    const options = groups.filter(([option]) => option).sort(([a], [b]) => (a < b ? -1 : 1));
    const field = form.elements[name];
    const fresh = options.map(([option, all]) => element("option", { value: option }, `${option} (${amount(all.length)})`));
    if (fresh.map((option) => option.text).join("\n") === [...field.options].slice(1).map((option) => option.text).join("\n")) continue;
    const chosen = field.value;
    field.replaceChildren(field.options[0], ...fresh);
    field.value = chosen;
    if (field.selectedIndex === -1) field.value = "";
  }
}

// The filters stand in the address, so that a view can be kept and survives a reload.
function remember() {
  if (stage.mode === "app") return;
  const set = new URLSearchParams(FILTERS.map((name) => [name, chosenOf(name)]).filter((pair) => pair[1]));
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
  applyFilters();
}

function takeFilters() {
  applyFilters();
  remember();
}

form.addEventListener("input", takeFilters);
form.addEventListener("reset", () => setTimeout(takeFilters));
form.addEventListener("submit", (event) => event.preventDefault());
byId("costs").addEventListener("toggle", applyFilters);
addEventListener("hashchange", recall);
addEventListener("keydown", (event) => {
  if (event.key === "/" && !form.hidden && !event.target.closest("input, select, textarea, dialog")) {
    event.preventDefault();
    form.elements.q.focus();
  }
});
