// What the page knows, and how it says that something went wrong.
import { Failure } from "./api.js";
import { $ } from "./parts.js";

export const state = {
  me: null, talks: [], talk: null, draft: { system: "", temperature: 0.8 }, answering: null,
  start: null, // begins anew, as when nobody is signed in any more
};
export const question = $("question");

export function problem(text) {
  $("problem").textContent = text;
  $("problem").hidden = !text;
}

export async function attempt(action) {
  try {
    return await action();
  } catch (error) {
    if (error instanceof Failure && error.code === "not_signed_in") { await state.start(); return undefined; }
    problem(error.message);
    return undefined;
  }
}
