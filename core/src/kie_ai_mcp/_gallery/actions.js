// Actions of a card: copy what was asked, and in a host call the server's tools. A paid button says its price first.

/** Return the buttons of an entry, and the line that says what came of them. */
function actions(entry) {
  const said = element("p", { class: "said", role: "status" });
  const say = (text) => said.replaceChildren(plain(text));
  const buttons = stage.mode === "app" ? hostButtons(entry, say) : [];
  if (promptOf(entry)) {
    const whole = () => (entry.again ? promptAt(entry.again) : null) ?? promptOf(entry);
    buttons.push(element("button", { type: "button", onclick: () => copy(whole(), say, "The prompt is copied.") }, "Copy prompt"));
  }
  if (stage.mode !== "app" && entry.command) {
    const done = `Copied. Run it in a terminal: ${entry.command}`;
    const attributes = { type: "button", "aria-label": "Copy command to make it again", onclick: () => copy(entry.command, say, done) };
    buttons.push(element("button", attributes, "Copy command"));
  }
  return buttons.length ? element("div", { class: "actions" }, ...buttons, said) : null;
}

async function copy(text, say, done) {
  try {
    await navigator.clipboard.writeText(text);
    say(done);
  } catch {
    const field = element("textarea", { readonly: true, class: "hidden" });
    field.value = text;
    document.body.append(field);
    field.select();
    say(document.execCommand("copy") ? done : text);
    field.remove();
  }
}

// In a host ---------------------------------------------------------------------------------------------------------

function hostButtons(entry, say) {
  const calls = host.can("serverTools");
  const done = entry.status === "completed";
  const buttons = [];
  if (calls && entry.again) {
    buttons.push(paidButton("Make again", entry, () => entry.again, say));
    if (entry.again.prompt) buttons.push(...varied(entry, say));
  }
  if (calls && done) buttons.push(...(entry.more ?? []).map((more) => paidButton(more.title, null, () => more, say)));
  if (calls && done && entry.unsaved && stateOf(entry) !== "expired") buttons.push(button("Save", () => save(entry, say)));
  const first = (entry.results ?? []).find((result) => result.url && isWeb(result.url));
  if (first && stateOf(entry) !== "expired" && host.can("openLinks")) buttons.push(button("Open", () => host.open(first.url)));
  return buttons;
}

/** Return a button that is disabled while what it started is under way, so that two clicks are one. */
function button(text, act) {
  const made = element("button", { type: "button" }, text);
  made.addEventListener("click", async () => {
    if (made.ariaBusy === "true") return;
    made.ariaBusy = "true";
    made.ariaDisabled = "true"; // not `disabled`: the focus stays
    try {
      await act(made);
    } finally {
      made.ariaBusy = "false";
      made.ariaDisabled = null;
    }
  });
  return made;
}

/**
 * Return a button that buys. It says the price of `entry`; where that is not known, the first press asks for it.
 * A press that the host did not pass on keeps its key for the next one, so that nothing is paid for twice.
 */
function paidButton(title, entry, callOf, say) {
  const known = entry?.credits || entry?.estimated_credits;
  let priced = Boolean(known);
  let key = null;
  const made = button(known ? `${title} · ~${counted(known, "credit", "credits")}` : `${title} · price?`, async () => {
    const call = callOf();
    if (!priced) {
      made.textContent = `${title} · ${await quoted(call)}`;
      priced = true;
      say("Press again to buy it.");
      return;
    }
    key ??= randomKey();
    say("Sending…");
    try {
      // A tool that is paid for once takes no key.
      const answer = await host.call(call.tool, call.once ? call.arguments : { ...call.arguments, idempotency_key: key });
      key = null;
      if (answer.structuredContent?.status === "unknown") made.remove(); // it may have been charged
      started(answer, say);
    } catch (problem) {
      say(`The host did not pass it on: ${problem.message}. Press again: the same request is not paid for twice.`);
    }
  });
  if (known) made.title = `about ${price(known, entry.gateway)}`;
  made.unprice = () => {
    priced = false;
    key = null;
    made.textContent = `${title} · price?`;
    made.removeAttribute("title");
  };
  return made;
}

/** Return in words what a call costs, as the server estimates it; it buys nothing. */
async function quoted(call) {
  try {
    const { structuredContent: cost = {} } = await host.call("estimate_cost", { name: call.tool, arguments: call.arguments });
    if (typeof cost.credits !== "number") return "price unknown";
    const most = cost.at_most ? "at most " : "";
    return most + (cost.unit === "credits" ? price(cost.credits, "kie") : `${amount(cost.credits)} ${cost.unit}`);
  } catch {
    return "price unknown";
  }
}

/** Show what a paid call came to: the new task in the gallery, or the server's own words. */
function started(answer, say) {
  const task = answer.structuredContent ?? (answer.taskId && { task_id: answer.taskId, status: "pending" });
  if (answer.isError || !task?.task_id || !RUNNING.concat("completed").includes(task.status)) {
    say(textOf(answer) || "The host answered without a word: ask the assistant what became of it.");
    return;
  }
  say(`Task ${task.task_id} is started.`);
  receive({ structuredContent: { tasks: [task] }, _meta: answer._meta }, true);
}

/** Return the button and the form that make an entry anew with other words. */
function varied(entry, say) {
  const words = element("textarea", { rows: 4, "aria-label": "The new prompt", dir: "auto" });
  words.value = promptAt(entry.again);
  const make = paidButton("Make", entry, () => withPrompt(entry.again, words.value), say);
  const asked = element("form", { class: "vary", hidden: true, onsubmit: (event) => event.preventDefault() }, words, make);
  words.addEventListener("change", () => make.unprice());
  const open = button("Vary", () => {
    asked.hidden = !asked.hidden;
    open.ariaExpanded = String(!asked.hidden);
    if (!asked.hidden) words.focus();
  });
  open.ariaExpanded = "false";
  return [open, asked];
}

const promptAt = (again) => again.prompt?.reduce((value, name) => value?.[name], again.arguments) ?? null;

/** Return a call with other words at the place of its prompt. */
function withPrompt(again, words) {
  const made = structuredClone(again);
  const [last, ...before] = again.prompt.toReversed();
  before.toReversed().reduce((value, name) => value[name], made.arguments)[last] = words;
  return made;
}

async function save(entry, say) {
  say("Saving…");
  try {
    const answer = await host.call("save_result", { task_id: entry.task_id });
    say(answer.structuredContent?.files?.length ? `Saved: ${answer.structuredContent.files.join(", ")}` : textOf(answer));
    await renewed([entry.task_id]);
  } catch (problem) {
    say(`It was not saved: ${problem.message}`);
  }
}

function randomKey() {
  return `gallery-${[...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}

const textOf = (answer) =>
  (answer.content ?? [])
    .filter((block) => block.type === "text")
    .map((block) => block.text)
    .join("\n");
