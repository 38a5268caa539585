// The page: what is shown follows from `state`.
import { api, tokenOf } from "./api.js";
import { setUpDoor, showDoor } from "./door.js";
import { $, element } from "./parts.js";
import { openSettings, setUpSettings } from "./settings.js";
import { closeSide, loadTalks, newTalk, openSide } from "./side.js";
import { attempt, question, state } from "./state.js";
import { route, showTitle, stopAnswer, toBottom } from "./talk.js";
import "./tuning.js";

document.addEventListener("keydown", (event) => {
  if ($("app").hidden) return;
  if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k") {
    event.preventDefault();
    openSide("search");
  } else if (event.altKey && event.key.toLowerCase() === "n") {
    event.preventDefault();
    newTalk();
  } else if (event.key === "Escape" && !document.querySelector("dialog[open]")) {
    if (!closeSide()) stopAnswer();
  }
});
// Not submit buttons: Enter in a field presses the first of those.
for (const button of document.querySelectorAll("[data-close]")) {
  button.addEventListener("click", () => button.closest("dialog").close("cancel"));
}
addEventListener("hashchange", () => attempt(route));

function empty() {
  state.talk = null;
  // Nothing of who was here before stays behind.
  state.talks = [];
  for (const id of ["talks", "messages", "who", "keys", "usage", "key-secret", "status"]) $(id).replaceChildren();
  for (const id of ["question", "search", "system"]) $(id).value = "";
  showTitle();
}

async function start() {
  state.me = await api("GET /app/me");
  tokenOf(state.me.csrf);
  document.querySelectorAll("dialog[open]").forEach((dialog) => dialog.close());
  if (!state.me.user) { empty(); showDoor(state.me); return; }
  $("welcome-model").textContent = state.me.title || state.me.model;
  $("who").replaceChildren(
    document.createTextNode(state.me.accounts ? state.me.user.name : "Settings"),
    ...(state.me.accounts ? [element("small", { textContent: `${state.me.user.tier} · settings` })] : []),
  );
  $("account").hidden = !state.me.accounts;
  $("account-name").value = state.me.user.name; // for the browser's list of passwords
  $("sign-out").hidden = !state.me.accounts;
  state.talk = null;
  await loadTalks();
  await route();
  // Shown only now: a question asked before would be stopped by the route.
  $("door").hidden = true;
  $("app").hidden = false;
  toBottom(true);
  question.focus();
}

state.start = start;
setUpDoor(start);
setUpSettings({ attempt, start, deleted: newTalk });
$("open-settings").addEventListener("click", () => { closeSide(); attempt(openSettings); });
start().catch((error) => { document.body.append(element("p", { className: "notice error", textContent: error.message })); });
