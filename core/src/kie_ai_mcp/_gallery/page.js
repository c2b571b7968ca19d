// The page: draws the entries, and keeps them up to date from the server, or from the host that embeds it.

const grid = document.querySelector(".grid");
const ROW_PX = 2; // the height of the rows that the cards span, as the style sheet has it
const SOON_MS = 3_000; // how long a page waits before it asks again, while something runs
const LATER_MS = 15_000; // the same while nothing does

const drawn = new Map(); // the cards by the id of their entry, in the order of the page

// Drawing -------------------------------------------------------------------------------------------------------------

/** Draw entries, newest first. Cards that have not changed stay as they are, and so do focus and open details. */
function draw(entries) {
  const before = new Map(drawn);
  drawn.clear();
  for (const entry of entries) {
    const key = idOf(entry);
    drawn.set(key, updated(before.get(key), entry));
  }
  for (const [key, { node }] of before) if (!drawn.has(key)) node.remove();
  [...drawn.values()].forEach((card, index) => {
    if (grid.children[index] !== card.node) grid.insertBefore(card.node, grid.children[index] ?? null);
  });
  offerOptions();
  applyFilters();
  announce(entries);
  spanRows([...drawn.values()].filter((card) => !before.has(idOf(card.entry))).map(({ node }) => node));
}

function updated(card, entry) {
  const written = JSON.stringify(entry);
  if (card?.written === written) return card;
  const parts = partsOf(entry);
  const pristine = Object.fromEntries(Object.entries(parts).map(([name, part]) => [name, part.outerHTML ?? ""]));
  const shown = card?.node ?? element("li", { class: "card" });
  if (card) {
    for (const name of Object.keys(parts)) {
      if (pristine[name] === card.pristine[name]) parts[name] = card.parts[name];
      else replacePart(card.parts[name], parts[name]);
    }
    if (card.entry.status !== entry.status) byId("news").textContent = plain(`${entry.provider} ${entry.kind}: ${capital(stateOf(entry))}`);
  } else {
    const { media, ...body } = parts;
    shown.append(media, element("div", { class: "body" }, ...Object.values(body)));
    spanning.observe(shown);
  }
  Object.assign(shown.dataset, { kind: entry.kind ?? "", provider: entry.provider ?? "", status: (entry.states ?? [entry.status]).join(" ") });
  return { ...indexed(entry, shown), written, parts, pristine };
}

/** Put a part in the place of another; what was open or said stays so, and the focus where it was. */
function replacePart(old, fresh) {
  const focusable = (part) => [...(part.querySelectorAll?.("a, button, summary, textarea, video, audio, [tabindex]") ?? [])];
  const focused = focusable(old).indexOf(document.activeElement);
  if (old.matches?.("details[open]") && fresh.matches?.("details")) fresh.open = true;
  fresh.querySelector?.(".said")?.replaceChildren(...(old.querySelector?.(".said")?.childNodes ?? []));
  old.replaceWith(fresh);
  if (focused >= 0) (focusable(fresh)[focused] ?? focusable(fresh)[0])?.focus();
}

/** Let each card span as many of the grid's low rows as it is high, so that none leaves a gap beside it. */
function spanRows(cards) {
  const heights = cards.map((card) => card.offsetHeight + (Number.parseFloat(getComputedStyle(card).marginBottom) || 0));
  cards.forEach((card, index) => {
    card.style.gridRowEnd = `span ${Math.ceil(heights[index] / ROW_PX)}`;
  });
}
const spanning = new ResizeObserver((changes) => spanRows(changes.map(({ target }) => target)));

/** Say above everything else how many requests lost their answers, and below what to do where there is nothing. */
function announce(entries) {
  const lost = entries.filter((entry) => entry.status === "unknown").length;
  const words = lost === 1 ? "1 request lost its answer: it" : `${amount(lost)} requests lost their answers: they`;
  const show = stage.mode === "app" ? "" : element("a", { href: "#status=unknown" }, "Show");
  const notice = byId("notice");
  notice.hidden = !lost;
  if (lost !== Number(notice.dataset.lost ?? 0)) notice.replaceChildren(`${words} may have been charged. `, show);
  notice.dataset.lost = lost;
  byId("empty").hidden = entries.length > 0 || !stage.nothing;
  byId("empty").textContent = stage.nothing ?? "";
}

function showDate(written, older) {
  const rest = older ? "; older entries are left out" : "";
  byId("written").replaceChildren("as of ", moment(written), rest);
}

/** Wait, but not longer than until the page is looked at again. */
function pause(wait_ms) {
  const { promise, resolve } = Promise.withResolvers();
  const timer = setTimeout(resolve, wait_ms);
  const wake = () => document.hidden || resolve();
  document.addEventListener("visibilitychange", wake);
  return promise.then(() => {
    clearTimeout(timer);
    document.removeEventListener("visibilitychange", wake);
  });
}

// The server's page: refreshed while it is looked at --------------------------------------------------------------------

/** Ask the server again and again, soon while something runs; only while the page is visible. */
async function followServer(address) {
  let last = "";
  for (;;) {
    const runs = [...drawn.values()].some(({ entry }) => [...RUNNING, "sending"].includes(entry.status));
    do await pause(runs ? SOON_MS : LATER_MS);
    while (document.hidden);
    try {
      const answer = await fetch(address, { cache: "no-cache" });
      if (!answer.ok) throw new Error(answer.status);
      const text = await answer.text();
      const news = JSON.parse(text);
      if (text !== last) draw(news.entries);
      last = text;
      showDate(new Date().toISOString(), news.older);
    } catch {
      byId("written").append(byId("written").textContent.endsWith("answer") ? "" : "; the server does not answer");
    }
  }
}

// The app: fed by a host ------------------------------------------------------------------------------------------------

let held = new Map(); // the entries that the host has given, by id
let isFollowing = false;
let isOver = false;

/** Take the result of a tool, as the host passes it on, and draw its tasks; new ones come first where `before` is set. */
function receive(result, before = false) {
  const { tasks: listed, unresolved, ...alone } = result.structuredContent ?? {};
  const reports = listed === undefined && alone.task_id ? [alone] : listOf(listed);
  const whole = new Map(listOf(result._meta?.["kie-ai/tasks"]).map((entry) => [idOf(entry), entry]));
  const entries = [...listOf(unresolved).map(requestOf), ...reports].map((report) => whole.get(idOf(report)) ?? entryOf(report));
  const given = [...whole, ...entries.map((entry) => [idOf(entry), entry])];
  const all = new Map(given.filter(([, entry]) => typeof entry.status === "string"));
  const known = [...held].map(([id, entry]) => [id, all.get(id) ?? entry]);
  held = new Map(before ? [...all, ...known] : [...known, ...all]);
  document.body.dataset.count = held.size > 2 ? "many" : "few";
  form.hidden = held.size <= 6;
  tell(held.size ? "" : textOf(result) || "Nothing here yet.", pictures(result));
  if (!isFollowing) followTasks();
}

// What is no list of objects is another tool's.
const listOf = (given) => (Array.isArray(given) ? given.filter((each) => each && typeof each === "object") : []);

/** Return a report as an entry, where the server's own is missing. */
function entryOf(report) {
  const urls = (Array.isArray(report.result_urls) ? report.result_urls : []).map(String);
  const uri = (number) => `kie://files/${encodeURIComponent(report.task_id)}/${number}`;
  const results = urls.map((url, index) => ({ number: index + 1, url, kind: kindOf(url), uri: uri(index + 1) }));
  const data = report.data === undefined || typeof report.data === "string" ? report.data : JSON.stringify(report.data, null, 1);
  return { gateway: "kie", ...report, results, data, kind: results[0]?.kind ?? "" };
}

function requestOf(request) {
  const { state, ...rest } = request;
  const cost = state === "unknown" ? "may have been charged" : "";
  return { gateway: "kie", provider: request.tool, kind: "", ...rest, status: state, cost };
}

function kindOf(url) {
  const end = url.split(/[?#]/)[0].split(".").at(-1).toLowerCase();
  return /^(mp4|webm|mov|mkv)$/.test(end) ? "video" : /^(mp3|wav|ogg|m4a|flac|aac)$/.test(end) ? "audio" : "image";
}

const pictures = (result) =>
  listOf(result.content)
    .filter((block) => block.type === "image" && !held.size)
    .map((block) => element("img", { class: "preview", alt: "A result", src: `data:${block.mimeType};base64,${block.data}` }));

/** Draw what the host has given; words, and pictures, where that is nothing. */
function tell(text, shown = []) {
  stage.nothing = text;
  for (const preview of document.querySelectorAll(".preview")) preview.remove();
  byId("empty").nextElementSibling.after(...shown);
  draw([...held.values()]);
}

/** Ask for running tasks until all are over; each answer comes when something has changed, or after some seconds. */
async function followTasks() {
  isFollowing = true;
  for (let wait_ms = SOON_MS; !isOver && host.can("serverTools"); ) {
    const running = [...held.values()].filter((entry) => RUNNING.includes(entry.status)).map((entry) => entry.task_id);
    if (!running.length) break;
    await pause(wait_ms);
    if (isOver) break;
    try {
      await renewed(running);
      wait_ms = SOON_MS;
    } catch {
      wait_ms = Math.min(2 * wait_ms, 60_000);
    }
  }
  isFollowing = false;
}

async function renewed(ids) {
  const answer = await host.call("wait_for_tasks", { task_ids: ids, timeout_s: 3 });
  if (!isOver) receive(answer, false);
}

/** Connect with the host. What it has given before it answered is drawn again: only then is it known what it can do. */
async function startApp() {
  const words = (text) => {
    if (!held.size) tell(text);
  };
  Object.assign(host.heard, {
    "ui/notifications/tool-input": (given) => {
      const ids = given.arguments?.task_ids;
      words(Array.isArray(ids) ? `Waiting for ${counted(ids.length, "task", "tasks")}…` : "One moment…");
    },
    "ui/notifications/tool-result": (result) => receive(result),
    "ui/notifications/tool-cancelled": () => words("The call was cancelled. Tasks that run go on by themselves."),
    "ui/notifications/host-context-changed": host.dress,
    "ui/resource-teardown": () => {
      isOver = true;
    },
  });
  document.addEventListener("click", (event) => {
    const anchor = event.target.closest?.("a[target=_blank]");
    if (!anchor || !host.can("openLinks")) return;
    event.preventDefault();
    host.open(anchor.href).catch((problem) => anchor.after(` (The host did not open it: ${problem.message})`));
  });
  try {
    await host.connect();
  } catch (problem) {
    words(`The host refused this page: ${problem.message}. The assistant's answer says the same in words.`);
    return;
  }
  for (const card of drawn.values()) card.written = "";
  draw([...held.values()]);
  if (!isFollowing) followTasks();
}

document.body.dataset.mode = stage.mode;
if (stage.mode === "app") {
  form.hidden = true;
  tell("One moment…");
  startApp();
} else {
  draw(stage.entries);
  showDate(stage.written, stage.older);
  recall();
  if (stage.live) followServer(stage.live);
}
