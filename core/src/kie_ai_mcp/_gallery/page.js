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
  for (const [key, { element }] of before) if (!drawn.has(key)) element.remove();
  [...drawn.values()].forEach((card, index) => {
    if (grid.children[index] !== card.element) grid.insertBefore(card.element, grid.children[index] ?? null);
  });
  offer();
  filter();
  announce(entries);
  span([...drawn.values()].filter((card) => !before.has(idOf(card.entry))).map(({ element }) => element));
}

function updated(card, entry) {
  const written = JSON.stringify(entry);
  if (card?.written === written) return card;
  const parts = partsOf(entry);
  const pristine = Object.fromEntries(Object.entries(parts).map(([name, part]) => [name, part.outerHTML ?? ""]));
  const shown = card?.element ?? element("li", { class: "card" });
  if (card) {
    for (const name of Object.keys(parts)) {
      if (pristine[name] === card.pristine[name]) parts[name] = card.parts[name];
      else replace(card.parts[name], parts[name]);
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

/** Put a part in the place of another; what was open stays open, and the focus stays where it was. */
function replace(old, fresh) {
  const focusable = (part) => [...(part.querySelectorAll?.("a, button, summary, textarea, video, audio, [tabindex]") ?? [])];
  const focused = focusable(old).indexOf(document.activeElement);
  if (old.matches?.("details[open]") && fresh.matches?.("details")) fresh.open = true;
  old.replaceWith(fresh);
  if (focused >= 0) (focusable(fresh)[focused] ?? focusable(fresh)[0])?.focus();
}

/** Let each card span as many of the grid's low rows as it is high, so that none leaves a gap beside it. */
function span(cards) {
  const heights = cards.map((card) => card.offsetHeight + (Number.parseFloat(getComputedStyle(card).marginBottom) || 0));
  cards.forEach((card, index) => {
    card.style.gridRowEnd = `span ${Math.ceil(heights[index] / ROW_PX)}`;
  });
}
const spanning = new ResizeObserver((changes) => span(changes.map(({ target }) => target)));

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

function date(written, older) {
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
async function follow(address) {
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
      date(new Date().toISOString(), news.older);
    } catch {
      byId("written").append(byId("written").textContent.endsWith("answer") ? "" : "; the server does not answer");
    }
  }
}

// The app: fed by a host ------------------------------------------------------------------------------------------------

let tasks = new Map(); // the entries that the host has given, by id
let isFollowing = false;
let isOver = false;

/** Take the result of a tool, as the host passes it on, and draw its tasks; new ones come first where `before` is set. */
function receive(result, before = false) {
  const { tasks: listed, unresolved = [], ...alone } = result.structuredContent ?? {};
  const reports = listed ?? (alone.task_id ? [alone] : []);
  const whole = new Map((result._meta?.["kie-ai/tasks"] ?? []).map((entry) => [idOf(entry), entry]));
  const entries = [...unresolved.map(requestOf), ...reports].map((report) => whole.get(idOf(report)) ?? entryOf(report));
  const all = new Map([...whole, ...entries.map((entry) => [idOf(entry), entry])]);
  const known = [...tasks].map(([id, entry]) => [id, all.get(id) ?? entry]);
  tasks = new Map(before ? [...all, ...known] : [...known, ...all]);
  document.body.dataset.count = tasks.size > 2 ? "many" : "few";
  form.hidden = tasks.size <= 6;
  say(tasks.size ? "" : textOf(result) || "Nothing here yet.", pictures(result));
  draw([...tasks.values()]);
  if (!isFollowing) wait();
}

/** Return a report as an entry, where the server's own is missing. */
function entryOf(report) {
  const urls = report.result_urls ?? [];
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
  (result.content ?? [])
    .filter((block) => block.type === "image" && !tasks.size)
    .map((block) => element("img", { class: "preview", alt: "A result", src: `data:${block.mimeType};base64,${block.data}` }));

/** Show words, and pictures, where there are no entries. */
function say(text, shown = []) {
  stage.nothing = text;
  byId("empty").nextElementSibling.after(...shown);
}

/** Ask for running tasks until all are over; each answer comes when something has changed, or after some seconds. */
async function wait() {
  isFollowing = true;
  for (let wait_ms = SOON_MS; !isOver && host.can("serverTools"); ) {
    const running = [...tasks.values()].filter((entry) => RUNNING.includes(entry.status)).map((entry) => entry.task_id);
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

async function run() {
  Object.assign(host.heard, {
    "ui/notifications/tool-input": ({ arguments: given = {} }) => {
      if (tasks.size) return;
      say(given.task_ids ? `Waiting for ${counted(given.task_ids.length, "task", "tasks")}…` : "One moment…");
      draw([]);
    },
    "ui/notifications/tool-result": (result) => receive(result),
    "ui/notifications/tool-cancelled": () => {
      if (tasks.size) return;
      say("The call was cancelled. Tasks that run go on by themselves.");
      draw([]);
    },
    "ui/notifications/host-context-changed": host.dress,
    "ui/resource-teardown": () => {
      isOver = true;
    },
  });
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.("a[target=_blank]");
    if (!link || !host.can("openLinks")) return;
    event.preventDefault();
    host.open(link.href);
  });
  await host.connect();
}

document.body.dataset.mode = stage.mode;
if (stage.mode === "app") {
  form.hidden = true;
  run();
} else {
  draw(stage.entries);
  date(stage.written, stage.older);
  recall();
  if (stage.live) follow(stage.live);
}
