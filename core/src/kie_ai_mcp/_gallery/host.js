// The bridge to a host of MCP Apps (SEP-1865): JSON-RPC over postMessage with the window that embeds the page.

const PROTOCOL = "2026-01-26";
// What a host's style may set; a value that is not of its sort is left out.
// Its values are written out: what a name stands for, or an address, is not known to be of a sort.
const UNSURE = /\\|(var|env|attr|url)\(/i;
const ANSWER_MS = 90_000; // how long a host may take for what buys nothing
const STYLES = [
  [/^--color-/, "color"],
  [/^--font-(sans|mono)$/, "font-family"],
  [/^--border-radius-/, "border-radius"],
];

const host = {
  capabilities: {},
  waiting: new Map(),
  last: 0,
  heard: {}, // functions that take the host's notifications, by method

  can: (name) => host.capabilities[name] !== undefined,

  send: (message) => parent.postMessage({ jsonrpc: "2.0", ...message }, "*"),

  notify: (method, params = {}) => host.send({ method, params }),

  /** Ask the host; one that does not answer in time has failed, unless there is no limit. */
  ask: (method, params, limit_ms = ANSWER_MS) =>
    new Promise((resolve, reject) => {
      host.last += 1;
      host.waiting.set(host.last, { resolve, reject });
      if (limit_ms) setTimeout(() => reject(new Error("the host does not answer")), limit_ms);
      host.send({ id: host.last, method, params });
    }),

  call: (name, args, limit_ms) => host.ask("tools/call", { name, arguments: args }, limit_ms),

  open: (url) => host.ask("ui/open-link", { url }),

  /** Return a result as an address that needs no network. */
  async read(uri) {
    const { contents } = await host.ask("resources/read", { uri });
    return `data:${contents[0].mimeType};base64,${contents[0].blob}`;
  },

  take(event) {
    if (event.source !== parent || event.data?.jsonrpc !== "2.0") return;
    const { id, method, params, result, error: failure } = event.data;
    if (method === undefined) {
      const waiting = host.waiting.get(id);
      host.waiting.delete(id);
      if (failure) waiting?.reject(new Error(plain(failure.message)));
      else waiting?.resolve(result ?? {});
    } else if (id === undefined) {
      host.heard[method]?.(params ?? {});
    } else if (method === "ui/resource-teardown" || method === "ping") {
      if (method !== "ping") host.heard[method]?.();
      host.send({ id, result: {} });
    } else {
      host.send({ id, error: { code: -32601, message: `${method} is not known here` } });
    }
  },

  async connect() {
    addEventListener("message", host.take);
    const answer = await host.ask("ui/initialize", {
      appInfo: { name: "kie-ai gallery", version: stage.version },
      appCapabilities: { availableDisplayModes: ["inline", "fullscreen"] },
      protocolVersion: PROTOCOL,
    });
    host.capabilities = answer.hostCapabilities ?? {};
    host.dress(answer.hostContext ?? {});
    host.notify("ui/notifications/initialized");
    new ResizeObserver(host.measure).observe(document.documentElement);
  },

  /** Take over theme, colours, language and margins of the host. */
  dress(context) {
    const root = document.documentElement;
    if (["light", "dark"].includes(context.theme)) root.dataset.theme = context.theme;
    for (const [name, value] of Object.entries(context.styles?.variables ?? {})) {
      const sort = STYLES.find(([pattern]) => pattern.test(name))?.[1];
      if (sort && typeof value === "string" && !UNSURE.test(value) && CSS.supports(sort, value)) root.style.setProperty(name, value);
    }
    const has = (options) => {
      try {
        return Boolean(new Intl.DateTimeFormat(options.locale, { timeZone: options.timeZone }));
      } catch {
        return false;
      }
    };
    for (const name of ["locale", "timeZone"]) if (context[name] && has({ [name]: context[name] })) reader[name] = context[name];
    const insets = Object.values(context.safeAreaInsets ?? {});
    if (insets.length === 4 && insets.every(Number.isFinite)) {
      const { top, right, bottom, left } = context.safeAreaInsets;
      root.style.padding = `${top}px ${right}px ${bottom}px ${left}px`;
    }
  },

  measure() {
    const { width, height } = document.documentElement.getBoundingClientRect();
    host.notify("ui/notifications/size-changed", { width: Math.ceil(width), height: Math.ceil(height) });
  },
};

let reading = Promise.resolve(); // results are read one after the other

/** Return a picture or player that is read through the host where its link can't be loaded, or there is none. */
function shownBy(result, shown) {
  if (stage.mode !== "app") return shown;
  let isRead = false;
  const read = () => {
    if (isRead || !result.uri || !host.can("serverResources")) {
      shown.replaceWith(element("span", { class: "unshown" }, "It can't be shown here."));
      return;
    }
    isRead = true;
    reading = reading
      .then(() => host.read(result.uri))
      .then((address) => {
        shown.src = address;
        if (shown.parentElement?.matches(".shot")) shown.parentElement.href = address;
      })
      .catch(read);
  };
  shown.addEventListener("error", read);
  if (!shown.getAttribute("src")) read();
  return shown;
}
