// Elements made of text alone: nothing that comes from outside is ever read as markup.

const CONTROLS = /[\x00-\x08\x0b-\x1f\x7f]/g;

const byId = (id) => document.getElementById(id);
const plain = (value) => String(value).toWellFormed().replace(CONTROLS, " ");
const cut = (text, most) => (text.length <= most ? text : `${text.slice(0, most - 1)}…`);
const capital = (word) => word.charAt(0).toUpperCase() + word.slice(1);

/** Return an element. Attributes that are null or false are left out; `onclick` and the like take functions. */
function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (typeof value === "function") made.addEventListener(key.slice(2), value);
    else made.setAttribute(key, value === true ? "" : plain(value));
  }
  const present = children.flat().filter((child) => child !== null && child !== undefined && child !== "");
  made.append(...present.map((child) => (child instanceof Node ? child : plain(child))));
  return made;
}

/** Return a link to a web address; any other address is shown as text, so that it can't be followed. */
function link(url, text) {
  if (!isWeb(url)) return element("span", {}, cut(url, 90));
  return element("a", { href: url, target: "_blank", rel: "noopener noreferrer" }, text);
}

function isWeb(url) {
  return URL.canParse(url) && /^https?:$/.test(new URL(url).protocol);
}

const reader = { locale: undefined, timeZone: undefined };

/** Return a moment as the reader writes it, with the moment in UTC as its title. */
function moment(iso) {
  const at = new Date(iso);
  if (Number.isNaN(at.valueOf())) return null;
  const style = { dateStyle: "medium", timeStyle: "short", timeZone: reader.timeZone };
  const utc = `${at.toISOString().slice(0, 16).replace("T", " ")} UTC`;
  return element("time", { datetime: at.toISOString().replace(".000", ""), title: utc }, at.toLocaleString(reader.locale, style));
}

const amount = (value) => value.toLocaleString("en-US", { maximumFractionDigits: 2 });
const exact = (value) => value.toLocaleString("en-US", { maximumFractionDigits: 6 }); // in dollars, thousandths count
const counted = (value, one, many) => `${amount(value)} ${value === 1 ? one : many}`;

function dollars(credits) {
  const usd = credits * stage.usd;
  const digits = { minimumFractionDigits: 2, maximumFractionDigits: usd >= 1 ? 2 : usd >= 0.001 ? 4 : 6 }; // as answers have them
  return usd.toLocaleString("en-US", { style: "currency", currency: "USD", ...digits });
}

/** Return an amount with its unit, which an entry names where it is not the credits of Kie.ai. */
const inUnit = (value, unit) => `${exact(value)} ${unit ?? (value === 1 ? "credit" : "credits")}`;

/** Return the same with the dollars that credits of Kie.ai cost. */
const price = (value, unit) => inUnit(value, unit) + (unit ? "" : ` (${dollars(value)})`);

const stage = JSON.parse(byId("data").textContent);

const idOf = (entry) => entry.task_id ?? `submission ${entry.submission_id}`;
