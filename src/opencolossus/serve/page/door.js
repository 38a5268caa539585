// Signing up and in.
import { api } from "./api.js";
import { $ } from "./parts.js";

let known = null;
let signingUp = false;

export function showDoor(me) {
  known = me;
  $("app").hidden = true;
  $("door").hidden = false;
  $("door-model").textContent = `to talk to ${me.title || me.model}`;
  $("door-title").textContent = signingUp ? "Make an account" : "Sign in";
  $("door-submit").textContent = signingUp ? "Make the account" : "Sign in";
  $("door-switch").textContent = signingUp ? "I have an account" : "Make an account";
  $("door-switch").hidden = !me.sign_up;
  $("door-password").autocomplete = signingUp ? "new-password" : "current-password";
  $("door-name").focus();
}

$("door-switch").addEventListener("click", () => {
  signingUp = !signingUp;
  $("door-error").textContent = "";
  showDoor(known);
});

// `start` shows the conversations.
export function setUpDoor(start) {
  $("door-form").addEventListener("submit", (event) => { event.preventDefault(); signIn(start); });
}

async function signIn(start) {
  const body = { name: $("door-name").value, password: $("door-password").value };
  $("door-submit").disabled = true;
  $("door-error").textContent = "";
  try {
    await api(signingUp ? "POST /app/sign-up" : "POST /app/sign-in", body);
    $("door-password").value = "";
    await start();
  } catch (error) {
    $("door-error").textContent = error.message;
  } finally {
    $("door-submit").disabled = false;
  }
}
