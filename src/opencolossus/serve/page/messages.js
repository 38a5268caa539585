// Messages as they are shown. `answer` is what asks for another answer; `waits` says that a message has none.
import { $, copy, element, iconButton } from "./parts.js";

export function sends(event) {
  return event.key === "Enter" && !event.shiftKey && !event.isComposing;
}

export function messageElement(turn, answer, waits = false) {
  const who = turn.role === "user" ? "You" : "The model";
  const body = element("div", { className: "body", dir: "auto" });
  fill(body, turn);
  const tools = element("div", { className: "tools" });
  tools.append(iconButton("i-copy", "Copy", (button) => copy(turn.content, button)));
  const message = element("article", { className: `message ${turn.role}` },
    element("h2", { className: "hidden-text", textContent: `${who} said:` }), body, tools);
  if (turn.role === "user") {
    tools.append(iconButton("i-edit", "Edit and send again", () => edit(message, turn, answer)));
    if (waits) tools.append(iconButton("i-again", "Answer this", () => answer({})));
  } else {
    tools.append(iconButton("i-again", "Answer again", () => answer({ place: turn.place })));
    const ends = { length: "The answer reached its longest length.", cancelled: "Stopped.", error: "Broken off." };
    if (ends[turn.finish]) tools.append(element("span", { className: "ended", textContent: ends[turn.finish] }));
  }
  return message;
}

function fill(body, turn) {
  if (turn.role === "user") { body.textContent = turn.content; return; }
  fillHtml(body, turn.html);
}

export function fillHtml(body, html) {
  body.innerHTML = html; // rendered and sanitised by the server
  for (const block of body.querySelectorAll("pre")) {
    const frame = element("div", { className: "code" });
    block.replaceWith(frame);
    block.tabIndex = 0;
    const button = iconButton("i-copy", "Copy the code", (self) => copy(block.textContent, self));
    button.classList.add("copy-code");
    frame.append(block, button);
  }
}

function edit(message, turn, answer) {
  const field = element("textarea", { value: turn.content, dir: "auto", rows: Math.min(8, turn.content.split("\n").length + 1) });
  field.setAttribute("aria-label", "Edit the message");
  const cancel = element("button", { className: "plain", textContent: "Cancel", type: "button" });
  const send = element("button", { className: "primary", textContent: "Send" });
  const form = element("form", { className: "editor" }, field, element("div", { className: "row end" }, cancel, send));
  const parts = [...message.children];
  const back = () => { message.replaceChildren(...parts); $("question").focus(); };
  cancel.addEventListener("click", back);
  field.addEventListener("keydown", (event) => {
    if (event.key === "Escape") { event.stopPropagation(); back(); }
    if (sends(event)) { event.preventDefault(); form.requestSubmit(); }
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const content = field.value.trim();
    if (content) answer({ place: turn.place, content });
  });
  message.replaceChildren(form);
  field.focus();
}
