// The list of conversations.
import { api } from "./api.js";
import { route, showTitle, stopAnswer } from "./talk.js";
import { $, announce, confirmed, element, iconButton, typed } from "./parts.js";
import { attempt, question, state } from "./state.js";

export async function loadTalks() {
  const search = $("search").value.trim();
  state.talks = await api(`GET /app/conversations?search=${encodeURIComponent(search)}`);
  showTalks();
}

export function showTalks() {
  const list = $("talks");
  list.replaceChildren(
    ...state.talks.map((talk) => {
      const open = element("button", { className: "open" }, element("span", { textContent: talk.title, dir: "auto" }));
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

export function newTalk() {
  stopAnswer();
  closeSide();
  state.draft = { system: "", temperature: 0.8 };
  if (location.hash && location.hash !== "#/") location.hash = "#/"; else route();
  question.focus();
}

// On a phone the list lies over the conversation, which is out of reach meanwhile.
const phone = matchMedia("(max-width: 760px)");
const talk = document.querySelector("main.talk");

function cover(covered) {
  $("side").classList.toggle("open", covered);
  $("shade").hidden = !covered;
  talk.inert = covered;
  $("side-open").setAttribute("aria-expanded", String(covered));
}

export function openSide(focus) {
  if (phone.matches) cover(true);
  $(focus).focus();
}

// Whether there was something to close.
export function closeSide() {
  if (!$("side").classList.contains("open")) return false;
  const inside = $("side").contains(document.activeElement);
  cover(false);
  if (inside) $("side-open").focus();
  return true;
}
phone.addEventListener("change", closeSide);
$("side-open").addEventListener("click", () => openSide("side-close"));
for (const name of ["side-close", "shade"]) $(name).addEventListener("click", closeSide);
