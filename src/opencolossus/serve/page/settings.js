// The dialog of settings: appearance, usage, keys, data, account.
import { api } from "./api.js";
import { $, announce, confirmed, copy, element, iconButton } from "./parts.js";

let page;

export async function openSettings() {
  const chosen = document.documentElement.dataset.theme;
  for (const radio of $("themes").querySelectorAll("input")) radio.checked = radio.value === chosen;
  $("key-made").hidden = true;
  $("account-said").textContent = "";
  $("password-form").reset();
  await Promise.all([showUsage(), showKeys()]);
  $("settings").showModal();
}

async function showUsage() {
  const used = await api("GET /app/usage");
  const rows = [
    ["Requests this minute", used.minute.requests], ["Tokens this minute", used.minute.tokens],
    ["Requests this month", used.month.requests], ["Tokens this month", used.month.tokens],
  ];
  $("usage").replaceChildren(...rows.map(([name, [count, limit]]) => {
    const of = limit === null ? "" : ` of ${limit.toLocaleString()}`;
    const row = element("div", {}, element("span", { textContent: name }), element("span", { textContent: count.toLocaleString() + of }));
    if (limit !== null) {
      const bar = element("progress", { max: limit, value: Math.min(count, limit) });
      bar.setAttribute("aria-label", name);
      row.append(bar);
    }
    return row;
  }));
}

async function showKeys() {
  const keys = await api("GET /app/keys");
  const day = (seconds) => new Date(seconds * 1000).toLocaleDateString();
  $("keys").replaceChildren(...keys.map((key) => {
    const used = key.used ? `used ${day(key.used)}` : "never used";
    const ends = key.expires ? `, expires ${day(key.expires)}` : "";
    const text = element("span", {}, element("strong", { textContent: key.name }), " ",
      element("code", { textContent: `${key.hint}…` }), " ", element("span", { className: "quiet", textContent: used + ends }));
    return element("li", {}, text, iconButton("i-bin", `Delete the key ${key.name}`, () => page.attempt(async () => {
      if (!(await confirmed(`Delete the key “${key.name}”?`, "Programs that use it are shut out from then on.", "Delete"))) return;
      await api(`DELETE /app/keys/${key.id}`);
      await showKeys();
    })));
  }));
}

export function setUpSettings(given) {
  page = given;
  $("themes").addEventListener("change", (event) => {
    document.documentElement.dataset.theme = event.target.value;
    localStorage.setItem("theme", event.target.value);
  });
  $("new-key").addEventListener("submit", (event) => {
    event.preventDefault();
    page.attempt(async () => {
      const made = await api("POST /app/keys", { name: $("key-name").value, days: Number($("key-days").value) || null });
      $("key-name").value = "";
      $("key-secret").textContent = made.secret;
      $("key-made").hidden = false;
      await showKeys();
    });
  });
  $("key-copy").addEventListener("click", (event) => copyText(event.currentTarget));
  $("delete-all").addEventListener("click", deleteAll);
  $("password-form").addEventListener("submit", changePassword);
  $("leave").addEventListener("click", leave);
  $("sign-out").addEventListener("click", () => page.attempt(async () => {
    await api("POST /app/sign-out", {});
    location.hash = "";
    await page.start();
  }));
}

async function copyText(button) {
  await copy($("key-secret").textContent, element("button"));
  button.textContent = "Copied";
  setTimeout(() => { button.textContent = "Copy"; }, 1500);
}

async function deleteAll() {
  if (!(await confirmed("Delete all conversations?", "They cannot be brought back.", "Delete all"))) return;
  await page.attempt(async () => {
    await api("DELETE /app/conversations");
    announce("All conversations are deleted");
    $("settings").close();
    page.deleted();
  });
}

async function said(action, text) {
  try {
    await action();
    $("account-said").textContent = text;
    $("account-said").className = "quiet";
    return true;
  } catch (error) {
    $("account-said").textContent = error.message;
    $("account-said").className = "error";
    return false;
  }
}

async function changePassword(event) {
  event.preventDefault();
  const body = { password: $("password-old").value, new_password: $("password-new").value };
  if (await said(() => api("POST /app/password", body), "The password is changed.")) {
    $("password-form").reset();
    page.start();
  }
}

async function leave() {
  const password = $("password-old").value;
  if (!password) { $("password-old").focus(); await said(() => Promise.reject(new Error("Type your password first.")), ""); return; }
  if (!(await confirmed("Delete your account?", "Conversations, keys and usage go with it.", "Delete the account"))) return;
  if (await said(() => api("POST /app/leave", { password }), "")) { location.hash = ""; await page.start(); }
}
