// The page: what is shown follows from `state`; HTML of answers comes sanitised from the server.
import { api, ask, tokenOf, Failure } from "./api.js";
import { setUpDoor, showDoor } from "./door.js";
import { fillHtml, messageElement, sends } from "./messages.js";
import { openSettings, setUpSettings } from "./settings.js";
import { $, announce, confirmed, element, iconButton, typed } from "./parts.js";

const state = { me: null, talks: [], talk: null, draft: { system: "", temperature: 0.8 }, answering: null };
const question = $("question");

// ---- the list of conversations

async function loadTalks() {
  const search = $("search").value.trim();
  state.talks = await api(`GET /app/conversations?search=${encodeURIComponent(search)}`);
  showTalks();
}

function showTalks() {
  const list = $("talks");
  list.replaceChildren(
    ...state.talks.map((talk) => {
      const open = element("button", { className: "open" }, element("span", { textContent: talk.title }));
      open.addEventListener("click", () => { location.hash = `#/${talk.id}`; closeSide(); });
      const tools = element("div", { className: "tools" },
        iconButton("i-edit", `Rename ${talk.title}`, () => rename(talk)),
        iconButton("i-bin", `Delete ${talk.title}`, () => remove(talk)));
      const item = element("li", {}, open, tools);
      if (state.talk?.id === talk.id) {
        item.className = "current";
        open.setAttribute("aria-current", "page");
      }
      return item;
    }),
  );
  if (!state.talks.length) {
    const text = $("search").value ? "Nothing found" : "No conversations yet";
    list.append(element("li", { className: "none", textContent: text }));
  }
}

async function rename(talk) {
  const title = await typed("Rename the conversation", talk.title);
  if (!title || title === talk.title) return;
  const changed = await attempt(() => api(`PATCH /app/conversations/${talk.id}`, { title }));
  if (!changed) return;
  if (state.talk?.id === talk.id) { state.talk.title = changed.title; showTitle(); }
  await loadTalks();
}

async function remove(talk) {
  if (!(await confirmed(`Delete “${talk.title}”?`, "It cannot be brought back.", "Delete"))) return;
  if (state.talk?.id === talk.id) { stopAnswer(); }
  await attempt(() => api(`DELETE /app/conversations/${talk.id}`));
  announce("Deleted");
  if (state.talk?.id === talk.id) newTalk(); else await loadTalks();
}

let searching;
$("search").addEventListener("input", () => {
  clearTimeout(searching);
  searching = setTimeout(() => attempt(loadTalks), 200);
});
$("new").addEventListener("click", () => newTalk());

function newTalk() {
  stopAnswer();
  closeSide();
  state.draft = { system: "", temperature: 0.8 };
  if (location.hash && location.hash !== "#/") location.hash = "#/"; else route();
  question.focus();
}

function closeSide() {
  $("side").classList.remove("open");
  $("shade").hidden = true;
}
$("side-open").addEventListener("click", () => {
  $("side").classList.add("open");
  $("shade").hidden = false;
  $("side-close").focus();
});
for (const name of ["side-close", "shade"]) $(name).addEventListener("click", closeSide);

// ---- one conversation

async function route() {
  const id = location.hash.replace(/^#\//, "");
  if (state.talk?.id === id && id) return;
  stopAnswer();
  problem("");
  state.talk = null;
  if (id) {
    state.talk = await attempt(() => api(`GET /app/conversations/${encodeURIComponent(id)}`));
    if (!state.talk) history.replaceState(null, "", "#/");
  }
  showTalk();
  showTalks();
}

function showTitle() {
  const title = state.talk?.title ?? "New conversation";
  $("title").textContent = title;
  document.title = state.talk ? `${title} · Colossus` : "Colossus";
}

function showTalk() {
  showTitle();
  const turns = state.talk?.messages ?? [];
  $("messages").replaceChildren(...turns.map((turn) => messageElement(turn, answer)));
  $("welcome").hidden = turns.length > 0;
  toBottom(true);
}

// ---- asking and answering

question.addEventListener("keydown", (event) => {
  if (sends(event)) { event.preventDefault(); $("ask").requestSubmit(); }
  if (event.key === "ArrowUp" && !question.value) {
    const mine = [...document.querySelectorAll(".message.user")].at(-1);
    mine?.querySelector(".tools button:nth-child(2)")?.click();
    event.preventDefault();
  }
});
question.addEventListener("input", grow);

function grow() {
  question.style.height = "auto";
  question.style.height = `${question.scrollHeight}px`;
}

$("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  const content = question.value.trim();
  if (content && !state.answering) answer({ content });
});
$("stop").addEventListener("click", stopAnswer);

function stopAnswer() {
  state.answering?.abort();
}

function problem(text) {
  $("problem").textContent = text;
  $("problem").hidden = !text;
}

async function attempt(action) {
  try {
    return await action();
  } catch (error) {
    if (error instanceof Failure && error.code === "not_signed_in") { await start(); return undefined; }
    problem(error.message);
    return undefined;
  }
}

async function answer(body) {
  if (state.answering) return;
  problem("");
  const stopper = new AbortController();
  setAnswering(stopper);
  let shown = null;
  const begins = !state.talk;
  try {
    if (begins) {
      state.talk = { ...(await api("POST /app/conversations", state.draft)), messages: [] };
      history.replaceState(null, "", `#/${state.talk.id}`);
    }
    const talk = state.talk;
    for await (const event of ask(`/app/conversations/${talk.id}/answer`, body, stopper.signal)) {
      if (state.talk !== talk) { stopper.abort(); break; }
      shown = take(event, talk, body, shown);
    }
  } catch (error) {
    if (error.name !== "AbortError") {
      problem(error instanceof TypeError ? "The server cannot be reached." : error.message);
      if (error.code === "not_signed_in") { setAnswering(null); await start(); return; }
    }
  }
  setAnswering(null);
  if (begins && !shown && state.talk) await undo(state.talk);
  if (shown && !shown.done) await afterStop(shown);
  await attempt(loadTalks);
}

// A conversation whose first message was refused is none.
async function undo(talk) {
  state.talk = null;
  history.replaceState(null, "", "#/");
  await attempt(() => api(`DELETE /app/conversations/${talk.id}`));
}

// One event of an answer; gives the element that is being written and how far it is.
function take(event, talk, body, shown) {
  if (event.asked) {
    if (body.content) { question.value = ""; grow(); }
    const cut = body.place ?? event.asked.place;
    talk.messages = [...talk.messages.filter((turn) => turn.place < Math.min(cut, event.asked.place)), event.asked];
    talk.title = event.title;
    showTalk();
    if (event.dropped) {
      const text = "The beginning of the conversation is longer than the model can read; it answers to the rest.";
      $("messages").append(element("p", { className: "note", textContent: text }));
    }
    const writing = element("article", { className: "message assistant writing" },
      element("h2", { className: "hidden-text", textContent: "The model says:" }), element("div", { className: "body" }));
    writing.setAttribute("aria-busy", "true");
    $("messages").append(writing);
    announce("The model is answering");
    toBottom(true);
    return { writing, done: false };
  }
  const near = nearBottom();
  if (event.html !== undefined) fillHtml(shown.writing.querySelector(".body"), event.html);
  if (event.error) {
    problem(event.error);
    shown.writing.classList.remove("writing");
  }
  if (event.done) {
    talk.messages.push(event.done);
    shown.writing.replaceWith(messageElement(event.done, answer));
    announce(`The model said: ${event.done.content}`);
    shown = { ...shown, done: true };
  }
  if (near) toBottom();
  return shown;
}

// The server keeps what was said until the stop; show that.
async function afterStop(shown) {
  shown.writing.classList.remove("writing");
  const talk = state.talk;
  if (!talk) return;
  for (let tries = 0; tries < 10; tries += 1) {
    const fresh = await attempt(() => api(`GET /app/conversations/${talk.id}`));
    if (!fresh || state.talk !== talk) return;
    if (fresh.messages.at(-1)?.role === "assistant") {
      state.talk = fresh;
      showTalk();
      announce("Stopped");
      return;
    }
    await new Promise((resolve) => { setTimeout(resolve, 100); });
  }
}

function setAnswering(stopper) {
  state.answering = stopper;
  const hadFocus = [$("send"), $("stop")].includes(document.activeElement);
  $("send").hidden = Boolean(stopper);
  $("stop").hidden = !stopper;
  if (hadFocus) question.focus();
}

function nearBottom() {
  const box = $("scroll");
  return box.scrollHeight - box.scrollTop - box.clientHeight < 120;
}

function toBottom(always = false) {
  if (always || nearBottom()) $("scroll").scrollTop = $("scroll").scrollHeight;
}

// ---- instructions and temperature

$("open-tuning").addEventListener("click", () => {
  const from = state.talk ?? state.draft;
  $("system").value = from.system;
  $("temperature").value = from.temperature;
  $("temperature-shown").textContent = Number(from.temperature).toFixed(2);
  $("tuning").showModal();
});
$("temperature").addEventListener("input", () => {
  $("temperature-shown").textContent = Number($("temperature").value).toFixed(2);
});
// On submit, not on the dialog's close event: that one comes later, maybe after the next question.
$("tuning").querySelector("form").addEventListener("submit", async () => {
  const chosen = { system: $("system").value, temperature: Number($("temperature").value) };
  if (!state.talk) { state.draft = chosen; return; }
  const changed = await attempt(() => api(`PATCH /app/conversations/${state.talk.id}`, chosen));
  if (changed) Object.assign(state.talk, { system: changed.system, temperature: changed.temperature });
});

// ---- keys that work everywhere

document.addEventListener("keydown", (event) => {
  if ($("app").hidden) return;
  if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k") {
    event.preventDefault();
    $("side").classList.add("open");
    $("search").focus();
  } else if (event.altKey && event.key.toLowerCase() === "n") {
    event.preventDefault();
    newTalk();
  } else if (event.key === "Escape" && !document.querySelector("dialog[open]")) {
    if ($("side").classList.contains("open")) closeSide();
    stopAnswer();
  }
});
// Not submit buttons: Enter in a field presses the first of those.
for (const button of document.querySelectorAll("[data-close]")) {
  button.addEventListener("click", () => button.closest("dialog").close("cancel"));
}
addEventListener("hashchange", () => attempt(route));

// ---- the beginning

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

setUpDoor(start);
setUpSettings({ attempt, start, deleted: newTalk });
$("open-settings").addEventListener("click", () => { closeSide(); attempt(openSettings); });
start().catch((error) => { document.body.append(element("p", { className: "notice error", textContent: error.message })); });
