// Cards: each task or request as an element, made of parts that are replaced one by one when the entry changes.

const BRIEF_CHARS = 170; // length of a prompt that is shown before it is unfolded
const SHOTS = 4; // how many pictures of one task are shown outside the viewer
const GLYPHS = { completed: "↗", expired: "–", failed: "!", refused: "✕", unknown: "?", pending: "…", processing: "…", sending: "…" };
const RUNNING = ["pending", "processing", "unread"];

const stateOf = (entry) => entry.states?.at(-1) ?? entry.status;
const promptOf = (entry) => (entry.prompt ?? "").trim();
const isShown = (result) => result.kind !== "text" && Boolean(result.address || (stage.mode === "app" && (result.url || result.uri)));

/** Return the parts of an entry's card by name; one that it does not have is an empty comment. */
function partsOf(entry) {
  const parts = { media: mediaPart(entry), header: headerPart(entry), prompt: promptPart(entry), error: errorPart(entry) };
  Object.assign(parts, { footer: footerPart(entry), actions: actionsPart(entry), more: detailsPart(entry) });
  return Object.fromEntries(Object.entries(parts).map(([name, part]) => [name, part ?? document.createComment(name)]));
}

function headerPart(entry) {
  const kind = element("span", { class: "kind" }, ` ${entry.kind ?? ""}`);
  const [cost, usd] = costs(entry);
  return element(
    "header",
    {},
    element("h2", {}, entry.provider ?? "", kind),
    element("span", { class: "price" }, element("span", { class: "cost" }, cost), usd && " · ", usd && element("span", { class: "usd" }, usd)),
  );
}

/** Return what an entry cost in words, and its dollars where it is in credits of Kie.ai. */
function costs(entry) {
  const [known, guess] = [entry.credits, entry.estimated_credits];
  if (entry.cost !== undefined) return [entry.cost];
  if (known === undefined && guess === undefined) return [["completed", "failed"].includes(entry.status) ? "cost unknown" : ""];
  return [(known === undefined ? "about " : "") + inUnit(known ?? guess, entry.unit), entry.unit ? undefined : dollars(known ?? guess)];
}

function promptPart(entry) {
  const text = promptOf(entry);
  if (!text) {
    const missing = entry.elsewhere ? "Made elsewhere, so its prompt is not on record." : "Without a prompt.";
    return element("p", { class: "prompt missing" }, missing);
  }
  if (text.length <= BRIEF_CHARS) return element("p", { class: "prompt", dir: "auto" }, text);
  const brief = element("summary", { title: "The whole prompt" }, element("span", { class: "brief", dir: "auto" }, cut(text, BRIEF_CHARS)));
  const isCut = entry.prompt_chars && element("small", {}, `The first ${amount(text.length)} of ${amount(entry.prompt_chars)} characters.`);
  return element("details", { class: "prompt" }, brief, element("p", { dir: "auto" }, text), isCut);
}

const errorPart = (entry) => entry.error && element("p", { class: "error", dir: "auto" }, entry.error);

function footerPart(entry) {
  const state = stateOf(entry);
  return element("footer", {}, element("span", { class: `state ${state}` }, capital(state)), entry.created_at && moment(entry.created_at));
}

function detailsPart(entry) {
  const results = entry.results ?? [];
  const files = results.filter((result) => result.name);
  const rows = [
    ["Tool", entry.tool],
    ["Model", entry.model],
    ["Id", idOf(entry)],
    ["Finished", entry.finished_at && moment(entry.finished_at)],
    ...files.map((file) => ["File", file.address ? element("a", { href: file.address }, file.name) : file.name]),
    ["Data", results.some((result) => result.url) && entry.data],
    ["Not saved", files.length && entry.unsaved && `results ${entry.unsaved.join(", ")}`],
    ...results.filter((result) => result.url).map((result) => ["Link", link(result.url, cut(result.url, 90))]),
    ...Object.entries(entry.arguments ?? {}),
  ];
  const terms = rows.filter(([, value]) => value).map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, value)));
  return element("details", { class: "more" }, element("summary", {}, "Details"), element("dl", {}, ...terms));
}

// Pictures, players and what stands in their place --------------------------------------------------------------------

function mediaPart(entry) {
  const results = (entry.results ?? []).filter(isShown);
  const state = stateOf(entry);
  const label = (result) => cut(promptOf(entry) || result.name || `Result ${result.number}`, 120);
  const shown = results.map((result, index) => playerOf(result, label(result), index, results.length));
  if (entry.data && !(entry.results ?? []).some((result) => result.url)) {
    shown.push(element("pre", { class: "text", tabindex: 0, dir: "auto" }, entry.data));
  }
  if (shown.length) {
    const sounds = results.some((result) => result.kind === "audio");
    return element("div", { class: sounds ? "media sounds" : shown.length > 1 ? "media many" : "media" }, ...shown);
  }
  const glyph = element("span", { class: "glyph", "aria-hidden": "true" }, GLYPHS[state] ?? "·");
  return element("div", { class: `media none ${state}` }, glyph, ...reasons(entry));
}

function playerOf(result, label, index, count) {
  const source = result.address ?? (result.url?.startsWith("https:") ? result.url : undefined);
  const playing = { src: source, controls: true, preload: stage.mode === "app" ? "metadata" : "none" };
  if (result.kind === "video") {
    return shownBy(result, element("video", { ...playing, poster: result.thumbnail, playsinline: true, "aria-label": label }));
  }
  if (result.kind === "audio") {
    const name = result.label && element("figcaption", { dir: "auto" }, result.label);
    return element("figure", {}, name, shownBy(result, element("audio", { ...playing, "aria-label": result.label || label })));
  }
  const { width, height } = result;
  const image = { src: result.thumbnail ?? source, alt: label, loading: "lazy", decoding: "async", width, height };
  const more = index === SHOTS - 1 && count > SHOTS && element("span", { class: "count", "aria-hidden": "true" }, `+${count - SHOTS}`);
  return element("a", { href: source ?? "#", class: "shot" }, shownBy(result, element("img", image)), more || null);
}

/** Say why the card of a task shows no result. */
function reasons(entry) {
  if (entry.task_id === undefined) {
    const page = entry.logs_page ?? "";
    const logs = isWeb(page) ? link(page, page.replace("https://", "")) : page;
    return entry.status === "unknown" ? [element("p", {}, "The answer was lost. Look at ", logs)] : [];
  }
  const links = (entry.results ?? []).filter((result) => result.url);
  const said = entry.gone ? [element("p", {}, "The saved file is gone.")] : [];
  if (stateOf(entry) === "expired") return [...said, element("p", {}, "Not saved; the link ended ", moment(entry.expires_at))];
  if (links.length) {
    const until = entry.expires_at ? ["; the link works until ", moment(entry.expires_at)] : [];
    const what = (result) => (links.length > 1 ? `Open result ${result.number}` : "Open the result");
    const open = (result) => link(result.url, result.label ? `${what(result)}: ${result.label}` : what(result));
    return [...said, element("p", {}, "Not saved", ...until), ...links.map(open)];
  }
  if (RUNNING.includes(entry.status) && entry.progress) {
    return [...said, element("p", {}, `${Math.round(entry.progress * 100)}% when last asked`)];
  }
  return entry.status === "completed" ? [...said, element("p", {}, "The service named no result.")] : said;
}
