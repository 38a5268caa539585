// One conversation: asking and answering. HTML of answers comes sanitised from the server.
import { api, ask } from "./api.js";
import { fillHtml, messageElement, sends } from "./messages.js";
import { $, announce, element } from "./parts.js";
import { loadTalks, showTalks } from "./side.js";
import { attempt, problem, question, state } from "./state.js";

const LONGEST = 100_000; // as the server's

export async function route() {
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

export function showTitle() {
  const title = state.talk?.title ?? "New conversation";
  $("title").textContent = title;
  document.title = state.talk ? `${title} · Colossus` : "Colossus";
}

function showTalk() {
  showTitle();
  const turns = state.talk?.messages ?? [];
  const waits = (turn) => turn === turns.at(-1) && !state.answering; // as after a server that was killed
  $("messages").replaceChildren(...turns.map((turn) => messageElement(turn, answer, waits(turn))));
  $("welcome").hidden = turns.length > 0;
  toBottom(true);
}

question.addEventListener("keydown", (event) => {
  if (sends(event)) { event.preventDefault(); $("ask").requestSubmit(); }
  if (event.key === "ArrowUp" && !question.value) {
    const mine = [...document.querySelectorAll(".message.user")].at(-1);
    mine?.querySelector(".tools button:nth-child(2)")?.click();
    event.preventDefault();
  }
});
question.addEventListener("input", grow);
// Before it is there: browsers stand still over megabytes in a field.
question.addEventListener("beforeinput", (event) => {
  const added = event.data ?? event.dataTransfer?.getData("text/plain") ?? "";
  if (added.length > LONGEST) { event.preventDefault(); tooLong(added.length); }
});

function tooLong(length) {
  problem(`The text has ${length.toLocaleString()} characters; ${LONGEST.toLocaleString()} can be sent at once.`);
}

function grow() {
  question.style.height = "auto";
  question.style.height = `${question.scrollHeight}px`;
}

$("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  const content = question.value.trim();
  if (content && !state.answering) answer({ content });
});
$("ideas").addEventListener("click", (event) => {
  if (!event.target.matches("button") || state.answering) return;
  question.focus();
  answer({ content: event.target.textContent });
});
$("stop").addEventListener("click", stopAnswer);

export function stopAnswer() {
  state.answering?.abort();
}

async function answer(body) {
  if (state.answering) return;
  if (body.content?.length > LONGEST) return tooLong(body.content.length);
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
      if (error.code === "not_signed_in") { setAnswering(null); await state.start(); return; }
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
      element("h2", { className: "hidden-text", textContent: "The model says:" }), element("div", { className: "body", dir: "auto" }));
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
    if (state.talk !== talk) return;
    if (!fresh) {
      if (!shown.writing.querySelector(".body").textContent) showTalk();
      return;
    }
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

export function toBottom(always = false) {
  if (always || nearBottom()) $("scroll").scrollTop = $("scroll").scrollHeight;
  showLatest();
}

function showLatest() {
  $("latest").hidden = nearBottom();
}
$("scroll").addEventListener("scroll", showLatest, { passive: true });
$("latest").addEventListener("click", () => { toBottom(true); question.focus(); });
