// Instructions and temperature of a conversation.
import { api } from "./api.js";
import { $ } from "./parts.js";
import { attempt, state } from "./state.js";

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
