// A host on the official library: it passes on to the test what the app asks of it, in the shape of our own host's page.

import { AppBridge, PostMessageTransport } from "@modelcontextprotocol/ext-apps/app-bridge";

const app = document.getElementById("app");
Object.assign(window, { app, inbox: [], sizes: [], notices: [] });
const waiting = new Map();

const bridge = new AppBridge(null, { name: "official", version: "1" }, given.capabilities, { hostContext: given.context });
const ask = (method) => (params) =>
  new Promise((resolve, reject) => {
    const id = waiting.size + 1;
    waiting.set(id, { resolve, reject });
    inbox.push({ id, method, params });
  });
bridge.oncalltool = ask("tools/call");
bridge.onreadresource = ask("resources/read");
bridge.onopenlink = ask("ui/open-link");
bridge.oninitialized = () => notices.push({ method: "ui/notifications/initialized" });
bridge.onsizechange = (size) => {
  sizes.push(size);
  app.style.height = `${size.height}px`;
};

const notify = {
  "ui/notifications/tool-input": (params) => bridge.sendToolInput(params),
  "ui/notifications/tool-result": (params) => bridge.sendToolResult(params),
  "ui/notifications/tool-cancelled": (params) => bridge.sendToolCancelled(params),
  "ui/notifications/host-context-changed": (params) => bridge.setHostContext({ ...given.context, ...params }),
};
window.post = ({ id, method, params, result, error }) => {
  if (method) notify[method](params);
  else if (error) waiting.get(id).reject(new Error(error.message));
  else waiting.get(id).resolve(result);
};
window.end = () => bridge.teardownResource({});

await bridge.connect(new PostMessageTransport(app.contentWindow, app.contentWindow));
app.srcdoc = given.html;
