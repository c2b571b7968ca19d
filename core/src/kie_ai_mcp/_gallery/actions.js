// Actions of a card: copy what was asked, and in a host call the server's tools. A paid button says its price first.

const SLOW_MS = 30_000; // when a person who waits for a purchase is told that there is no answer yet

/** Return the buttons of an entry, and the line that says what came of them. */
function actionsPart(entry) {
  const said = element("p", { class: "said", role: "status" });
  // The card may be another one by then.
  const say = (text) => (drawn.get(idOf(entry))?.node.querySelector(".said") ?? said).replaceChildren(plain(text));
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
  buttons.sort((a, b) => a.matches("form") - b.matches("form")); // what opens stands below all of them
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
    buttons.push(paidButton("Again", entry, () => entry.again, say));
    if (entry.again.prompt) buttons.push(...varied(entry, say));
  }
  if (calls && done) buttons.push(...(entry.more ?? []).map((more) => paidButton(more.title, null, () => more, say)));
  if (calls && done && entry.unsaved && stateOf(entry) !== "expired") buttons.push(button("Save", () => save(entry, say)));
  const first = (entry.results ?? []).find((result) => result.url && isWeb(result.url));
  if (first && stateOf(entry) !== "expired" && host.can("openLinks")) buttons.push(button("Open", () => opened(first.url, say)));
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

const keys = new Map(); // of calls that were sent and of which no task is known, by the call

/**
 * Return a button that buys. It says the price of `entry`; where that is not known, the first press asks for it.
 * A press of which no task came keeps its key for the next one, so that nothing is paid for twice.
 */
function paidButton(title, entry, callOf, say) {
  const known = entry && (entry.credits || entry.estimated_credits);
  let priced = Boolean(known);
  const made = button(title, async () => {
    const call = callOf();
    const written = JSON.stringify(call);
    if (!priced) {
      const cost = await quoted(call);
      if (JSON.stringify(callOf()) !== written) return; // its words have changed meanwhile
      mark(...cost);
      priced = true;
      say("Press again to buy it.");
      return;
    }
    if (!keys.has(written)) keys.set(written, randomKey());
    say("Sending…");
    const slow = setTimeout(say, SLOW_MS, "No answer yet. Before it is made anew, let the assistant look with list_tasks.");
    let answer;
    try {
      // A tool that is paid for once takes no key.
      answer = await host.call(call.tool, call.once ? call.arguments : { ...call.arguments, idempotency_key: keys.get(written) }, 0);
    } catch (problem) {
      say(`The host did not pass it on: ${problem.message}. Press again: the same request is not paid for twice.`);
      return;
    } finally {
      clearTimeout(slow);
    }
    if (answer.structuredContent?.status === "unknown") made.remove(); // it may have been charged
    if (started(answer, say)) keys.delete(written);
  });
  const mark = (short, long) => {
    made.textContent = `${title} · ${short}`;
    made.title = long;
  };
  made.unprice = () => {
    priced = false;
    mark("price?", "The first press asks for the price");
  };
  if (known) mark(`~${inUnit(known, entry.unit)}`, `about ${price(known, entry.unit)}`);
  else made.unprice();
  return made;
}

/** Return what a call costs, as the server estimates it, short and in full; it buys nothing. */
async function quoted(call) {
  try {
    const { structuredContent: cost = {} } = await host.call("estimate_cost", { name: call.tool, arguments: call.arguments });
    if (typeof cost.credits !== "number") throw new Error("no number");
    const most = cost.at_most ? "at most " : "";
    const unit = cost.unit === "credits" ? undefined : cost.unit;
    return [most + inUnit(cost.credits, unit), most + price(cost.credits, unit)];
  } catch {
    return ["price unknown", "The server can't tell the price"];
  }
}

/** Show what a paid call came to: the new task, which is returned, or the server's own words. */
function started(answer, say) {
  const task = answer.structuredContent ?? (answer.taskId && { task_id: answer.taskId, status: "pending" });
  if (answer.isError || !task?.task_id || !RUNNING.concat("completed").includes(task.status)) {
    const asks = answer.resultType === "input_required" && "A person has to agree first, and this host did not ask: let the assistant make it.";
    say(asks || textOf(answer) || "The host answered without a word: ask the assistant what became of it.");
    return null;
  }
  say(`Task ${task.task_id} is started.`);
  receive({ structuredContent: { tasks: [task] }, _meta: answer._meta }, true);
  return task;
}

/** Return the button and the form that make an entry anew with other words. */
function varied(entry, say) {
  const words = element("textarea", { rows: 4, "aria-label": "The new prompt", dir: "auto" });
  words.value = promptAt(entry.again);
  const make = paidButton("Make", entry, () => withPrompt(entry.again, words.value), say);
  const asked = element("form", { class: "vary", hidden: true, onsubmit: (event) => event.preventDefault() }, words, make);
  words.addEventListener("input", () => make.unprice());
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
    const answer = await host.call("save_result", { task_id: entry.task_id }, 0);
    const files = [answer.structuredContent?.files ?? []].flat().join(", ");
    say(files ? `Saved: ${files}` : textOf(answer) || "The host answered without a word.");
  } catch (problem) {
    say(`It was not saved: ${problem.message}`);
    return;
  }
  await renewed([entry.task_id]).catch(() => {}); // it is saved all the same
}

async function opened(url, say) {
  try {
    await host.open(url);
  } catch (problem) {
    say(`The host did not open it: ${problem.message}`);
  }
}

function randomKey() {
  return `gallery-${[...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}

const textOf = (answer) =>
  listOf(answer.content)
    .filter((block) => block.type === "text")
    .map((block) => block.text)
    .join("\n");
